package listen

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counter counts what a listener tells.
type counter struct {
	mu     sync.Mutex
	closed map[string]int
	open   int
}

func (c *counter) limits(l Limits) Limits {
	c.closed = map[string]int{}
	l.Closed = func(limit string) { c.mu.Lock(); defer c.mu.Unlock(); c.closed[limit]++ }
	l.Opened = func(n int) { c.mu.Lock(); defer c.mu.Unlock(); c.open += n }
	return l
}

func (c *counter) read(limit string) (closed, open int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed[limit], c.open
}

// limitedListener accepts into a channel until the test ends.
func limitedListener(t *testing.T, l Limits) (address string, accepted chan net.Conn) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener, accepted := Limit(inner, l), make(chan net.Conn, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return inner.Addr().String(), accepted
}

func dialFrom(t *testing.T, from, address string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

// refused reports whether the other end has hung up.
func refused(conn net.Conn) bool {
	_, err := conn.Read(make([]byte, 1))
	return err != nil
}

func TestOneTooManyIsClosed(t *testing.T) {
	var told counter
	address, accepted := limitedListener(t, told.limits(Limits{Total: 3, PerAddress: 2}))
	var held []net.Conn
	for _, from := range []string{"127.0.0.2", "127.0.0.2", "127.0.0.3"} {
		dialFrom(t, from, address)
		held = append(held, <-accepted)
	}
	if !refused(dialFrom(t, "127.0.0.3", address)) {
		t.Error("a fourth connection was let in")
	}
	held[2].Close()
	held[2].Close() // counts once
	if !refused(dialFrom(t, "127.0.0.2", address)) {
		t.Error("a third connection of one address was let in")
	}
	dialFrom(t, "127.0.0.4", address)
	held[2] = <-accepted
	if n, _ := told.read(LimitTotal); n != 1 {
		t.Errorf("%d were closed at the total, want 1", n)
	}
	if n, open := told.read(LimitAddress); n != 1 || open != 3 {
		t.Errorf("%d were closed at the limit of an address and %d are open, want 1 and 3", n, open)
	}
	for _, conn := range held {
		conn.Close()
	}
	if _, open := told.read(""); open != 0 {
		t.Errorf("%d are open in the end", open)
	}
}

func TestPeerThatTakesNothingIsCut(t *testing.T) {
	var told counter
	address, accepted := limitedListener(t, told.limits(Limits{Stall: 300 * time.Millisecond}))
	dialFrom(t, "127.0.0.2", address)
	stuck := <-accepted
	idle := dialFrom(t, "127.0.0.3", address)
	quiet := <-accepted
	defer quiet.Close()
	written := make(chan error, 1)
	go func() {
		_, err := io.Copy(stuck, zeros{})
		written <- err
	}()
	select {
	case err := <-written:
		if err == nil {
			t.Error("an endless copy has ended")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("whoever takes nothing is waited for")
	}
	if n, _ := told.read(LimitStall); n != 1 {
		t.Errorf("%d were cut, want 1", n)
	}
	if _, err := quiet.Write([]byte("x")); err != nil || refused(idle) {
		t.Errorf("an idle connection was cut: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestNetworks(t *testing.T) {
	for _, test := range []struct{ address, want string }{
		{"192.0.2.1:80", "192.0.2.1"},
		{"[::ffff:192.0.2.1]:80", "192.0.2.1"},
		{"[2001:db8:1:2:3:4:5:6]:80", "2001:db8:1:2::"},
		{"[fe80::1%eth0]:80", "fe80::"},
		{"@", "invalid IP"},
	} {
		if got := network(text(test.address)).String(); got != test.want {
			t.Errorf("network of %s = %s, want %s", test.address, got, test.want)
		}
	}
	if network(nil).IsValid() {
		t.Error("no address has a network")
	}
}

// text is an address as it is written.
type text string

func (text) Network() string  { return "tcp" }
func (a text) String() string { return string(a) }
