package packettext

import (
	"fmt"
	"strconv"
	"strings"
)

// word is one word of a line: a flag, key=value, a quoted text or a comma.
type word struct {
	key    string // of key=value; "" otherwise
	value  string // unquoted
	quoted bool   // the value was quoted
	second string // of user=name=value: the value
	pair   bool   // second is set
}

// bare tells whether c may stand in a value without quotes.
func bare(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' ||
		strings.IndexByte("_-./+#$:@*%", c) >= 0
}

// quote writes s as a value.
func quote[T string | []byte](s T) string {
	for i := range len(s) {
		if !bare(s[i]) {
			return strconv.Quote(string(s))
		}
	}
	if len(s) == 0 {
		return `""`
	}
	return string(s)
}

// split cuts a line into its words.
func split(line string) ([]word, error) {
	var words []word
	for line = strings.TrimLeft(line, " \t"); line != ""; line = strings.TrimLeft(line, " \t") {
		if line[0] == ',' {
			words, line = append(words, word{value: ","}), line[1:]
			continue
		}
		w, rest, err := cutWord(line)
		if err != nil {
			return nil, err
		}
		words, line = append(words, w), rest
	}
	return words, nil
}

// cutWord reads the word that s begins with: up to three values joined by '='.
func cutWord(s string) (w word, rest string, err error) {
	first, quoted, rest, err := cutValue(s)
	if err != nil || !strings.HasPrefix(rest, "=") || quoted {
		return word{value: first, quoted: quoted}, rest, err
	}
	w.key = first
	if w.value, w.quoted, rest, err = cutValue(rest[1:]); err == nil && strings.HasPrefix(rest, "=") {
		w.pair = true
		w.second, _, rest, err = cutValue(rest[1:])
	}
	return w, rest, err
}

func cutValue(s string) (value string, quoted bool, rest string, err error) {
	if strings.HasPrefix(s, `"`) {
		q, err := strconv.QuotedPrefix(s)
		if err != nil {
			return "", false, "", fmt.Errorf("unfinished quotes at %s", s)
		}
		value, err = strconv.Unquote(q)
		return value, true, s[len(q):], err
	}
	n := 0
	for n < len(s) && bare(s[n]) {
		n++
	}
	if n == 0 {
		return "", false, "", fmt.Errorf("a value is missing or wants quotes at %q", s)
	}
	return s[:n], false, s[n:], nil
}

// number reads the value of w, which must lie below 1<<bits.
func (w word) number(bits int) (uint64, error) {
	n, err := strconv.ParseUint(w.value, 0, bits)
	if err != nil {
		return 0, fmt.Errorf("%s=%s is not a number of %d bits", w.key, w.value, bits)
	}
	return n, nil
}

// String is the word as it stands in a line.
func (w word) String() string {
	s := w.value
	if w.quoted {
		s = strconv.Quote(s)
	}
	if w.key != "" {
		s = w.key + "=" + quote(w.value)
	}
	if w.pair {
		s += "=" + quote(w.second)
	}
	return s
}
