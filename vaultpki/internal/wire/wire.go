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
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
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
	// Address is one base URL, or several separated by commas: nodes of one
	// Vault. Each is https, or http to loopback with UnsafeHTTP.
	Address    string
	CAFile     string // PEM file with the only CAs trusted; required for https
	UnsafeHTTP bool   // permits http to a loopback address
	Namespace  string // sent as X-Vault-Namespace unless empty
	// CertFile and KeyFile are our own client certificate, if Vault wants one.
	// They are read again for every connection.
	CertFile, KeyFile string
	// Transport takes the calls in place of the network; nil for the network.
	Transport http.RoundTripper
	// Wrap returns what stands in the place of a transport of ours; nil leaves them.
	Wrap func(http.RoundTripper) http.RoundTripper
}

// Client does calls. It is stateless apart from idle connections and the address
// that answered last, and safe for concurrent use.
type Client struct {
	// Observe, if not nil, is told of each call of Do when it has ended: how long it
	// took, over all addresses, and its error. It is set before the first call, and
	// called concurrently.
	Observe func(call Call, took time.Duration, err error)

	bases     []*url.URL
	working   atomic.Uint32 // index of the address that is tried first
	namespace string
	http      *http.Client
	once      *http.Client // for one-time calls
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
	// OneTime makes the call on a connection to itself, and never sends it to a
	// second address once a first may have received it. Such a call must not go
	// out on an idle connection that the other side may just have closed: whether
	// it arrived would be unknown.
	OneTime bool
	// Urgent is for callers of this package that hold calls back while Vault is away:
	// this one is made all the same.
	Urgent bool
}

// New checks cfg and reads the CA file. It connects to nothing.
func New(cfg Config) (*Client, error) {
	bases, err := parseAddresses(cfg.Address, cfg.UnsafeHTTP)
	if err != nil {
		return nil, err
	}
	if err := checkNamespace(cfg.Namespace); err != nil {
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
	if slices.ContainsFunc(bases, func(base *url.URL) bool { return base.Scheme == "https" }) {
		if transport.TLSClientConfig, err = newTLS(cfg); err != nil {
			return nil, err
		}
	}
	once := transport.Clone()
	once.DisableKeepAlives = true
	c := &Client{bases: bases, namespace: cfg.Namespace, http: notFollowing(transport), once: notFollowing(once)}
	if cfg.Wrap != nil {
		c.http, c.once = notFollowing(cfg.Wrap(transport)), notFollowing(cfg.Wrap(once))
	}
	if cfg.Transport != nil {
		c.http = notFollowing(cfg.Transport)
		c.once = c.http
	}
	return c, nil
}

// notFollowing returns an HTTP client that hands out a redirect as it is.
func notFollowing(carrier http.RoundTripper) *http.Client {
	return &http.Client{Transport: carrier, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// Do sends the call and returns Vault's answer, nil if it is empty (status 204).
// A status of 300 or more is a [*StatusError]; everything else that goes wrong
// before a whole answer was read is a [*TransportError].
//
// With one address the call is sent exactly once. With several, one that gives
// no service is passed over for the next, and the one that gives it is tried
// first from then on.
func (c *Client) Do(ctx context.Context, call Call) (*api.Secret, error) {
	begun := time.Now()
	secret, err := c.do(ctx, call)
	if c.Observe != nil {
		c.Observe(call, time.Since(begun), err)
	}
	return secret, err
}

// do is Do, unobserved.
func (c *Client) do(ctx context.Context, call Call) (*api.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	first := int(c.working.Load())
	var told error // what says most of why there is no service
	for n := range c.bases {
		at := (first + n) % len(c.bases)
		secret, err := c.try(ctx, call, at, len(c.bases)-n)
		if err == nil || !passOver(err, call.OneTime) && Status(err) != 0 {
			c.working.Store(uint32(at)) //nolint:gosec // an index of a list that a person wrote
		}
		if !passOver(err, call.OneTime) || ctx.Err() != nil {
			return secret, err
		}
		if told == nil || Status(told) == 0 && Status(err) != 0 {
			told = err
		}
	}
	// The next call begins elsewhere, should this address swallow all the time.
	c.working.Store(uint32((first + 1) % len(c.bases))) //nolint:gosec // as above
	return nil, told
}

// try sends the call to one address. A call that may be repeated gets a fair
// share of the time that is left, so that a silent node does not use it all up.
func (c *Client) try(ctx context.Context, call Call, at, left int) (*api.Secret, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 && !call.OneTime {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
	}
	var connected atomic.Bool
	trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}
	req, err := c.request(httptrace.WithClientTrace(ctx, trace), c.bases[at], call)
	if err != nil {
		return nil, err
	}
	carrier := c.http
	if call.OneTime {
		carrier = c.once
	}
	resp, err := carrier.Do(req)
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

// passOver says whether another address may be asked what this one did not do.
// A one-time call may only if it certainly never left. Vault's wish to be left
// alone for a while concerns all its nodes.
func passOver(err error, oneTime bool) bool {
	var transport *TransportError
	if errors.As(err, &transport) {
		return !transport.Sent || !oneTime
	}
	var status *StatusError
	if !errors.As(err, &status) || oneTime || status.RetryAfter > 0 {
		return false
	}
	switch status.Status {
	case http.StatusTooManyRequests, 472, 473: // standbys
		return true
	}
	return status.Status >= 500 || status.Status < 400
}

// request builds the HTTP request of a call.
func (c *Client) request(ctx context.Context, base *url.URL, call Call) (*http.Request, error) {
	target := *base
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
	if c.namespace != "" {
		req.Header.Set("X-Vault-Namespace", c.namespace)
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
