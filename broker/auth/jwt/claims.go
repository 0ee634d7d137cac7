package jwt

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sapwood-mqtt/sapwood/broker/auth"
	"github.com/sapwood-mqtt/sapwood/broker/auth/grant"
)

// claims are what a verified token says.
type claims map[string]any

// read makes an identity of them, if they hold for this client and now.
func (b *Backend) read(c claims, a *auth.Attempt) (*auth.Identity, error) {
	id := &auth.Identity{By: b.name}
	var err error
	if id.Expires, err = b.period(c); err != nil {
		return nil, err
	}
	if err := b.meant(c); err != nil {
		return nil, err
	}
	if id.Name, err = c.text(b.cfg.Name); err != nil {
		return nil, fmt.Errorf("claim %s %w", b.cfg.Name, err)
	}
	for _, bind := range b.cfg.Bindings {
		if err := bind.check(c, a); err != nil {
			return nil, err
		}
	}
	if id.Groups, err = c.texts(b.cfg.Groups); err != nil {
		return nil, fmt.Errorf("claim %s %w", b.cfg.Groups, err)
	}
	id.Claims = c.plain(b.cfg.Claims)
	if err := grant.Identity(id); err != nil {
		return nil, err
	}
	if v, ok := c.find(b.cfg.ACL); ok {
		data, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		if id.Rules, err = grant.Rules(b.name+"."+b.cfg.ACL, data); err != nil {
			return nil, err
		}
	}
	return id, nil
}

// period checks exp and nbf (RFC 7519 4.1.4, 4.1.5) and tells when it ends.
func (b *Backend) period(c claims) (end time.Time, err error) {
	now := b.now()
	exp, err := c.date("exp")
	switch {
	case errors.Is(err, errMissing) && !b.cfg.Expiry:
	case err != nil:
		return end, fmt.Errorf("exp %w", err)
	default:
		if end = exp.Add(b.cfg.Leeway); !now.Before(end) {
			return end, fmt.Errorf("it expired at %v", exp)
		}
	}
	nbf, err := c.date("nbf")
	switch {
	case errors.Is(err, errMissing):
	case err != nil:
		return end, fmt.Errorf("nbf %w", err)
	case now.Add(b.cfg.Leeway).Before(nbf):
		return end, fmt.Errorf("it does not hold before %v", nbf)
	}
	return end, nil
}

// meant checks iss and aud (RFC 7519 4.1.1, 4.1.3).
func (b *Backend) meant(c claims) error {
	if b.cfg.Issuer != "" {
		if iss, err := c.text("iss"); err != nil || iss != b.cfg.Issuer {
			return errors.New("iss is another issuer")
		}
	}
	if len(b.cfg.Audience) > 0 {
		aud, err := c.texts("aud")
		if err != nil || !slices.ContainsFunc(aud, func(one string) bool { return slices.Contains(b.cfg.Audience, one) }) {
			return errors.New("aud is somebody else")
		}
	}
	return nil
}

func (bind *Binding) check(c claims, a *auth.Attempt) error {
	want, err := c.text(bind.Claim)
	if err != nil {
		return fmt.Errorf("claim %s %w", bind.Claim, err)
	}
	got := ""
	switch bind.Is {
	case "client":
		got = a.ClientID
	case "user":
		got = a.Username
	case "cn":
		got = a.CommonName()
	}
	if want == "" || got != want {
		return fmt.Errorf("claim %s is %q, but the %s is %q", bind.Claim, want, bind.Is, got)
	}
	return nil
}

// find looks a claim up, by its whole name or by a path into objects.
func (c claims) find(name string) (any, bool) {
	if name == "" {
		return nil, false
	}
	if v, ok := c[name]; ok {
		return v, v != nil
	}
	var here any = map[string]any(c)
	for step := range strings.SplitSeq(name, ".") {
		object, ok := here.(map[string]any)
		if !ok {
			return nil, false
		}
		if here, ok = object[step]; !ok {
			return nil, false
		}
	}
	return here, here != nil
}

func (c claims) text(name string) (string, error) {
	v, ok := c.find(name)
	if !ok {
		return "", errMissing
	}
	text, ok := v.(string)
	if !ok {
		return "", errors.New("is no text")
	}
	return text, nil
}

// texts is a text, or a list of them; none if it is missing.
func (c claims) texts(name string) ([]string, error) {
	v, _ := c.find(name)
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		list := make([]string, len(v))
		for i, one := range v {
			var ok bool
			if list[i], ok = one.(string); !ok {
				return nil, errors.New("is no list of texts")
			}
		}
		return list, nil
	}
	return nil, errors.New("is no text, nor a list of texts")
}

// lastDate is the end of the year 9999.
const lastDate = 253402300799

// date is a NumericDate (RFC 7519 2).
func (c claims) date(name string) (time.Time, error) {
	v, ok := c[name]
	if !ok {
		return time.Time{}, errMissing
	}
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, errors.New("is no number")
	}
	seconds, err := strconv.ParseFloat(string(n), 64)
	if err != nil || seconds < 0 || seconds > lastDate {
		return time.Time{}, errors.New("is no date")
	}
	return time.Unix(int64(seconds), 0), nil
}

// plain is the claims that can be written as one text: those named, or all. A list is none.
func (c claims) plain(names []string) map[string]string {
	all := len(names) == 0
	if all {
		for name := range c {
			names = append(names, name)
		}
	}
	out := map[string]string{}
	for _, name := range names {
		v, _ := c.find(name)
		switch v := v.(type) {
		case string:
			out[name] = v
		case json.Number:
			out[name] = v.String()
		case bool:
			out[name] = strconv.FormatBool(v)
		}
	}
	return out
}
