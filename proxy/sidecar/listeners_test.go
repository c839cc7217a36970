package sidecar

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestKernelAndTablesAgree: both ways of looking find the same, of listeners and of what
// is connected to them.
func TestKernelAndTablesAgree(t *testing.T) {
	for _, hosts := range [][]string{{"127.0.0.1"}, {"0.0.0.0"}, {"::"}, {"::1"}, {"127.0.0.1", "127.0.0.2", "::1"}} {
		want, port := listenOnAll(t, hosts)
		client, err := net.Dial("tcp", net.JoinHostPort(strings.NewReplacer("0.0.0.0", "127.0.0.1").Replace(want[0].String()), strconv.Itoa(int(port))))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for name, look := range map[string]func(uint16) ([]netip.Addr, error){"kernel": askListeners, "tables": readTables} {
			got, err := look(port)
			slices.SortFunc(got, netip.Addr.Compare)
			slices.SortFunc(want, netip.Addr.Compare)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %v, %v; want %v", name, got, err, want)
			}
		}
	}
}

// listenOnAll listens at several addresses on one port.
func listenOnAll(t *testing.T, hosts []string) (at []netip.Addr, port uint16) {
	t.Helper()
	for { // until a port is free at all of them
		port = 0
		var listeners []net.Listener
		for _, host := range hosts {
			address := netip.AddrPortFrom(netip.MustParseAddr(host), port)
			network := "tcp4"
			if address.Addr().Is6() {
				network = "tcp6"
			}
			listener, err := net.Listen(network, address.String())
			if errors.Is(err, syscall.EADDRINUSE) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = listener.Close() })
			listeners, port = append(listeners, listener), netip.MustParseAddrPort(listener.Addr().String()).Port()
		}
		if len(listeners) < len(hosts) {
			continue
		}
		for _, host := range hosts {
			at = append(at, netip.MustParseAddr(host))
		}
		return at, port
	}
}

func TestPortWithoutListenersHasNone(t *testing.T) {
	listener := listenOn(t, "tcp", "127.0.0.1:0")
	port := netip.MustParseAddrPort(listener.Addr().String()).Port()
	listener.Close()
	for name, look := range map[string]func(uint16) ([]netip.Addr, error){"kernel": askListeners, "tables": readTables} {
		if got, err := look(port); err != nil || len(got) != 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// TestSocketTablesAreRead: whoever is connected from or to the port elsewhere does
// not listen there.
func TestSocketTablesAreRead(t *testing.T) {
	const heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	for name, test := range map[string]struct {
		lines string
		want  []string
		fault string
	}{
		"listeners of the port": {
			"   0: 0100007F:0BB8 00000000:0000 0A 0:0 0:0 0 0 0\n   1: 00000000:0BB8 00000000:0000 0A 0:0\n   2: 00000000:0BB9 00000000:0000 0A 0:0\n",
			[]string{"127.0.0.1", "0.0.0.0"}, "",
		},
		"connections are none": {"   0: 0200000A:0BB8 0300000A:D431 01 0:0\n   1: 0200000A:0BB8 0300000A:D431 06 0:0\n", nil, ""},
		"IPv6": {
			"   0: 00000000000000000000000001000000:0BB8 00000000000000000000000000000000:0000 0A\n   1: 0000000000000000FFFF00000100007F:0BB8 00000000000000000000000000000000:0000 0A\n   2: B80D0120000000000000000001000000:0BB8 00000000000000000000000000000000:0000 0A\n",
			[]string{"::1", "::ffff:127.0.0.1", "2001:db8::1"}, "",
		},
		"nothing":             {"", nil, ""},
		"no address":          {"   0: 0100007:0BB8 00000000:0000 0A\n", nil, "no address"},
		"no port":             {"   0: 0100007F:XXXX 00000000:0000 0A\n", nil, "no port"},
		"a line that is none": {"x\n\n   0: 0100007F\n", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := listenersOf(strings.NewReader(heading+test.lines), 3000)
			var texts []string
			for _, address := range got {
				texts = append(texts, address.String())
			}
			if !slices.Equal(texts, test.want) || (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
				t.Errorf("%q, %v; want %q, %q", texts, err, test.want, test.fault)
			}
		})
	}
}

func FuzzSocketTable(f *testing.F) {
	f.Add("h\n   0: 0100007F:0BB8 00000000:0000 0A\n", uint16(3000))
	f.Fuzz(func(t *testing.T, table string, port uint16) {
		got, err := listenersOf(strings.NewReader(table), port)
		if err != nil {
			return
		}
		if slices.ContainsFunc(got, func(a netip.Addr) bool { return !a.IsValid() }) {
			t.Errorf("%q in %q", got, table)
		}
	})
}

// BenchmarkListeners is what a look costs: with the tables it grows with the connections
// of the machine.
func BenchmarkListeners(b *testing.B) {
	for name, look := range map[string]func(uint16) ([]netip.Addr, error){"kernel": askListeners, "tables": readTables} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := look(3000); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
