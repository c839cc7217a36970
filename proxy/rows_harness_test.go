package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/sidecar"
)

// stand is a gateway, a sidecar and an application as they stand in production, each of
// the first two on the product's own listener, and alice signed in at the tools. The
// names of its tests are those of docs/proxy-attacks.md.
type stand struct {
	*chain
	tool      *recording
	sidecar   string      // its address
	asGateway *tls.Config // how the gateway speaks to it
	said      int         // lines of the gateway's log that were looked at
}

// recording is an application that keeps the very bytes that reach it, whatever a
// connection brings, and answers with the bytes that a test has it answer with.
type recording struct {
	listener net.Listener
	requests chan string
	mu       sync.Mutex
	answers  map[string]string // by path
}

// brokenOff begins what was no whole request.
const brokenOff = "broken off: "

const recordedAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func newRecording(tb testing.TB) *recording {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = listener.Close() })
	a := &recording{listener: listener, requests: make(chan string, 100), answers: map[string]string{}}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go a.serve(conn)
		}
	}()
	return a
}

// serve takes requests of a connection one after the other: what is left of one is the
// beginning of the next.
func (a *recording) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	var got bytes.Buffer
	reader := bufio.NewReader(io.TeeReader(conn, &got))
	for {
		r, err := http.ReadRequest(reader)
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
		}
		if err != nil {
			if got.Len() > 0 {
				a.requests <- brokenOff + got.String()
			}
			return
		}
		a.requests <- string(got.Next(got.Len() - reader.Buffered()))
		answer := a.answerOf(r.URL.Path)
		if _, err := io.WriteString(conn, answer); err != nil || strings.Contains(answer, "Connection: close") || strings.Contains(answer, " 101 ") {
			return
		}
	}
}

func (a *recording) answerOf(path string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if answer := a.answers[path]; answer != "" {
		return answer
	}
	return recordedAnswer
}

func (a *recording) says(path, answer string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers[path] = answer
}

// next returns what has reached the application, each request of it.
func (a *recording) next() (requests []string) {
	for {
		select {
		case got := <-a.requests:
			requests = append(requests, got)
		default:
			return requests
		}
	}
}

func newStand(tb testing.TB, change func(*proxy.Config)) *stand {
	tb.Helper()
	s := &stand{tool: newRecording(tb)}
	inner := newAuthority(tb)
	s.asGateway = &tls.Config{
		RootCAs: inner.pool, ServerName: "tool.backend.test", MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{inner.issue(x509.ExtKeyUsageClientAuth, "gateway.test")},
	}
	s.guard(tb, inner)
	w := newWorld(tb, func(cfg *proxy.Config) {
		customRoute(cfg)
		for i := range cfg.Routes {
			cfg.Routes[i].Backend = &url.URL{Scheme: "https", Host: s.sidecar}
			cfg.Routes[i].TLS = s.asGateway.Clone()
		}
		if change != nil {
			change(cfg)
		}
	})
	s.chain = &chain{world: w, cookies: map[string]string{}}
	b := w.browser()
	for _, rt := range w.cfg.Routes[:3] {
		if res := b.signIn(w.origin(rt.Host)+"/", "alice"); res.StatusCode != http.StatusOK {
			tb.Fatalf("%s: %d", rt.Host, res.StatusCode)
		}
		s.cookies[rt.Host] = (&browser{w: w, client: b.client}).cookiesAt(rt.Host)
	}
	s.said = len(w.records(11))
	if got := len(s.tool.next()); got != 3 {
		tb.Fatalf("%d requests of three pages", got)
	}
	return s
}

// guard starts the sidecar.
func (s *stand) guard(tb testing.TB, inner *authority) {
	tb.Helper()
	guard, err := sidecar.New(sidecar.Config{
		App: &url.URL{Scheme: "http", Host: s.tool.listener.Addr().String()}, Access: accesslog.New(new(lines), "sidecar"),
		PeerName: func(state tls.ConnectionState) (string, error) {
			if len(state.VerifiedChains) == 0 {
				return "", errors.New("no chain")
			}
			return state.VerifiedChains[0][0].DNSNames[0], nil
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s.sidecar = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- proxy.Serve(ctx, proxy.ServerConfig{Listener: listener, Handler: guard, Drain: time.Second, TLS: &tls.Config{
			MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: inner.pool,
			Certificates: []tls.Certificate{inner.issue(x509.ExtKeyUsageServerAuth, "tool.backend.test")},
		}})
	}()
	tb.Cleanup(func() { cancel(); <-ended }) //nolint:errcheck // what is cut at the end of a test is its own affair
}

// cookiesAt is the Cookie header of b at a host.
func (b *browser) cookiesAt(host string) string {
	var cookies []string
	for _, cookie := range b.client.Jar.Cookies(mustParse(b.w.tb, b.w.origin(host)+"/")) {
		cookies = append(cookies, cookie.Name+"="+cookie.Value)
	}
	return strings.Join(cookies, "; ")
}

// fill puts in what tests cannot write down.
func (s *stand) fill(text string) string {
	return strings.NewReplacer(
		"{host}", strings.TrimPrefix(s.origin(headersHost), "https://"), "{other}", strings.TrimPrefix(s.origin(notesHost), "https://"),
		"{cookie}", s.cookies[headersHost], "{othercookie}", s.cookies[notesHost],
	).Replace(text)
}

// speak sends bytes over TLS and returns the statuses of the answers: of all that come
// before the connection is closed, or has been quiet for a moment after the last that
// is expected.
func speak(tb testing.TB, address string, config *tls.Config, text string, expected int) (statuses []int) {
	tb.Helper()
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(conn, text) // whoever has heard enough hangs up, before it has come whole
	answers := bufio.NewReader(conn)
	for {
		if len(statuses) >= expected {
			_ = conn.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
		}
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			return statuses
		}
		statuses = append(statuses, res.StatusCode)
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return statuses
		}
	}
}

// reasons are those of the log since it was last looked at, of which so many must come.
func (s *stand) reasons(expected int) (reasons []string) {
	all := s.records(s.said + expected)
	for _, line := range all[s.said:] {
		reasons = append(reasons, fmt.Sprint(line["event.reason"]))
	}
	s.said = len(all)
	return reasons
}

var requestIDs = regexp.MustCompile(`^X-Request-Id: [a-z2-7]{16,}$`)

// beyond is what a request at the application has beside what the gateway tells it of
// alice at a host: the request line, the header lines sorted, the body. If anything
// lacks, or stands twice, of what it is told, that is said instead.
func (s *stand) beyond(host, request string) string {
	head, body, _ := strings.Cut(request, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	first, lines := lines[0], lines[1:]
	ids := 0
	lines = slices.DeleteFunc(lines, func(line string) bool {
		if requestIDs.MatchString(line) {
			ids++
			return true
		}
		return false
	})
	if ids != 1 {
		return fmt.Sprintf("%d request ids: %s", ids, request)
	}
	for _, want := range append(s.expected(host), "Host: "+strings.TrimPrefix(s.origin(host), "https://")) {
		at := slices.Index(lines, want)
		if at < 0 {
			return fmt.Sprintf("no %q: %s", want, request)
		}
		lines = slices.Delete(lines, at, at+1)
	}
	slices.Sort(lines)
	short := strings.Join(append([]string{first}, lines...), "\n")
	if body != "" {
		short += "\n\n" + body
	}
	return short
}

// reached is beyond for all that has reached the application since it was looked at.
func (s *stand) reached(host string) (short []string) {
	for _, request := range s.tool.next() {
		if strings.HasPrefix(request, brokenOff) && !strings.Contains(request, "smuggled") {
			continue // no application takes it for a request
		}
		short = append(short, s.beyond(host, request))
	}
	return short
}
