package loopback

import (
	"context"
	"net"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"
)

func TestLocalhostIsThisMachineWhateverAResolverSays(t *testing.T) {
	for name, test := range map[string]struct {
		listens, network, connects string
	}{
		"on 127.0.0.1":       {"127.0.0.1:0", "tcp", "127.0.0.1"},
		"on ::1 alone":       {"[::1]:0", "tcp", "::1"},
		"and by its address": {"127.0.0.1:0", "tcp4", "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			listener, port := listen(t, test.listens, test.connects == "::1")
			defer listener.Close()
			conn, err := Dialer{Timeout: time.Minute}.DialContext(unasked(t), test.network, net.JoinHostPort(Name, port))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if host, _, _ := net.SplitHostPort(conn.RemoteAddr().String()); host != test.connects {
				t.Errorf("connected to %s", conn.RemoteAddr())
			}
		})
	}
}

// listen listens on a port at which, if it is to be alone, nobody listens on 127.0.0.1.
func listen(t *testing.T, address string, alone bool) (_ net.Listener, port string) {
	t.Helper()
	for {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ = net.SplitHostPort(listener.Addr().String())
		if !alone {
			return listener, port
		}
		if other, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:"+port); err == nil {
			other.Close()
			return listener, port
		}
		listener.Close() // somebody else's
	}
}

func TestNobodyListensOnLocalhost(t *testing.T) {
	_, err := Dialer{Timeout: time.Minute}.DialContext(unasked(t), "tcp", "localhost:1")
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") || !strings.Contains(err.Error(), "[::1]:1") {
		t.Errorf("error %v", err)
	}
}

// unasked is a context in which no resolver may be asked.
func unasked(t *testing.T) context.Context {
	t.Helper()
	return httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		DNSStart: func(asked httptrace.DNSStartInfo) { t.Errorf("a resolver is asked for %s", asked.Host) },
	})
}
