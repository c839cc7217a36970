package listen

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// binaryHeader is a header of version 2.
func binaryHeader(command, family byte, rest []byte) string {
	header := append([]byte(signature), command, family, 0, 0)
	binary.BigEndian.PutUint16(header[14:], uint16(len(rest)))
	return string(header) + string(rest)
}

// addresses are those of version 2, with what else may follow.
func addresses(source, destination string, more ...byte) []byte {
	from, to := netip.MustParseAddrPort(source), netip.MustParseAddrPort(destination)
	rest := append(from.Addr().AsSlice(), to.Addr().AsSlice()...)
	rest = binary.BigEndian.AppendUint16(rest, from.Port())
	return append(binary.BigEndian.AppendUint16(rest, to.Port()), more...)
}

func TestReadProxyHeader(t *testing.T) {
	v4, v6 := addresses("192.0.2.1:4711", "198.51.100.1:443"), addresses("[2001:db8::7]:4711", "[2001:db8::1]:443")
	good := map[string]struct{ header, client string }{
		"1, IPv4":                      {"PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n", "192.0.2.1:4711"},
		"1, IPv6":                      {"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", "[2001:db8::7]:4711"},
		"1, as long as can be":         {"PROXY UNKNOWN " + strings.Repeat("f", maxLine-16) + "\r\n", ""},
		"1, the proxy itself":          {"PROXY UNKNOWN\r\n", ""},
		"1, unknown with addresses":    {"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", ""},
		"2, IPv4":                      {binaryHeader(0x21, 0x11, v4), "192.0.2.1:4711"},
		"2, IPv6":                      {binaryHeader(0x21, 0x21, v6), "[2001:db8::7]:4711"},
		"2, IPv4 in IPv6":              {binaryHeader(0x21, 0x21, addresses("[::ffff:192.0.2.1]:4711", "[::1]:443")), "192.0.2.1:4711"},
		"2, with more":                 {binaryHeader(0x21, 0x11, append(bytes.Clone(v4), 0x20, 0, 1, 0xff)), "192.0.2.1:4711"},
		"2, the proxy itself":          {binaryHeader(0x20, 0x00, nil), ""},
		"2, the proxy with an address": {binaryHeader(0x20, 0x11, v4), ""},
	}
	for name, test := range good {
		rest := strings.NewReader(test.header + "what follows")
		client, err := readProxyHeader(rest)
		if got := strings.TrimPrefix(client.String(), "invalid AddrPort"); err != nil || got != test.client {
			t.Errorf("%s: %q, %v, want %q", name, got, err, test.client)
		}
		if left, _ := io.ReadAll(rest); string(left) != "what follows" {
			t.Errorf("%s: %q is left", name, left)
		}
	}
	bad := map[string]string{
		"nothing":                      "",
		"TLS":                          "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaa",
		"HTTP":                         "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"in lower case":                "proxy TCP4 192.0.2.1 198.51.100.1 4711 443\r\n",
		"1, another family":            "PROXY TCP5 192.0.2.1 198.51.100.1 4711 443\r\n",
		"1, the other family":          "PROXY TCP4 2001:db8::7 2001:db8::1 4711 443\r\n",
		"1, the other family, mapped":  "PROXY TCP4 ::ffff:192.0.2.1 ::1 4711 443\r\n",
		"1, two blanks":                "PROXY TCP4  192.0.2.1 198.51.100.1 4711 443\r\n",
		"1, one word more":             "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443 1\r\n",
		"1, one word less":             "PROXY TCP4 192.0.2.1 198.51.100.1 4711\r\n",
		"1, a port too large":          "PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n",
		"1, a port with a zero before": "PROXY TCP4 192.0.2.1 198.51.100.1 04711 443\r\n",
		"1, a port with a sign":        "PROXY TCP4 192.0.2.1 198.51.100.1 +471 443\r\n",
		"1, leading zeros":             "PROXY TCP4 192.0.02.1 198.51.100.1 4711 443\r\n",
		"1, a zone":                    "PROXY TCP6 fe80::1%eth0 ::1 4711 443\r\n",
		"1, a bad destination":         "PROXY TCP4 192.0.2.1 anywhere 4711 443\r\n",
		"1, without an end":            "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443",
		"1, a bare line feed":          "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\n" + strings.Repeat("x", 100),
		"1, too long":                  "PROXY UNKNOWN " + strings.Repeat("f", maxLine-15) + "\r\n",
		"2, version 1":                 binaryHeader(0x11, 0x11, v4),
		"2, version 3":                 binaryHeader(0x31, 0x11, v4),
		"2, another command":           binaryHeader(0x22, 0x11, v4),
		"2, UDP":                       binaryHeader(0x21, 0x12, v4),
		"2, a Unix socket":             binaryHeader(0x21, 0x31, make([]byte, 216)),
		"2, unspecified":               binaryHeader(0x21, 0x00, nil),
		"2, too short":                 binaryHeader(0x21, 0x11, v4[:11]),
		"2, IPv6 too short":            binaryHeader(0x21, 0x21, v4),
		"2, cut off":                   binaryHeader(0x21, 0x11, v4)[:20],
		"2, too long":                  binaryHeader(0x21, 0x11, append(bytes.Clone(v4), make([]byte, maxAddresses)...)),
	}
	for name, header := range bad {
		if client, err := readProxyHeader(strings.NewReader(header)); err == nil || client.IsValid() {
			t.Errorf("%s: %v, %v", name, client, err)
		}
	}
}

func FuzzReadProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n"))
	f.Add([]byte(binaryHeader(0x21, 0x21, addresses("[2001:db8::7]:4711", "[2001:db8::1]:443", 1, 2, 3))))
	f.Fuzz(func(t *testing.T, header []byte) {
		rest := bytes.NewReader(header)
		client, err := readProxyHeader(rest)
		if read := len(header) - rest.Len(); read > 16+maxAddresses {
			t.Fatalf("%d bytes were read", read)
		}
		if err != nil && client.IsValid() || client.Addr().Zone() != "" || client.Addr().Is4In6() {
			t.Fatalf("%v, %v", client, err)
		}
	})
}

// piped is a listener whose connections are the test's.
type piped struct {
	conns chan net.Conn
	fail  chan error
	ended chan struct{}
}

func (p *piped) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case err := <-p.fail:
		return nil, err
	case <-p.ended:
		return nil, net.ErrClosed
	}
}
func (p *piped) Close() error   { close(p.ended); return nil }
func (p *piped) Addr() net.Addr { return &net.TCPAddr{} }

// from is a connection with an address.
type from struct {
	net.Conn
	peer string
}

func (c from) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.peer))
}

// proxied is a listener that trusts 10.0.0.0/8.
func proxied() (*piped, net.Listener) {
	inner := &piped{conns: make(chan net.Conn), fail: make(chan error), ended: make(chan struct{})}
	return inner, ProxyProtocol(ProxyProtocolConfig{Listener: inner, Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
}

func TestProxyProtocol(t *testing.T) {
	const header = "PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n"
	tests := map[string]struct {
		peer, sends, client string // client is empty where the connection is closed
	}{
		"a trusted proxy":                {"10.0.0.1:1", header + "hello", "192.0.2.1:4711"},
		"a trusted proxy, IPv4 in IPv6":  {"[::ffff:10.0.0.1]:1", header + "hello", "192.0.2.1:4711"},
		"a trusted proxy's health check": {"10.0.0.1:1", binaryHeader(0x20, 0, nil) + "hello", "10.0.0.1:1"},
		"a trusted proxy without header": {"10.0.0.1:1", "hello, this is no header", ""},
		"a stranger with a header":       {"192.0.2.99:1", header + "hello", ""},
		"a stranger without":             {"192.0.2.99:1", "hello", ""},
		"two headers":                    {"10.0.0.1:1", header + header, "192.0.2.1:4711"}, // the second is the client's, and no TLS
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inner, listener := proxied()
				ours, theirs := net.Pipe()
				go func() {
					_, _ = io.WriteString(theirs, test.sends)
					_, _ = io.Copy(io.Discard, theirs)
				}()
				go func() { inner.conns <- from{ours, test.peer} }()
				accepted := make(chan net.Conn, 1)
				go func() {
					if conn, err := listener.Accept(); err == nil {
						accepted <- conn
					}
				}()
				synctest.Wait()
				select {
				case conn := <-accepted:
					if got := conn.RemoteAddr().String(); got != test.client {
						t.Errorf("the connection is from %s, want %q", got, test.client)
					}
					begin := make([]byte, 5)
					if _, err := io.ReadFull(conn, begin); err != nil || !strings.HasSuffix(test.sends, string(begin)) && string(begin) != "PROXY" {
						t.Errorf("it goes on with %q, %v", begin, err)
					}
				default:
					if _, err := ours.Write([]byte("x")); test.client != "" || !errors.Is(err, io.ErrClosedPipe) {
						t.Errorf("not accepted, and open: %v", err)
					}
				}
				_ = listener.Close()
				_ = theirs.Close()
				_ = ours.Close()
			})
		})
	}
}

func TestASlowProxyHeaderHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner, listener := proxied()
		slow, slowEnd := net.Pipe()
		quick, quickEnd := net.Pipe()
		go func() {
			inner.conns <- from{slow, "10.0.0.1:1"}
			inner.conns <- from{quick, "10.0.0.2:1"}
		}()
		go func() { _, _ = io.WriteString(slowEnd, "PROX") }()
		go func() { _, _ = io.WriteString(quickEnd, "PROXY TCP4 192.0.2.2 198.51.100.1 4711 443\r\n") }()
		conn, err := listener.Accept()
		if err != nil || conn.RemoteAddr().String() != "192.0.2.2:4711" {
			t.Fatalf("%v, %v", conn, err)
		}
		begun := time.Now()
		if _, err := io.ReadAll(slowEnd); err != nil || time.Since(begun) > headerPatience {
			t.Errorf("the slow one ends after %v, %v", time.Since(begun), err)
		}
		_ = listener.Close()
		_, _ = conn.Close(), quickEnd.Close()
	})
}

func TestAListenerThatFailsForAWhileGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner, listener := proxied()
		broken := errors.New("too many open files")
		go func() { inner.fail <- broken }()
		if _, err := listener.Accept(); !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
		ours, theirs := net.Pipe()
		go func() { inner.conns <- from{ours, "10.0.0.1:1"} }()
		go func() { _, _ = io.WriteString(theirs, "PROXY UNKNOWN\r\n") }()
		if conn, err := listener.Accept(); err != nil || conn.RemoteAddr().String() != "10.0.0.1:1" {
			t.Errorf("%v, %v", conn, err)
		}
		waiting, waitingEnd := net.Pipe()
		go func() { inner.conns <- from{waiting, "10.0.0.1:2"} }()
		synctest.Wait()
		_ = listener.Close()
		if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		if _, err := io.ReadAll(waitingEnd); err != nil {
			t.Errorf("what was waiting: %v", err)
		}
		_, _ = ours.Close(), theirs.Close()
	})
}

// TestProxyProtocolOnASocket is the same on a real socket, with a deadline that ends
// with the header.
func TestProxyProtocolOnASocket(t *testing.T) {
	var config net.ListenConfig
	inner, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := ProxyProtocol(ProxyProtocolConfig{Listener: inner, Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, _ = io.WriteString(client, binaryHeader(0x21, 0x21, addresses("[2001:db8::7]:4711", "[::1]:443"))+"hello")
	conn, err := listener.Accept()
	if err != nil || conn.RemoteAddr().String() != "[2001:db8::7]:4711" {
		t.Fatalf("%v, %v", conn, err)
	}
	defer conn.Close()
	if begin := make([]byte, 5); true {
		if _, err := io.ReadFull(conn, begin); err != nil || string(begin) != "hello" {
			t.Errorf("%q, %v", begin, err)
		}
	}
}
