package scram

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// maxMessage bounds what is looked at: nothing that is meant seriously comes near it.
const maxMessage = 4096

// first is a client-first-message.
type first struct {
	header  string // the GS2 header, with its commas
	authzid string
	bare    string // the rest
	user    string
	nonce   string
}

// parseFirst reads "n,[a=authzid],n=user,r=nonce[,extensions]" (RFC 5802 7). Channel binding is not offered, so
// a client that demands it (p=) is refused, and one that could (y) is not fooled about it.
func parseFirst(message string) (m first, err error) {
	if len(message) > maxMessage || !utf8.ValidString(message) {
		return m, malformed("a message that is too long, or not UTF-8")
	}
	flag, rest, _ := strings.Cut(message, ",")
	if flag != "n" && flag != "y" {
		return m, malformed("channel binding is not offered")
	}
	authzid, bare, ok := strings.Cut(rest, ",")
	if !ok || authzid != "" && !strings.HasPrefix(authzid, "a=") {
		return m, malformed("no GS2 header")
	}
	m.header, m.bare = flag+","+authzid+",", bare
	if authzid != "" {
		if m.authzid, err = unescape(authzid[2:]); err != nil {
			return m, err
		}
	}
	parts := strings.Split(bare, ",")
	if strings.HasPrefix(parts[0], "m=") {
		return m, malformed("a mandatory extension that is not known")
	}
	if len(parts) < 2 || !strings.HasPrefix(parts[0], "n=") || !strings.HasPrefix(parts[1], "r=") {
		return m, malformed("no user name and nonce")
	}
	if m.nonce = parts[1][2:]; !printable(m.nonce) {
		return m, malformed("no nonce")
	}
	if err := extensions(parts[2:]); err != nil {
		return m, err
	}
	m.user, err = unescape(parts[0][2:])
	return m, err
}

// last is a client-final-message.
type last struct {
	header string // what is bound: the GS2 header again
	nonce  string
	bare   string // all but the proof
	proof  []byte
}

// parseFinal reads "c=base64,r=nonce[,extensions],p=base64".
func parseFinal(message string) (m last, err error) {
	if len(message) > maxMessage || !utf8.ValidString(message) {
		return m, malformed("a message that is too long, or not UTF-8")
	}
	at := strings.LastIndex(message, ",p=")
	if at < 0 {
		return m, malformed("no proof")
	}
	m.bare = message[:at]
	if m.proof, err = base64.StdEncoding.Strict().DecodeString(message[at+3:]); err != nil {
		return m, malformed("a proof that is not base64")
	}
	parts := strings.Split(m.bare, ",")
	if len(parts) < 2 || !strings.HasPrefix(parts[0], "c=") || !strings.HasPrefix(parts[1], "r=") {
		return m, malformed("no channel binding and nonce")
	}
	header, err := base64.StdEncoding.Strict().DecodeString(parts[0][2:])
	if err != nil {
		return m, malformed("a channel binding that is not base64")
	}
	m.header, m.nonce = string(header), parts[1][2:]
	return m, extensions(parts[2:])
}

// extensions are attributes by other letters, which may be there and mean nothing.
func extensions(parts []string) error {
	for _, p := range parts {
		letter := len(p) > 1 && (p[0] >= 'a' && p[0] <= 'z' || p[0] >= 'A' && p[0] <= 'Z') && p[1] == '='
		if !letter || strings.ContainsRune("acimnprsv", rune(p[0])) {
			return malformed("an extension that is none")
		}
	}
	return nil
}

// printable tells whether s is a nonce: visible ASCII, without a comma.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == ',' {
			return false
		}
	}
	return s != ""
}

// unescape reads a saslname: "=2C" is a comma, "=3D" an equals sign, and there is no other "=".
func unescape(s string) (string, error) {
	plain := strings.NewReplacer("=2C", "", "=3D", "").Replace(s)
	if strings.Contains(plain, "=") || strings.Contains(plain, "\x00") || s == "" {
		return "", malformed("a name that is none")
	}
	return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s), nil
}
