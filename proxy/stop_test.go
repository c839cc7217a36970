package proxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/handover"
)

// site is an address that one server after another serves.
type site struct {
	t       *testing.T
	ca      *authority
	address string
	cert    tls.Certificate
}

func newSite(t *testing.T) *site {
	t.Helper()
	l, err := handover.Listen(t.Context(), "127.0.0.1:0", true)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ca := newAuthority(t)
	return &site{t: t, ca: ca, address: l.Addr().String(), cert: ca.issue(x509.ExtKeyUsageServerAuth, "localhost")}
}

// serve begins a server beside those that are there, and returns how to stop it.
func (s *site) serve(handler http.Handler, announce, drain time.Duration) (stop func() error) {
	s.t.Helper()
	listener, err := handover.Listen(s.t.Context(), s.address, true)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() {
		done <- proxy.Serve(ctx, proxy.ServerConfig{
			Listener: listener, Quiet: listener.Quiet, Handler: handler, Announce: announce, Drain: drain,
			TLS: &tls.Config{Certificates: []tls.Certificate{s.cert}, NextProtos: []string{"h2", "http/1.1"}},
		})
	}()
	return sync.OnceValue(func() error { cancel(); return <-done })
}

// client is one that keeps its connections, and that never sends a POST twice.
func (s *site) client(http2 bool) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.ca.pool, ServerName: "localhost"}, ForceAttemptHTTP2: http2, MaxIdleConnsPerHost: 100}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// load sends POSTs, with a moment between them in which connections are idle, until end
// is called, which returns how many there were and the faults.
func (s *site) load(clients int) (end func() (sent int64, faults []string)) {
	var sent atomic.Int64
	var mu sync.Mutex // guards faults
	var faults []string
	over := make(chan struct{})
	var running sync.WaitGroup
	for i := range clients {
		http2 := i%2 == 1
		client := s.client(http2)
		for range 1 + i%2*3 { // four streams on a connection of HTTP/2
			running.Go(func() {
				for {
					select {
					case <-over:
						return
					case <-time.After(rand.N(3 * time.Millisecond)):
					}
					if err := s.post(client, http2); err != nil {
						mu.Lock()
						faults = append(faults, fmt.Sprintf("HTTP/2 %t: %v", http2, err))
						mu.Unlock()
					}
					sent.Add(1)
				}
			})
		}
	}
	return func() (int64, []string) {
		close(over)
		running.Wait()
		return sent.Load(), faults
	}
}

// post sends a body that cannot be read again, so that nothing is sent twice. Only in
// HTTP/2 may it be, where the server says which requests it has not begun.
func (s *site) post(client *http.Client, http2 bool) error {
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "https://"+s.address+"/", strings.NewReader("content"))
	if err != nil {
		return err
	}
	if !http2 {
		req.GetBody = nil
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err == nil && string(got) != "content" {
		err = fmt.Errorf("answer %d %q", res.StatusCode, got)
	}
	return err
}

// repeat answers with what it is sent.
func repeat(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }

// Old and new listen side by side; each time the old one stops, under load.
func TestStopUnderLoadLosesNothing(t *testing.T) {
	s := newSite(t)
	stop := s.serve(http.HandlerFunc(repeat), 300*time.Millisecond, 10*time.Second)
	end := s.load(8)
	for range 5 {
		next := s.serve(http.HandlerFunc(repeat), 300*time.Millisecond, 10*time.Second)
		if err := stop(); err != nil {
			t.Errorf("Serve = %v", err)
		}
		stop = next
	}
	sent, faults := end()
	if err := stop(); err != nil {
		t.Errorf("Serve = %v", err)
	}
	if len(faults) > 0 || sent < 100 {
		t.Errorf("%d of %d requests failed, of which the first %q", len(faults), sent, faults[:min(len(faults), 3)])
	}
	t.Logf("%d requests, 5 stops", sent)
}

// Whoever has connected when the stop begins, and lies in the queue of the socket, is
// answered. Whoever comes later does not connect at all: nobody listens any more. They are
// few: whoever has not sent a request within five seconds is let go.
func TestStopAnswersWhoeverHasConnected(t *testing.T) {
	s := newSite(t)
	stop := s.serve(http.HandlerFunc(repeat), 0, 10*time.Second)
	var conns []*tls.Conn
	var dialled sync.WaitGroup
	stopped := make(chan error, 1)
	for i := range 16 {
		raw, err := net.DialTimeout("tcp", s.address, 50*time.Millisecond)
		if err != nil && i > 8 {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, tls.Client(raw, &tls.Config{RootCAs: s.ca.pool, ServerName: "localhost"}))
		defer raw.Close()
		if i == 8 {
			go func() { stopped <- stop() }()
		}
	}
	for _, conn := range conns {
		dialled.Go(func() {
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"); err != nil {
				t.Error(err)
				return
			}
			if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != http.StatusOK {
				t.Errorf("answer %v, %v", res, err)
			}
		})
	}
	dialled.Wait()
	if err := <-stopped; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

// An event stream and a WebSocket end as soon as nobody new is let in, and do not use
// up the time of a stop; whoever has one open connects again by himself.
func TestStreamsEndAtTheBeginningOfTheDrain(t *testing.T) {
	s := newSite(t)
	begun := make(chan struct{})
	stop := s.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		begun <- struct{}{}
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}), 0, time.Minute)
	for _, http2 := range []bool{false, true} {
		client := s.client(http2)
		go func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.address+"/", nil)
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Accept", "text/event-stream")
			if res, err := client.Do(req); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		}()
		<-begun
	}
	began := time.Now()
	if err := stop(); err != nil {
		t.Errorf("Serve = %v, want a clean stop", err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("the stop took %s", took)
	}
}

// While the stop is announced, everything goes on, and each answer has its client leave.
func TestAnnouncedStopHasClientsLeave(t *testing.T) {
	s := newSite(t)
	stop := s.serve(http.HandlerFunc(repeat), time.Minute, time.Second)
	client := s.client(false)
	send := func() *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+s.address+"/", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res
	}
	if send().Close {
		t.Error("a connection is ended before the stop")
	}
	go func() { _ = stop() }() // ends with the test
	for deadline := time.Now().Add(10 * time.Second); !send().Close; {
		if time.Now().After(deadline) {
			t.Fatal("no answer ends its connection")
		}
	}
	if !send().Close {
		t.Error("a new connection is not ended")
	}
}

// Whoever has connected before the stop, and asks once nobody can connect any more, is
// answered: http.Server.Shutdown alone would drop what it reads.
func TestStopWaitsForWhoeverHasJustConnected(t *testing.T) {
	s := newSite(t)
	stop := s.serve(http.HandlerFunc(repeat), 0, 10*time.Second)
	conn, err := tls.Dial("tcp", s.address, &tls.Config{RootCAs: s.ca.pool, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for {
		late, err := net.DialTimeout("tcp", s.address, 50*time.Millisecond)
		if err != nil {
			break
		}
		_ = late.Close()
	}
	<-time.After(700 * time.Millisecond) // Shutdown would have begun by now, after the quiet that follows the last connection
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"); err != nil {
		t.Fatal(err)
	}
	if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("answer %v, %v", res, err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Serve = %v", err)
	}
}
