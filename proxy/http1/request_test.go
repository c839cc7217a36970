package http1_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/http1"
)

// recorded returns what transport sends for a request, and its error.
func recorded(t *testing.T, transport func(dial func(context.Context, string, string) (net.Conn, error)) http.RoundTripper, req *http.Request) (string, error) {
	t.Helper()
	client, server := net.Pipe()
	got := make(chan string, 1)
	go func() {
		defer server.Close()
		var sent strings.Builder
		br := bufio.NewReader(io.TeeReader(server, &sent))
		if in, err := http.ReadRequest(br); err == nil {
			_, _ = io.Copy(io.Discard, in.Body)
			_, _ = io.WriteString(server, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		}
		got <- sent.String()
	}()
	res, err := transport(func(context.Context, string, string) (net.Conn, error) { return client, nil }).RoundTrip(req)
	client.Close()
	if err == nil {
		res.Body.Close()
	}
	return <-got, err
}

func standard(dial func(context.Context, string, string) (net.Conn, error)) http.RoundTripper {
	return &http.Transport{DialContext: dial, DisableCompression: true}
}

func own(dial func(context.Context, string, string) (net.Conn, error)) http.RoundTripper {
	return http1.New(http1.Config{DialContext: dial})
}

// onlyReader hides what a reader could do besides.
type onlyReader struct{ io.Reader }

func TestRequestsAreSentAsNetHTTPSendsThem(t *testing.T) {
	type request struct {
		method, url, host string
		header            http.Header
		body              string
		length            int64 // of the body; -1 for unknown
		close             bool
	}
	for name, r := range map[string]request{
		"plain":                      {url: "http://backend/a/b?c=d"},
		"no path":                    {url: "http://backend"},
		"a query alone":              {url: "http://backend?x"},
		"an empty query":             {url: "http://backend/?"},
		"an escaped path":            {url: "http://backend/a%2Fb%20c/ä"},
		"another host":               {url: "http://127.0.0.1:1/", host: "tool.example:8443"},
		"a host that is none":        {url: "http://backend/", host: "a b"},
		"a host with a line":         {url: "http://backend/", host: "a\r\nX: y"},
		"an address with a zone":     {url: "http://backend/", host: "[fe80::1%25en0]:80"},
		"an address without a zone":  {url: "http://backend/", host: "[::1]:80"},
		"many headers":               {url: "http://backend/", header: http.Header{"B": {"2", "3"}, "A": {"1"}, "X_y": {"z"}, "Cookie": {"a=b; c=d"}}},
		"blanks around a value":      {url: "http://backend/", header: http.Header{"A": {" \tb c\t "}}},
		"no value":                   {url: "http://backend/", header: http.Header{"A": {""}, "B": nil, "C": {}}},
		"a name that is none":        {url: "http://backend/", header: http.Header{"A b": {"c"}}},
		"an empty name":              {url: "http://backend/", header: http.Header{"": {"c"}}},
		"a value with a line":        {url: "http://backend/", header: http.Header{"A": {"b\r\nX: y"}}},
		"a value with a line feed":   {url: "http://backend/", header: http.Header{"A": {"b\nX: y"}}},
		"a value with a NUL":         {url: "http://backend/", header: http.Header{"A": {"b\x00"}}},
		"a value that is not ASCII":  {url: "http://backend/", header: http.Header{"A": {"ä\xff"}}},
		"an agent":                   {url: "http://backend/", header: http.Header{"User-Agent": {"x/1", "y/2"}}},
		"no agent":                   {url: "http://backend/", header: http.Header{"User-Agent": {""}}},
		"an agent of nothing":        {url: "http://backend/", header: http.Header{"User-Agent": nil}},
		"headers that are not sent":  {url: "http://backend/", header: http.Header{"Host": {"evil"}, "Content-Length": {"5"}, "Transfer-Encoding": {"chunked"}, "Trailer": {"X"}}},
		"POST":                       {method: http.MethodPost, url: "http://backend/", body: "hello", length: 5},
		"POST of nothing":            {method: http.MethodPost, url: "http://backend/"},
		"POST in chunks":             {method: http.MethodPost, url: "http://backend/", body: strings.Repeat("hello", 20_000), length: -1},
		"PUT of nothing":             {method: http.MethodPut, url: "http://backend/"},
		"DELETE":                     {method: http.MethodDelete, url: "http://backend/"},
		"DELETE of unknown length":   {method: http.MethodDelete, url: "http://backend/", length: -1},
		"GET of unknown length":      {url: "http://backend/", length: -1},
		"GET with a body":            {url: "http://backend/", body: "hello", length: 5},
		"GET with a body in chunks":  {url: "http://backend/", body: "h", length: -1},
		"HEAD":                       {method: http.MethodHead, url: "http://backend/"},
		"OPTIONS":                    {method: http.MethodOptions, url: "http://backend/"},
		"a method of its own":        {method: "PROPFIND", url: "http://backend/"},
		"a method that is none":      {method: "GET /evil HTTP/1.1\r\nX:", url: "http://backend/"},
		"that closes":                {url: "http://backend/", close: true},
		"a large body with a length": {method: http.MethodPut, url: "http://backend/", body: strings.Repeat("x", 100_000), length: 100_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			build := func() *http.Request {
				u, err := url.Parse(r.url)
				if err != nil {
					t.Fatal(err)
				}
				req := &http.Request{Method: r.method, URL: u, Host: r.host, Header: r.header.Clone(), Close: r.close, ContentLength: r.length}
				if r.header == nil {
					req.Header = http.Header{}
				}
				if r.length != 0 {
					req.Body = io.NopCloser(onlyReader{strings.NewReader(r.body)})
				}
				return req.WithContext(t.Context())
			}
			theirs, theirErr := recorded(t, standard, build())
			ours, ourErr := recorded(t, own, build())
			if r.host != "" && ourErr != nil {
				return // stricter: they send no host in its place
			}
			if (theirErr == nil) != (ourErr == nil) {
				t.Fatalf("net/http: %v, http1: %v", theirErr, ourErr)
			}
			if diff := cmp.Diff(sizeless(theirs), sizeless(ours)); theirErr == nil && diff != "" {
				t.Errorf("(-net/http +http1):\n%s", diff)
			}
		})
	}
}

// sizeless is what was sent, with a chunked body put together: where one chunk ends is
// nobody's business.
func sizeless(sent string) string {
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(sent)))
	if err != nil || len(req.TransferEncoding) == 0 {
		return sent
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return err.Error()
	}
	head, _, _ := strings.Cut(sent, "\r\n\r\n")
	return head + "\r\n\r\n" + string(body)
}

func TestRequestsThatAreNoneAreRefused(t *testing.T) {
	transport := own(func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("connected") })
	ended, cancel := context.WithCancelCause(t.Context())
	errEnded := errors.New("ended")
	cancel(errEnded)
	body := func() io.ReadCloser { return io.NopCloser(strings.NewReader("x")) }
	for name, req := range map[string]*http.Request{
		"no address":          {Header: http.Header{}, Body: body()},
		"no headers":          {URL: &url.URL{Scheme: "http", Host: "backend"}},
		"another scheme":      {URL: &url.URL{Scheme: "https", Host: "backend"}, Header: http.Header{}},
		"no host":             {URL: &url.URL{Scheme: "http"}, Header: http.Header{}},
		"a length, no body":   {URL: &url.URL{Scheme: "http", Host: "backend"}, Header: http.Header{}, ContentLength: 1},
		"a context that ends": (&http.Request{URL: &url.URL{Scheme: "http", Host: "backend"}, Header: http.Header{}}).WithContext(ended),
		"a target of lines":   {URL: &url.URL{Scheme: "http", Host: "backend", Opaque: "/a\r\nX: y"}, Header: http.Header{}},
	} {
		if res, err := transport.RoundTrip(req); err == nil || strings.Contains(err.Error(), "connected") {
			t.Errorf("%s: %v, %v", name, res, err)
		}
	}
}

// A body that does not keep to the length that the request says must not reach the
// backend as a whole one.
func TestBodiesOfAnotherLengthFail(t *testing.T) {
	for name, length := range map[string]int64{"longer": 4, "shorter": 6} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://backend/", onlyReader{strings.NewReader("hello")})
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = length
		sent, err := recorded(t, own, req)
		if err == nil {
			t.Errorf("%s: no error; sent %q", name, sent)
		}
		if len(sent[strings.Index(sent, "\r\n\r\n")+4:]) >= int(length) {
			t.Errorf("%s: sent a whole body: %q", name, sent)
		}
	}
}

func TestBodyThatFailsIsTheError(t *testing.T) {
	errBody := errors.New("client has gone")
	r, w := io.Pipe()
	go func() {
		_, _ = io.WriteString(w, "hel")
		w.CloseWithError(errBody)
	}()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://backend/", r)
	if err != nil {
		t.Fatal(err)
	}
	if sent, err := recorded(t, own, req); !errors.Is(err, errBody) {
		t.Errorf("got %v, expected %v; sent %q", err, errBody, sent)
	}
}

// A body of unknown length that comes late is sent all the same.
func TestBodyThatComesLateIsSent(t *testing.T) {
	r, w := io.Pipe()
	go func() {
		<-time.After(250 * time.Millisecond) // later than is waited for
		_, _ = io.WriteString(w, "hello")
		w.Close()
	}()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://backend/", r)
	if err != nil {
		t.Fatal(err)
	}
	sent, err := recorded(t, own, req)
	if err != nil || !strings.HasSuffix(sizeless(sent), "\r\n\r\nhello") {
		t.Errorf("sent %q, %v", sent, err)
	}
}
