package upstream

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"time"
)

// HTTP makes a client for the server at an https or http address, whose files it reads as Client does. It goes to that server and
// nowhere else: no proxy of the environment and no redirect is followed. timeout bounds connecting, connections how many there are
// at once; what an answer weighs is bounded before it is unpacked.
func (t *TLS) HTTP(address string, timeout time.Duration, connections int) (*http.Client, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	var conf *tls.Config
	if u.Scheme == "https" {
		if conf, err = t.Client(u.Hostname()); err != nil {
			return nil, err
		}
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: timeout}).DialContext,
			TLSClientConfig:     conf,
			TLSHandshakeTimeout: timeout,
			MaxConnsPerHost:     connections, MaxIdleConns: connections, MaxIdleConnsPerHost: connections, IdleConnTimeout: time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}
