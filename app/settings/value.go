package settings

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The words for the types of a leaf.
const (
	typeSize     = "size"
	typeDuration = "duration"
	typeBool     = "boolean"
	typeInt      = "integer"
	typeFloat    = "number"
	typeText     = "text"
	typeList     = "list of " // one of the others
)

// The units that change how a whole number is written.
const (
	unitBytes   = "bytes"
	unitSeconds = "seconds"
)

func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// typeName says how a leaf is written, "" when it cannot be.
func (n *node) typeName() string {
	switch k := n.typ.Kind(); {
	case n.elem != nil:
		if one := n.elem.typeName(); one != "" {
			return typeList + one
		}
	case isText(n.typ):
		return typeText
	case n.typ == reflect.TypeFor[time.Duration]():
		return typeDuration
	case k == reflect.Bool:
		return typeBool
	case k >= reflect.Int && k <= reflect.Uint64:
		switch n.unit {
		case unitBytes:
			return typeSize
		case unitSeconds:
			return typeDuration
		}
		return typeInt
	case k == reflect.Float64:
		return typeFloat
	case k == reflect.String:
		return typeText
	}
	return ""
}

// set parses text into v by the leaf's type, unit, enum, min and max.
func (n *node) set(v reflect.Value, text string) error {
	if n.elem != nil {
		return n.setAll(v, splitList(text))
	}
	if err := n.parse(v, text); err != nil {
		return err
	}
	if n.oneOf != nil && !slices.Contains(n.oneOf, n.format(v)) {
		return fmt.Errorf("is %q, but must be one of: %s", text, strings.Join(n.oneOf, ", "))
	}
	if n.min != "" && n.compare(v, n.min) < 0 {
		return fmt.Errorf("is %s, but must be at least %s", text, n.min)
	}
	if n.max != "" && n.compare(v, n.max) > 0 {
		return fmt.Errorf("is %s, but must be at most %s", text, n.max)
	}
	return nil
}

// setAll parses the values of a list.
func (n *node) setAll(v reflect.Value, texts []string) error {
	all := reflect.MakeSlice(n.typ, len(texts), len(texts))
	for i, text := range texts {
		if err := n.elem.set(all.Index(i), text); err != nil {
			return err
		}
	}
	v.Set(all)
	return nil
}

// splitList reads a list from one text: JSON if it begins with a bracket, else what commas separate.
func splitList(text string) []string {
	var texts []string
	if strings.HasPrefix(text, "[") && json.Unmarshal([]byte(text), &texts) == nil {
		return texts
	}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			texts = append(texts, part)
		}
	}
	return texts
}

// joinList writes a list so that splitList reads it.
func joinList(texts []string) string {
	for i, text := range texts {
		if text == "" || strings.Contains(text, ",") || strings.TrimSpace(text) != text || i == 0 && text[0] == '[' {
			return string(mustJSON(texts))
		}
	}
	return strings.Join(texts, ",")
}

// compare orders v and a bound from a tag. A bound that does not parse is a mistake in the program.
func (n *node) compare(v reflect.Value, bound string) int {
	b := reflect.New(n.typ).Elem()
	if err := n.parse(b, bound); err != nil {
		panic(fmt.Sprintf("settings: bound %q of %s: %v", bound, n.name, err))
	}
	sign := func(less, more bool) int {
		switch {
		case less:
			return -1
		case more:
			return 1
		}
		return 0
	}
	switch {
	case v.CanInt():
		return sign(v.Int() < b.Int(), v.Int() > b.Int())
	case v.CanUint():
		return sign(v.Uint() < b.Uint(), v.Uint() > b.Uint())
	case v.CanFloat():
		return sign(v.Float() < b.Float(), v.Float() > b.Float())
	}
	panic("settings: min or max on " + n.name + ", which has no order")
}

func (n *node) parse(v reflect.Value, text string) error {
	if isText(n.typ) {
		return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text))
	}
	switch n.typeName() {
	case typeBool:
		if text != "true" && text != "false" {
			return fmt.Errorf("is %q, but must be true or false", text)
		}
		v.SetBool(text == "true")
	case typeText:
		v.SetString(text)
	case typeFloat:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("is %q, but must be a number", text)
		}
		v.SetFloat(f)
	default:
		return n.parseNumber(v, text)
	}
	return nil
}

// parseNumber reads everything that is kept as a whole number. None of them may be negative.
func (n *node) parseNumber(v reflect.Value, text string) error {
	var u uint64
	var err error
	switch typ := n.typeName(); {
	case typ == typeSize:
		u, err = parseSize(text)
	case typ == typeDuration && n.unit == unitSeconds:
		u, err = parseSeconds(text)
	case typ == typeDuration:
		var d time.Duration
		d, err = parseDuration(text)
		u = uint64(d)
	default:
		if u, err = strconv.ParseUint(text, 10, 64); err != nil {
			err = fmt.Errorf("is %q, but must be a whole number, 0 or more", text)
		}
	}
	if err != nil {
		return err
	}
	if v.CanUint() {
		if v.OverflowUint(u) {
			return fmt.Errorf("is %s, but can be at most %d", text, uint64(math.MaxUint64)>>(64-n.typ.Bits()))
		}
		v.SetUint(u)
		return nil
	}
	if u > math.MaxInt64 || v.OverflowInt(int64(u)) {
		return fmt.Errorf("is %s, but can be at most %d", text, uint64(math.MaxInt64)>>(64-n.typ.Bits()))
	}
	v.SetInt(int64(u))
	return nil
}

// show is format for others to see.
func (n *node) show(v reflect.Value) string {
	if text := n.format(v); !n.secret || text == "" {
		return text
	}
	return Redacted
}

// texts formats the values of a list.
func (n *node) texts(v reflect.Value) []string {
	texts := make([]string, v.Len())
	for i := range texts {
		texts[i] = n.elem.format(v.Index(i))
	}
	return texts
}

// format writes v the way set reads it.
func (n *node) format(v reflect.Value) string {
	if n.elem != nil {
		return joinList(n.texts(v))
	}
	if isText(n.typ) {
		if m, ok := v.Interface().(encoding.TextMarshaler); ok {
			if text, err := m.MarshalText(); err == nil {
				return string(text)
			}
		}
		return fmt.Sprint(v.Interface())
	}
	switch n.typeName() {
	case typeSize:
		return formatSize(number(v))
	case typeDuration:
		if n.unit == unitSeconds {
			return formatDuration(time.Duration(number(v)) * time.Second)
		}
		return formatDuration(time.Duration(v.Int()))
	}
	return fmt.Sprint(v.Interface())
}

func number(v reflect.Value) uint64 {
	if v.CanInt() {
		return uint64(v.Int())
	}
	return v.Uint()
}

// sizeUnits are the suffixes of a size, longest first so that "MiB" is not read as "B".
var sizeUnits = [...]struct {
	suffix string
	bytes  uint64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
}

func parseSize(text string) (uint64, error) {
	digits, factor := text, uint64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(text, u.suffix); ok {
			digits, factor = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	u, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("is %q, but must be a size such as 65536, 64KiB or 1MiB", text)
	}
	hi, lo := bits.Mul64(u, factor)
	if hi != 0 {
		return 0, fmt.Errorf("is %s, which is too large", text)
	}
	return lo, nil
}

// formatSize uses the largest binary unit that leaves no remainder.
func formatSize(u uint64) string {
	for _, unit := range [...]struct {
		suffix string
		bytes  uint64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if u >= unit.bytes && u%unit.bytes == 0 {
			return strconv.FormatUint(u/unit.bytes, 10) + unit.suffix
		}
	}
	return strconv.FormatUint(u, 10)
}

const day = 24 * time.Hour

var errDuration = errors.New("must be a duration such as 500ms, 10s, 2h or 7d")

// parseDuration is time.ParseDuration with whole days and without negative durations.
func parseDuration(text string) (time.Duration, error) {
	var d time.Duration
	var err error
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		if n, err = strconv.ParseUint(days, 10, 64); err == nil && n > uint64(math.MaxInt64/day) {
			return 0, fmt.Errorf("is %s, which is too long", text)
		}
		d = time.Duration(n) * day
	} else {
		d, err = time.ParseDuration(text)
	}
	if err != nil || d < 0 {
		return 0, fmt.Errorf("is %q, but %w", text, errDuration)
	}
	return d, nil
}

// parseSeconds reads a duration that is kept as whole seconds; a bare number counts seconds.
func parseSeconds(text string) (uint64, error) {
	if u, err := strconv.ParseUint(text, 10, 64); err == nil {
		return u, nil
	}
	d, err := parseDuration(text)
	if err != nil {
		return 0, err
	}
	if d%time.Second != 0 {
		return 0, fmt.Errorf("is %s, but must be whole seconds", text)
	}
	return uint64(d / time.Second), nil
}

// formatDuration leaves out the zero parts that time.Duration prints, and prints whole days as days.
func formatDuration(d time.Duration) string {
	if d != 0 && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
