package http1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/http1"
)

// server is a backend on a real socket, of which a test says what happens on each
// connection.
type server struct {
	net.Listener
	accepted atomic.Int64
	wg       sync.WaitGroup
}

// serve has handle serve each connection; it gets the number of it, from 1.
func serve(t testing.TB, handle func(n int64, c net.Conn, br *bufio.Reader)) *server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Listener: ln}
	s.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n := s.accepted.Add(1)
			s.wg.Go(func() {
				defer c.Close()
				handle(n, c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() { ln.Close(); s.wg.Wait() })
	return s
}

func (s *server) url() string { return "http://" + s.Addr().String() + "/" }

// answering answers every request with "ok" and keeps the connection.
func answering(_ int64, c net.Conn, br *bufio.Reader) {
	for {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
			return
		}
	}
}

func newTransport(t testing.TB, cfg http1.Config) *http1.Transport {
	transport := http1.New(cfg)
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

func request(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// get asks once and returns the body, or the error.
func get(t testing.TB, transport http.RoundTripper, req *http.Request) (string, error) {
	t.Helper()
	res, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

func mustGet(t testing.TB, transport http.RoundTripper, url string) {
	t.Helper()
	if body, err := get(t, transport, request(t, http.MethodGet, url, nil)); err != nil || body != "ok" {
		t.Fatalf("got %q, %v", body, err)
	}
}

func TestConnectionsAreKept(t *testing.T) {
	s := serve(t, answering)
	transport := newTransport(t, http1.Config{})
	for range 20 {
		mustGet(t, transport, s.url())
	}
	if body, err := get(t, transport, request(t, http.MethodPost, s.url(), strings.NewReader("hello"))); err != nil || body != "ok" {
		t.Fatalf("got %q, %v", body, err)
	}
	mustGet(t, transport, s.url())
	if n := s.accepted.Load(); n != 1 {
		t.Errorf("%d connections for requests one after the other", n)
	}
	transport.CloseIdleConnections()
	mustGet(t, transport, s.url())
	if n := s.accepted.Load(); n != 2 {
		t.Errorf("%d connections after the idle ones were closed", n)
	}
}

func TestConnectionsAreNotKeptForEver(t *testing.T) {
	for name, c := range map[string]struct {
		cfg   http1.Config
		pause time.Duration
		want  int64
	}{
		"an old one":       {http1.Config{MaxAge: time.Nanosecond}, 0, 3},
		"an idle one":      {http1.Config{IdleTimeout: time.Millisecond}, 30 * time.Millisecond, 3},
		"one that is used": {http1.Config{IdleTimeout: time.Minute, MaxAge: time.Minute}, 0, 1},
	} {
		s := serve(t, answering)
		transport := newTransport(t, c.cfg)
		for range 3 {
			mustGet(t, transport, s.url())
			<-time.After(c.pause)
		}
		if n := s.accepted.Load(); n != c.want {
			t.Errorf("%s: %d connections, expected %d", name, n, c.want)
		}
	}
}

func TestNoMoreConnectionsAreKeptThanMayBe(t *testing.T) {
	var open atomic.Int64
	all := make(chan struct{})
	s := serve(t, func(n int64, c net.Conn, br *bufio.Reader) {
		open.Add(1)
		defer open.Add(-1)
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		if n == 8 {
			close(all)
		}
		<-all
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		_, _ = br.ReadByte()
	})
	transport := newTransport(t, http1.Config{MaxIdle: 3})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { mustGet(t, transport, s.url()) })
	}
	wg.Wait()
	for deadline := time.Now().Add(5 * time.Second); open.Load() != 3 && time.Now().Before(deadline); {
		<-time.After(time.Millisecond)
	}
	if n := open.Load(); n != 3 {
		t.Errorf("%d connections are kept, expected 3", n)
	}
}

// closing answers one request on each connection and then closes it without a word.
func closing(closed chan<- struct{}) func(int64, net.Conn, *bufio.Reader) {
	return func(_ int64, c net.Conn, br *bufio.Reader) {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		c.Close()
		closed <- struct{}{}
	}
}

func TestConnectionThatTheBackendClosedIsNoFailure(t *testing.T) {
	closed := make(chan struct{}, 1)
	s := serve(t, closing(closed))
	transport := newTransport(t, http1.Config{})
	for range 5 {
		mustGet(t, transport, s.url())
		<-closed
	}
	// A request that must not be sent twice finds out before it is sent once.
	for range 5 {
		body, err := get(t, transport, request(t, http.MethodPost, s.url(), onlyReader{strings.NewReader("hello")}))
		if err != nil || body != "ok" {
			t.Fatalf("POST: %q, %v", body, err)
		}
		<-closed
	}
}

// hangingUp answers the first request on a connection; of the second it reads all and
// closes.
func hangingUp(seen *atomic.Int64) func(int64, net.Conn, *bufio.Reader) {
	return func(n int64, c net.Conn, br *bufio.Reader) {
		for i := range 2 {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, req.Body)
			seen.Add(1)
			if i == 1 && n == 1 {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	}
}

func TestOnlyWhatIsSafeIsSentTwice(t *testing.T) {
	rewind := func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("hello")), nil }
	for name, c := range map[string]struct {
		method string
		body   string
		change func(*http.Request)
		again  bool
	}{
		"GET":                              {method: http.MethodGet, again: true},
		"HEAD":                             {method: http.MethodHead, again: true},
		"OPTIONS":                          {method: http.MethodOptions, again: true},
		"GET with a body that can be had":  {method: http.MethodGet, body: "hello", change: func(r *http.Request) { r.GetBody = rewind }, again: true},
		"GET with a body that is gone":     {method: http.MethodGet, body: "hello", change: func(r *http.Request) { r.GetBody = nil }},
		"POST":                             {method: http.MethodPost},
		"POST with a body that can be had": {method: http.MethodPost, body: "hello", change: func(r *http.Request) { r.GetBody = rewind }},
		"POST with a key":                  {method: http.MethodPost, change: func(r *http.Request) { r.Header.Set("Idempotency-Key", "1") }, again: true},
		"DELETE":                           {method: http.MethodDelete},
		"PUT":                              {method: http.MethodPut},
	} {
		t.Run(name, func(t *testing.T) {
			var seen atomic.Int64
			s := serve(t, hangingUp(&seen))
			transport := newTransport(t, http1.Config{})
			mustGet(t, transport, s.url())
			var body io.Reader
			if c.body != "" {
				body = strings.NewReader(c.body)
			}
			req := request(t, c.method, s.url(), body)
			if c.change != nil {
				c.change(req)
			}
			_, err := get(t, transport, req)
			if again := err == nil; again != c.again {
				t.Errorf("sent again: %t (%v), expected %t", again, err, c.again)
			}
			want := int64(2)
			if c.again {
				want = 3
			}
			if n := seen.Load(); n != want {
				t.Errorf("the backend has seen %d requests, expected %d", n, want)
			}
		})
	}
}

// A backend that hangs up on new connections is asked once.
func TestNewConnectionIsNotTriedTwice(t *testing.T) {
	s := serve(t, func(_ int64, _ net.Conn, br *bufio.Reader) { _, _ = http.ReadRequest(br) })
	if _, err := get(t, newTransport(t, http1.Config{}), request(t, http.MethodGet, s.url(), nil)); err == nil {
		t.Error("no error")
	}
	if n := s.accepted.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// What a backend sends without being asked never answers another's request, whenever
// it comes.
func TestUnaskedAnswersAnswerNobody(t *testing.T) {
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	for name, send := range map[string]func(c net.Conn){
		"at once": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"+evil)
		},
		"a little later": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			<-time.After(20 * time.Millisecond)
			_, _ = io.WriteString(c, evil)
		},
		"after no content": func(c net.Conn) {
			_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n"+evil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			sent := make(chan struct{}, 10)
			s := serve(t, func(_ int64, c net.Conn, br *bufio.Reader) {
				for {
					if _, err := http.ReadRequest(br); err != nil {
						return
					}
					send(c)
					sent <- struct{}{}
				}
			})
			transport := newTransport(t, http1.Config{})
			for range 5 {
				// Of a request that may be sent twice nobody asks whether anything has come.
				if body, err := get(t, transport, request(t, http.MethodDelete, s.url(), nil)); err != nil || body == "evil" {
					t.Fatalf("got %q, %v", body, err)
				}
				<-sent
			}
			if n := s.accepted.Load(); n != 5 {
				t.Errorf("%d connections for 5 requests", n)
			}
		})
	}
}

func TestAnswerThatIsNotReadToItsEnd(t *testing.T) {
	big := strings.Repeat("x", 1<<20)
	s := serve(t, func(_ int64, c net.Conn, br *bufio.Reader) {
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			body := "ok"
			if req.URL.Path == "/big" {
				body = big
			}
			if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
				return
			}
		}
	})
	transport := newTransport(t, http1.Config{})
	for _, path := range []string{"", "big", "big"} {
		res, err := transport.RoundTrip(request(t, http.MethodGet, s.url()+path, nil))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if n, err := res.Body.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("read %d, %v from a body that was closed", n, err)
		}
	}
	// The small one was there already, so its connection took the first big one.
	if n := s.accepted.Load(); n != 2 {
		t.Errorf("%d connections, expected 2", n)
	}
}

func TestEarlyAnswerDoesNotWaitForTheUpload(t *testing.T) {
	s := serve(t, func(_ int64, c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
		_, _ = io.Copy(io.Discard, br)
	})
	r, w := io.Pipe() // of which nothing ever comes
	defer w.Close()
	transport := newTransport(t, http1.Config{HeaderTimeout: time.Minute})
	res, err := transport.RoundTrip(request(t, http.MethodPost, s.url(), r))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || string(body) != "no" || res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("got %d %q, %v", res.StatusCode, body, err)
	}
	res.Body.Close()
	mustStartAnew(t, transport, s)
}

// mustStartAnew fails if the next request is asked on a connection that was made.
func mustStartAnew(t *testing.T, transport http.RoundTripper, s *server) {
	t.Helper()
	before := s.accepted.Load()
	res, err := transport.RoundTrip(request(t, http.MethodGet, s.url(), nil))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if s.accepted.Load() != before+1 {
		t.Error("a connection was used again whose request had not come to its end")
	}
}

// A backend that answers and closes before it has read all is heard.
func TestBackendThatWillNotReadIsHeard(t *testing.T) {
	s := serve(t, func(_ int64, c net.Conn, br *bufio.Reader) {
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, br)
	})
	body := io.LimitReader(endless{}, 8<<20)
	res, err := newTransport(t, http1.Config{}).RoundTrip(request(t, http.MethodPost, s.url(), onlyReader{body}))
	if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Fatalf("got %v, %v", res, err)
	}
	res.Body.Close()
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestBodyWaitsUntilItIsWanted(t *testing.T) {
	for name, c := range map[string]struct {
		answer string // to the head alone
		read   bool   // the backend reads the body then
		want   int
	}{
		"asked for":                   {"HTTP/1.1 100 Continue\r\n\r\n", true, http.StatusOK},
		"not wanted":                  {"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", false, http.StatusForbidden},
		"a backend that says nothing": {"", true, http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			got := make(chan string, 1)
			s := serve(t, func(_ int64, conn net.Conn, br *bufio.Reader) {
				req, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, c.answer)
				if !c.read {
					rest, _ := io.ReadAll(br)
					got <- string(rest)
					return
				}
				body, _ := io.ReadAll(req.Body)
				got <- string(body)
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			})
			req := request(t, http.MethodPut, s.url(), strings.NewReader("hello"))
			req.Header.Set("Expect", "100-continue")
			transport := newTransport(t, http1.Config{ContinueTimeout: 50 * time.Millisecond})
			if !c.read {
				transport = newTransport(t, http1.Config{ContinueTimeout: time.Minute})
			}
			res, err := transport.RoundTrip(req)
			if err != nil || res.StatusCode != c.want {
				t.Fatalf("got %v, %v", res, err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			want := ""
			if c.read {
				want = "hello"
			}
			if body := <-got; body != want {
				t.Errorf("the backend got %q, expected %q", body, want)
			}
		})
	}
}

func TestEndOfTheContextEndsTheRequest(t *testing.T) {
	errOver := errors.New("session is over")
	s := serve(t, func(_ int64, c net.Conn, br *bufio.Reader) {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if req.URL.Path == "/body" {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
		}
		_, _ = br.ReadByte()
	})
	transport := newTransport(t, http1.Config{})
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(errOver) })
	if _, err := get(t, transport, request(t, http.MethodGet, s.url(), nil).WithContext(ctx)); !errors.Is(err, errOver) {
		t.Errorf("waiting for the head: %v", err)
	}
	ctx, cancel = context.WithCancelCause(t.Context())
	res, err := transport.RoundTrip(request(t, http.MethodGet, s.url()+"body", nil).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { cancel(errOver) })
	body, err := io.ReadAll(res.Body)
	if !errors.Is(err, errOver) || string(body) != "hel" {
		t.Errorf("reading the body: %q, %v", body, err)
	}
	res.Body.Close()
}

func TestBodyCanBeClosedWhileItIsRead(t *testing.T) {
	s := serve(t, func(_ int64, c net.Conn, br *bufio.Reader) {
		_, _ = http.ReadRequest(br)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
		_, _ = br.ReadByte()
	})
	res, err := newTransport(t, http1.Config{}).RoundTrip(request(t, http.MethodGet, s.url(), nil))
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { res.Body.Close() })
	if body, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("read %q without an error", body)
	}
}

func TestBackendThatDoesNotAnswerIsATimeout(t *testing.T) {
	s := serve(t, func(_ int64, _ net.Conn, br *bufio.Reader) { _, _ = io.Copy(io.Discard, br) })
	transport := newTransport(t, http1.Config{HeaderTimeout: 30 * time.Millisecond})
	for name, body := range map[string]io.Reader{"without a body": nil, "with one": strings.NewReader("hello")} {
		_, err := get(t, transport, request(t, http.MethodPost, s.url(), body))
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The deadline is the head's: what the body takes is its own affair, and the next
// request has a deadline of its own.
func TestBodiesMayTakeTheirTime(t *testing.T) {
	const limit = 60 * time.Millisecond
	s := serve(t, func(_ int64, c net.Conn, br *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
			<-time.After(2 * limit)
			_, _ = io.WriteString(c, "k")
		}
	})
	transport := newTransport(t, http1.Config{HeaderTimeout: limit})
	for range 3 {
		mustGet(t, transport, s.url())
	}
	if n := s.accepted.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestInterimAnswersAreBounded(t *testing.T) {
	s := serve(t, func(_ int64, c net.Conn, br *bufio.Reader) {
		_, _ = http.ReadRequest(br)
		for {
			if _, err := io.WriteString(c, "HTTP/1.1 102 Processing\r\n\r\n"); err != nil {
				return
			}
		}
	})
	if _, err := get(t, newTransport(t, http1.Config{}), request(t, http.MethodGet, s.url(), nil)); err == nil {
		t.Error("no error")
	}
}

func TestSwitchedConnectionIsTheCallers(t *testing.T) {
	s := serve(t, func(_ int64, c net.Conn, br *bufio.Reader) {
		_, _ = http.ReadRequest(br)
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello ")
		_, _ = io.Copy(c, br)
	})
	ctx, cancel := context.WithCancel(t.Context())
	req := request(t, http.MethodGet, s.url(), nil).WithContext(ctx)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	res, err := newTransport(t, http1.Config{HeaderTimeout: 30 * time.Millisecond}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	cancel() // ends the request, which has ended
	<-time.After(60 * time.Millisecond)
	conn, ok := res.Body.(io.ReadWriteCloser)
	if !ok {
		t.Fatalf("body is a %T", res.Body)
	}
	if _, err := io.WriteString(conn, "world"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello world" {
		t.Errorf("got %q, %v", got, err)
	}
	conn.Close()
}

func TestManyAtOnce(t *testing.T) {
	s := serve(t, answering)
	transport := newTransport(t, http1.Config{HeaderTimeout: time.Minute})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 50 {
				var body io.Reader
				method := http.MethodGet
				if (i+j)%3 == 0 {
					method, body = http.MethodPost, strings.NewReader(strings.Repeat("x", 1000*j))
				}
				ctx, cancel := context.WithCancel(t.Context())
				if (i+j)%7 == 0 {
					go cancel()
				}
				_, err := get(t, transport, request(t, method, s.url(), body).WithContext(ctx))
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("%v", err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
}
