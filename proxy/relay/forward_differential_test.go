package relay_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/http1"
	"github.com/sallyport/sallyport/proxy/relay"
)

// rawBackend writes down the bytes of each request, and answers with given ones.
type rawBackend struct {
	net.Listener
	mu     sync.Mutex
	asked  bytes.Buffer // guarded by mu
	answer string       // guarded by mu
}

func newRawBackend(t *testing.T) *rawBackend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &rawBackend{Listener: listener}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { b.serve(conn) })
		}
	})
	t.Cleanup(func() { listener.Close(); serving.Wait() })
	return b
}

// serve answers one request; an answer of "early" words goes out before the body is read.
func (b *rawBackend) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	var seen bytes.Buffer
	r, err := http.ReadRequest(bufio.NewReader(io.TeeReader(conn, &seen)))
	if err != nil {
		return
	}
	b.mu.Lock()
	answer := b.answer
	b.mu.Unlock()
	if interim, final, ok := strings.Cut(answer, "HTTP/1.1 100 Continue\r\n\r\n"); ok && interim == "" {
		_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
		answer = final
	}
	_, _ = io.Copy(io.Discard, r.Body)
	b.mu.Lock()
	b.asked.Write(seen.Bytes())
	b.mu.Unlock()
	_, _ = io.WriteString(conn, answer)
}

// plainly is the way that a Forwarder is held against.
func plainly(f relay.Forwarder) func(context.Context, http.ResponseWriter, *http.Request) {
	return func(ctx context.Context, w http.ResponseWriter, r *http.Request) {
		f.Plain.ServeHTTP(w, r.WithContext(ctx))
	}
}

var errFiltered = errors.New("the filter does not let it through")

// newForwarder makes one that does what gateways do: strip, set, filter.
func newForwarder(target *url.URL, transport http.RoundTripper) relay.Forwarder {
	return relay.Forwarder{Plain: &httputil.ReverseProxy{
		Rewrite: func(pr *httputil.ProxyRequest) {
			relay.Retarget(pr, target)
			header.Strip(pr.Out.Header)
			pr.SetXForwarded()
			pr.Out.Header.Set("X-Forwarded-User", "alice")
		},
		Transport: relay.SafeTrailers{Base: transport},
		ModifyResponse: func(res *http.Response) error {
			if res.Header.Get("X-Fail") != "" || res.StatusCode == http.StatusSwitchingProtocols {
				return errFiltered
			}
			header.StripResponse(res.Header)
			res.Header["X-Added"] = []string{"1"}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, _ error) {
			w.Header().Set("Date", "then")
			http.Error(w, "failed "+r.URL.Path, http.StatusBadGateway)
		},
		BufferPool: new(relay.Buffers),
		ErrorLog:   slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}}
}

// front serves by forward, behind the Exchange that all requests go through.
func front(t *testing.T, forward func(context.Context, http.ResponseWriter, *http.Request)) net.Addr {
	t.Helper()
	recorder := relay.Recorder{Access: accesslog.New(io.Discard, "test"), Log: slog.New(slog.DiscardHandler), Now: time.Now}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/end" {
			w.Header().Set("Date", "then")
			return
		}
		recorder.Serve(w, r, func(ex *relay.Exchange, r *http.Request) {
			if r.URL.Path == "/preset" { // net/http/httputil would lose it with an interim answer
				ex.Header().Set("X-Preset", "before")
			}
			ex.Duplex()
			forward(r.Context(), ex, r)
		})
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr()
}

// exchanged sends a request, and another one that ends the connection, and returns all
// that comes back, with what came in chunks put together.
func exchanged(t *testing.T, at net.Addr, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = io.WriteString(conn, request+"GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	got, _ := io.ReadAll(conn)
	method, _, _ := strings.Cut(request, " ")
	return unchunked(string(got), method)
}

func unchunked(all, method string) string {
	head, rest, ok := strings.Cut(all, "\r\n\r\n")
	if strings.HasPrefix(all, "HTTP/1.1 100 ") {
		return head + "\n" + unchunked(rest, method)
	}
	if !ok || method == http.MethodHead || !strings.Contains(head, "Transfer-Encoding: chunked") {
		return all
	}
	br := bufio.NewReader(strings.NewReader(all))
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		return all
	}
	body, err := io.ReadAll(res.Body)
	after, _ := io.ReadAll(br)
	var trailers strings.Builder
	_ = res.Trailer.Write(&trailers)
	broken := ""
	if err != nil {
		broken = "(broke off)"
	}
	return head + "\r\n\r\n" + string(body) + broken + "\r\n" + trailers.String() + string(after)
}

const okay = "HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"

var requests = map[string]string{
	"plain":                        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	"with an agent":                "GET /a?b=c HTTP/1.1\r\nHost: x:1\r\nUser-Agent: me\r\nAccept: a\r\nAccept: b\r\n\r\n",
	"two agents":                   "GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: me\r\nUser-Agent: you\r\n\r\n",
	"an empty agent":               "GET / HTTP/1.1\r\nHost: x\r\nUser-Agent:\r\n\r\n",
	"query that does not parse":    "GET /a?x=%zz;y&&=1 HTTP/1.1\r\nHost: x\r\n\r\n",
	"escapes":                      "GET /a%2Fb|c%20d;e HTTP/1.1\r\nHost: x\r\n\r\n",
	"absolute":                     "GET http://y/a HTTP/1.1\r\nHost: x\r\n\r\n",
	"asterisk":                     "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
	"hop by hop":                   "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, X-A,x-b , ,Cookie\r\nKeep-Alive: 1\r\nX-A: 1\r\nX-B: 1\r\nCookie: a=b\r\nProxy-Connection: x\r\nProxy-Authenticate: x\r\nTrailer: A\r\nX-C: 1\r\n\r\n",
	"connection names ours":        "GET / HTTP/1.1\r\nHost: x\r\nConnection: X-Forwarded-User, X-Forwarded-For, Host, Te\r\nTe: trailers\r\nX-Forwarded-User: eve\r\n\r\n",
	"connection close":             "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nClose: 1\r\n\r\n",
	"connection Close":             "GET / HTTP/1.1\r\nHost: x\r\nConnection: Close, Keep-Alive\r\nClose: 1\r\n\r\n",
	"two lines of connection":      "GET / HTTP/1.1\r\nHost: x\r\nConnection: a\r\nConnection: b\r\nA: 1\r\nB: 1\r\n\r\n",
	"upgrade without connection":   "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n",
	"connection without upgrade":   "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: x\r\n\r\n",
	"another upgrade":              "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
	"forwarded":                    "GET / HTTP/1.1\r\nHost: x\r\nForwarded: for=a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Host: y\r\nX-Forwarded-Proto: https\r\nX-Real-Ip: 1.1.1.1\r\nX_Forwarded_User: eve\r\n\r\n",
	"te":                           "GET / HTTP/1.1\r\nHost: x\r\nTe: gzip, TRAILERS\r\n\r\n",
	"te of another":                "GET / HTTP/1.1\r\nHost: x\r\nTe: trailers;q=1\r\n\r\n",
	"cookies":                      "GET / HTTP/1.1\r\nHost: x\r\nCookie: a=b; c=d\r\nCookie: e=f\r\n\r\n",
	"authorization":                "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Basic x\r\nProxy-Authorization: Basic x\r\n\r\n",
	"range":                        "GET / HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1\r\nIf-Range: x\r\n\r\n",
	"head":                         "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n",
	"own method":                   "PROPFIND / HTTP/1.1\r\nHost: x\r\nDepth: 1\r\nContent-Length: 0\r\n\r\n",
	"delete":                       "DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n",
	"post of nothing":              "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
	"post":                         "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Type: a/b\r\n\r\nhello",
	"put in chunks":                "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"chunks with a trailer":        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\nX-Forwarded-User: eve\r\n\r\n",
	"chunks of nothing":            "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"chunks, and a connection end": "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\na\r\n0\r\n\r\n",
	"expect":                       "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
	"old":                          "GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
}

var answers = map[string]string{
	"fine":                   okay,
	"none":                   "",
	"nonsense":               "SSH-2.0-OpenSSH\r\n",
	"interim first":          "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + okay,
	"continue first":         "HTTP/1.1 100 Continue\r\n\r\n" + okay,
	"no type":                "HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 6\r\n\r\n<html>",
	"no content":             "HTTP/1.1 204 No Content\r\nDate: then\r\nX-A: 1\r\n\r\n",
	"not modified":           "HTTP/1.1 304 Not Modified\r\nDate: then\r\nEtag: x\r\nContent-Length: 12\r\n\r\n",
	"partial":                "HTTP/1.1 206 Partial Content\r\nDate: then\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nab",
	"own status":             "HTTP/1.1 599 Whatever\r\nDate: then\r\nContent-Length: 0\r\n\r\n",
	"hop by hop":             "HTTP/1.1 200 OK\r\nDate: then\r\nConnection: X-A, close\r\nX-A: 1\r\nClose: 1\r\nKeep-Alive: 1\r\nUpgrade: h2c\r\nProxy-Authenticate: x\r\nTe: x\r\nX-B: 1\r\nContent-Length: 2\r\n\r\nok",
	"many of one name":       "HTTP/1.1 200 OK\r\nDate: then\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nX-Preset: after\r\nset-cookie: e=f\r\nX-Empty:\r\nContent-Length: 2\r\n\r\nok",
	"names in small letters": "HTTP/1.1 200 OK\r\ndate: then\r\nx-a: 1\r\nETAG: x\r\ncontent-length: 2\r\n\r\nok",
	"ours":                   "HTTP/1.1 200 OK\r\nDate: then\r\nX-Forwarded-User: eve\r\nX-Sallyport-Fault: x\r\nContent-Length: 2\r\n\r\nok",
	"filtered":               "HTTP/1.1 200 OK\r\nDate: then\r\nX-Fail: 1\r\nContent-Length: 2\r\n\r\nok",
	"chunks":                 "HTTP/1.1 200 OK\r\nDate: then\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3\r\nabc\r\n0\r\n\r\n",
	"a trailer that passes":  "HTTP/1.1 200 OK\r\nDate: then\r\nTrailer: Server-Timing, X-Y\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nServer-Timing: a\r\nX-Y: b\r\n\r\n",
	"trailers unannounced":   "HTTP/1.1 200 OK\r\nDate: then\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nServer-Timing: a\r\nRepr-Digest: b\r\n\r\n",
	"trailers of gRPC":       "HTTP/1.1 200 OK\r\nDate: then\r\nContent-Type: application/grpc\r\nTrailer: Grpc-Status\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nGrpc-Status: 0\r\nSet-Cookie: a=b\r\n\r\n",
	"events":                 "HTTP/1.1 200 OK\r\nDate: then\r\nContent-Type: text/event-stream; charset=x\r\nContent-Length: 9\r\n\r\ndata: a\n\n",
	"up to the end":          "HTTP/1.1 200 OK\r\nDate: then\r\n\r\nall of it",
	"old":                    "HTTP/1.0 200 OK\r\nDate: then\r\n\r\nall of it",
	"broken off":             "HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 20\r\n\r\nnot all",
	"chunks broken off":      "HTTP/1.1 200 OK\r\nDate: then\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n9\r\nnot",
	"switching":              "HTTP/1.1 101 Switching Protocols\r\nDate: then\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	"switching to nothing":   "HTTP/1.1 101 Switching Protocols\r\nDate: then\r\n\r\n",
	"large":                  "HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 300000\r\n\r\n" + strings.Repeat("0123456789", 30000),
	"large in chunks":        "HTTP/1.1 200 OK\r\nDate: then\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("a\r\n0123456789\r\n", 20000) + "0\r\n\r\n",
}

func TestForwardingIsWhatReverseProxyDoes(t *testing.T) {
	backend := newRawBackend(t)
	forwarder := newForwarder(&url.URL{Scheme: "http", Host: backend.Addr().String()}, http1.New(http1.Config{ContinueTimeout: time.Second, MaxAge: time.Nanosecond}))
	fast, plain := front(t, forwarder.Forward), front(t, plainly(forwarder))
	alike := func(t *testing.T, request, answer string) {
		t.Helper()
		through := func(at net.Addr) (asked, got string) {
			backend.mu.Lock()
			backend.asked.Reset()
			backend.answer = answer
			backend.mu.Unlock()
			got = exchanged(t, at, request)
			backend.mu.Lock()
			defer backend.mu.Unlock()
			return backend.asked.String(), got
		}
		asked, got := through(fast)
		wantAsked, want := through(plain)
		if asked != wantAsked {
			t.Errorf("the backend is asked\n%s\nand plainly\n%s", asked, wantAsked)
		}
		if got != want {
			t.Errorf("the client gets\n%.2000s\nand plainly\n%.2000s", got, want)
		}
	}
	for name, request := range requests {
		t.Run("request "+name, func(t *testing.T) { alike(t, request, okay) })
	}
	asking := map[string]string{
		"GET": "GET /a HTTP/1.1\r\nHost: x\r\nTe: trailers\r\n\r\n", "HEAD": "HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST": "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", "old": "GET /a HTTP/1.0\r\nHost: x\r\n\r\n",
	}
	for name, answer := range answers {
		for method, request := range asking {
			if !strings.HasSuffix(name, " first") {
				request = strings.Replace(request, "/a", "/preset", 1)
			}
			t.Run(method+" answer "+name, func(t *testing.T) { alike(t, request, answer) })
		}
	}
}
