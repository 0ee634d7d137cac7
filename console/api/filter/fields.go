package filter

import "time"

// TextOf is a field that is a text, in which bare words are looked for.
func TextOf[T any](name string, f func(*T) string) Field[T] {
	return Field[T]{Name: name, Text: f, Word: true}
}

// TextsOf is a field that is several texts, in which bare words are looked for.
func TextsOf[T any](name string, f func(*T) []string) Field[T] {
	return Field[T]{Name: name, Kind: Texts, Texts: f, Word: true}
}

// NumberOf is a field that is a number.
func NumberOf[T any, N int | uint64](name string, f func(*T) N) Field[T] {
	return Field[T]{Name: name, Kind: Number, Number: func(v *T) float64 { return float64(f(v)) }}
}

// BoolOf is a field that is true or not.
func BoolOf[T any](name string, f func(*T) bool) Field[T] {
	return Field[T]{Name: name, Kind: Bool, Number: func(v *T) float64 {
		if f(v) {
			return 1
		}
		return 0
	}}
}

// TimeOf is a field that is a time; the zero one never was.
func TimeOf[T any](name string, f func(*T) time.Time) Field[T] {
	return Field[T]{Name: name, Kind: Time, Number: func(v *T) float64 {
		if at := f(v); !at.IsZero() {
			return float64(at.UnixMilli()) / 1000
		}
		return 0
	}}
}
