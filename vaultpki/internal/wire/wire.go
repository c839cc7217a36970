// Package wire is one HTTP call to Vault: request out, answer in, bounded.
//
// It uses the wire format of Vault's own client library (header names, Secret,
// its JSON) but not that library's Client, which reads more than fifteen
// environment variables (some of which make its constructor fail, some of which
// switch off verification), follows a redirect to another host with the token,
// sends one-time calls again, and reads answers of any size. Here nothing is
// read from the environment, no redirect is followed, no call is repeated, no
// token is kept: it travels with each [Call].
//
// Everything that the other side sends is hostile: status, headers, size, JSON,
// error texts. Errors never hold a secret of the request, even if the answer
// echoes it, and never hold control characters.
//
// Specification: the Vault HTTP API, https://developer.hashicorp.com/vault/api-docs.
package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"
)

// Bounds of an answer's body, in bytes.
const (
	AuthBytes = 64 << 10 // answers of sys/wrapping, auth and sys
	DataBytes = 1 << 20  // answers of KV and PKI
)

// callTimeout bounds one call, from dialling to the last byte of the answer.
const callTimeout = 10 * time.Second

// maxHeaderBytes bounds the answer's header.
const maxHeaderBytes = 64 << 10

// Config says where Vault is.
type Config struct {
	Address    string // base URL; https, or http to loopback with UnsafeHTTP
	CAFile     string // PEM file with the only CAs trusted; required for https
	UnsafeHTTP bool   // permits http to a loopback address
}

// Client does calls. It is stateless apart from idle connections and safe for
// concurrent use.
type Client struct {
	base *url.URL
	http *http.Client
}

// Call is one request to Vault.
type Call struct {
	Method  string
	Path    string            // below /v1/, unescaped: "auth/approle/login"
	Query   map[string]string // optional
	Token   string            // sent as X-Vault-Token unless empty
	Body    any               // encoded as JSON unless nil
	Secrets []string          // values in Body that no error may show
	WrapTTL time.Duration     // asks for a wrapped answer unless 0
	Limit   int64             // bound of the answer's body; default AuthBytes
	// Fresh makes the call on a new connection. A one-time call must not go out
	// on an idle one that the other side may just have closed: whether it
	// arrived would be unknown.
	Fresh bool
}

// New checks cfg and reads the CA file. It connects to nothing.
func New(cfg Config) (*Client, error) {
	base, err := parseAddress(cfg.Address, cfg.UnsafeHTTP)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		// A zero Proxy means none: HTTPS_PROXY and its kin are not looked at.
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		IdleConnTimeout:        60 * time.Second,
		MaxIdleConnsPerHost:    4,
		MaxResponseHeaderBytes: maxHeaderBytes,
		DisableCompression:     true, // a body cannot grow on the way in
	}
	if base.Scheme == "https" {
		roots, err := readRoots(cfg.CAFile)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	}
	return &Client{base: base, http: &http.Client{
		Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}}, nil
}

// parseAddress accepts https URLs, and http ones to loopback if unsafeHTTP.
func parseAddress(address string, unsafeHTTP bool) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("parsing the Vault address: expected a URL such as https://vault.internal:8200")
	}
	switch {
	case u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("parsing the Vault address %q: expected https://HOST:PORT", u.Redacted())
	case u.Scheme == "https":
	case u.Scheme != "http":
		return nil, fmt.Errorf("parsing the Vault address %q: expected scheme https", address)
	case !unsafeHTTP:
		return nil, fmt.Errorf("parsing the Vault address %q: plain http needs the unsafe option and a loopback host", address)
	case !isLoopback(u.Hostname()):
		return nil, fmt.Errorf("parsing the Vault address %q: plain http is for loopback addresses only", address)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}

// isLoopback accepts literal loopback addresses only: what "localhost" means is
// for a resolver to say.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, errors.New("reading the CA file: none given; the system's roots are not used")
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the CA file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("reading the CA file %q: expected PEM certificates, found none", path)
	}
	return pool, nil
}

// Do sends the call exactly once and returns Vault's answer, nil if it is empty
// (status 204). A status of 300 or more is a [*StatusError]; everything else
// that goes wrong before a whole answer was read is a [*TransportError].
func (c *Client) Do(ctx context.Context, call Call) (*api.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if call.Fresh {
		c.http.CloseIdleConnections()
	}
	var connected atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}
	req, err := c.request(httptrace.WithClientTrace(ctx, trace), call)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &TransportError{Sent: connected.Load(), Err: stripURL(err)}
	}
	defer resp.Body.Close()
	raw, err := readBounded(resp.Body, call.Limit)
	if err != nil {
		return nil, &TransportError{Sent: true, Err: err}
	}
	return decode(resp, raw, call)
}

// request builds the HTTP request of a call.
func (c *Client) request(ctx context.Context, call Call) (*http.Request, error) {
	target := *c.base
	target.Path += "/v1/" + call.Path
	query := url.Values{}
	for name, value := range call.Query {
		query.Set(name, value)
	}
	target.RawQuery = query.Encode()
	var body io.Reader = http.NoBody
	if call.Body != nil {
		raw, err := json.Marshal(call.Body)
		if err != nil {
			return nil, fmt.Errorf("encoding the body for %s: %w", call.Path, err)
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, call.Method, target.String(), body)
	if err != nil {
		return nil, fmt.Errorf("making a request for %s: %w", call.Path, err)
	}
	// Vault demands this header of agents: a browser cannot be made to send it.
	req.Header.Set(api.RequestHeaderName, "true")
	if call.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if call.Token != "" {
		req.Header.Set(api.AuthHeaderName, call.Token)
	}
	if call.WrapTTL > 0 {
		req.Header.Set("X-Vault-Wrap-TTL", call.WrapTTL.String())
	}
	return req, nil
}

// readBounded reads all of body and refuses more than limit bytes.
func readBounded(body io.Reader, limit int64) ([]byte, error) {
	if limit <= 0 {
		limit = AuthBytes
	}
	raw, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("reading the answer: larger than %d bytes", limit)
	}
	return raw, nil
}

// decode turns status and body into a Secret or an error.
func decode(resp *http.Response, raw []byte, call Call) (*api.Secret, error) {
	if resp.StatusCode >= 300 {
		return nil, newStatusError(resp, raw, call)
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, nil
	}
	secret, err := api.ParseSecret(bytes.NewReader(raw))
	if err != nil || secret == nil { // nil without an error: it holds "errors" in a success
		// The parser's message may quote the answer, which may hold a secret.
		return nil, &TransportError{Sent: true, Err: errors.New("decoding the answer: not the JSON of Vault")}
	}
	return secret, nil
}

// CloseIdle closes connections that wait for another call.
func (c *Client) CloseIdle() { c.http.CloseIdleConnections() }
