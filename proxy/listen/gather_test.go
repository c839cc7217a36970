package listen

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// counted is how often a connection was written to.
type counted struct{ writes atomic.Int64 }

type countedConn struct {
	net.Conn
	of *counted
}

func (c countedConn) Write(p []byte) (int, error) {
	c.of.writes.Add(1)
	return c.Conn.Write(p)
}

// gathering is a server that speaks HTTP/2 over connections of ours.
func gathering(t *testing.T, handle http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handle)
	s.Listener, s.EnableHTTP2 = Limit(s.Listener, Limits{Stall: 10 * time.Second}), true
	s.Config.ConnState = func(c net.Conn, now http.ConnState) {
		if now == http.StateActive {
			Settle(c)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// What one goroutine writes before anybody else can run is one system call.
func TestWhatIsWrittenMeanwhileGoesOutTogether(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	inner := new(counted)
	ours, theirs := net.Pipe()
	c := &conn{Conn: countedConn{ours, inner}, gather: newGather(behindRoom, behinds)}
	c.mode.Store(modeBehind)
	read := make(chan string)
	go func() { got, _ := io.ReadAll(theirs); read <- string(got) }()
	for range 100 {
		_, _ = io.WriteString(c, "head and body ")
	}
	c.settle()
	_ = ours.Close()
	if got := <-read; got != strings.Repeat("head and body ", 100) {
		t.Errorf("%d bytes have come", len(got))
	}
	if n := inner.writes.Load(); n > 10 { // and not 100; more than one only if somebody else had to run
		t.Errorf("%d system calls for what was written at once", n)
	}
}

func TestAnswersOverHTTP2AreWhole(t *testing.T) {
	const rounds, atOnce = 50, 16
	body := strings.Repeat("0123456789abcdef", 64)
	asked, answer := make(chan struct{}), make(chan struct{})
	s := gathering(t, func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		<-answer
		_, _ = io.WriteString(w, body)
	})
	for range rounds {
		var all sync.WaitGroup
		for range atOnce {
			all.Go(func() {
				if got := fetch(t, s, "/"); got != body {
					t.Errorf("%d bytes of %d have come", len(got), len(body))
				}
			})
		}
		for range atOnce {
			<-asked
		}
		for range atOnce {
			answer <- struct{}{}
		}
		all.Wait()
	}
}

func fetch(t *testing.T, s *httptest.Server, path string) string {
	res, err := s.Client().Get(s.URL + path)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Error(err)
	}
	return string(body)
}

func TestLargeAnswersOverHTTP2AreWhole(t *testing.T) {
	large := bytes.Repeat([]byte("what is behind the door "), 1<<18)
	s := gathering(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(large) })
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if got := fetch(t, s, "/"); got != string(large) {
				t.Errorf("%d bytes of %d have come, or others", len(got), len(large))
			}
		})
	}
	all.Wait()
}

// pair is a connection of a listener of ours that speaks as mode says, and its peer.
func pair(t *testing.T, mode int32, l Limits) (c *conn, peer net.Conn) {
	t.Helper()
	address, accepted := limitedListener(t, l)
	peer = dialFrom(t, "127.0.0.1", address)
	c = (<-accepted).(*conn)
	t.Cleanup(func() { c.Close() })
	c.gather = newGather(behindRoom, behinds)
	c.mode.Store(mode)
	return c, peer
}

// A goodbye is the last thing that is written, and comes after all that was before it.
func TestNothingIsLostAtTheEnd(t *testing.T) {
	c, peer := pair(t, modeBehind, Limits{})
	want := strings.Repeat("x", 100_000)
	for part := want; part != ""; part = part[1000:] {
		if _, err := io.WriteString(c, part[:1000]); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second)) // as crypto/tls ends a connection
	_, _ = io.WriteString(c, "goodbye")
	_ = c.SetWriteDeadline(time.Now())
	_ = c.Close()
	if got, err := io.ReadAll(peer); err != nil || string(got) != want+"goodbye" {
		t.Errorf("%d bytes of %d have come: %v", len(got), len(want)+7, err)
	}
}

func TestGatheringIsBounded(t *testing.T) {
	var told counter
	c, _ := pair(t, modeBehind, told.limits(Limits{Stall: 200 * time.Millisecond}))
	written := 0
	for {
		n, err := c.Write(make([]byte, 16<<10))
		written += n
		if err != nil {
			break
		}
		if written > 64<<20 {
			t.Fatal("a peer that takes nothing is written to without an end")
		}
	}
	if closed, _ := told.read(LimitStall); closed != 1 {
		t.Errorf("the connection was not closed at its limit")
	}
	c.settle()
}

func TestErrorOfAGatheredWriteIsToldAtTheNext(t *testing.T) {
	c, peer := pair(t, modeBehind, Limits{})
	_ = peer.(*net.TCPConn).SetLinger(0)
	_ = peer.Close()
	for range 100 {
		if _, err := io.WriteString(c, "x"); err != nil {
			return
		}
		c.settle()
	}
	t.Error("a hundred writes to a peer that is gone, and no error")
}

func TestHeldWritesAreOne(t *testing.T) {
	one := strings.Repeat("y", 16<<10)
	for _, c := range []struct {
		mode int32
		most int64
	}{{modeNow, 2}, {modeNew, 8}} {
		inner := new(counted)
		ours, theirs := net.Pipe()
		below := &conn{Conn: countedConn{ours, inner}}
		below.mode.Store(c.mode)
		read := make(chan string)
		go func() { got, _ := io.ReadAll(theirs); read <- string(got) }()
		err := Holder{below}.Hold(func() error {
			for range 7 {
				if _, err := io.WriteString(below, one); err != nil {
					return err
				}
			}
			return nil
		})
		_, _ = io.WriteString(below, "end")
		_ = ours.Close()
		if got := <-read; err != nil || got != strings.Repeat(one, 7)+"end" {
			t.Errorf("%d bytes have come: %v", len(got), err)
		}
		if n := inner.writes.Load(); n > c.most+1 {
			t.Errorf("%d writes in mode %d, expected %d and the one that was not held", n, c.mode, c.most)
		}
	}
}

func TestErrorOfAHeldWriteIsTheAnswersOwn(t *testing.T) {
	ours, theirs := net.Pipe()
	_ = theirs.Close()
	below := &conn{Conn: ours}
	below.mode.Store(modeNow)
	err := Holder{below}.Hold(func() error { _, err := io.WriteString(below, "x"); return err })
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v, expected that the peer has gone", err)
	}
	if err := (Holder{}).Hold(func() error { return os.ErrExist }); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v of a connection that is not ours", err)
	}
}

// What is spoken decides, and others' connections are left alone.
func TestOnlyHTTP2IsWrittenBehind(t *testing.T) {
	for proto, want := range map[string]int32{"h2": modeBehind, "http/1.1": modeNow} {
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		var below atomic.Pointer[conn]
		s.Listener = Limit(s.Listener, Limits{})
		s.TLS = &tls.Config{NextProtos: []string{proto}}
		s.EnableHTTP2 = proto == "h2"
		s.Config.ConnState = func(c net.Conn, state http.ConnState) {
			if state == http.StateActive {
				Settle(c)
				below.Store(c.(*tls.Conn).NetConn().(*conn))
			}
		}
		s.StartTLS()
		fetch(t, s, "/")
		if got := below.Load().mode.Load(); got != want {
			t.Errorf("%s is in mode %d, expected %d", proto, got, want)
		}
		s.Close()
	}
	Settle(&net.TCPConn{})
	Settle(tls.Server(&net.TCPConn{}, nil))
}

// Whoever writes beside the holder, as TLS does for itself, is not overtaken, and overtakes
// nobody: the lock is TLS's own, around each of its records.
func TestWritesBesideHeldOnesKeepTheirOrder(t *testing.T) {
	ours, theirs := net.Pipe()
	below := &conn{Conn: ours}
	below.mode.Store(modeNow)
	var out sync.Mutex
	next := byte(0)
	write := func() error {
		out.Lock()
		defer out.Unlock()
		_, err := below.Write([]byte{next})
		next++
		return err
	}
	read := make(chan []byte)
	go func() { got, _ := io.ReadAll(theirs); read <- got }()
	var beside sync.WaitGroup
	for range 2 {
		beside.Go(func() {
			for range 40_000 {
				_ = write()
			}
		})
	}
	for range 20_000 {
		_ = Holder{below}.Hold(func() error { _ = write(); return write() })
	}
	beside.Wait()
	_ = ours.Close()
	got := <-read
	if len(got) != 120_000 {
		t.Fatalf("%d bytes of 120000 have come", len(got))
	}
	for i, b := range got {
		if b != byte(i) {
			t.Fatalf("byte %d is %d, expected %d", i, b, byte(i))
		}
	}
}
