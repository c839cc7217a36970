package sidecar

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// netlinkMessage is one message of a datagram, with its padding.
func netlinkMessage(kind uint16, body ...byte) []byte {
	m := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	m = binary.NativeEndian.AppendUint16(m, kind)
	m = append(m, make([]byte, 10)...) // flags, sequence and receiver
	m = append(m, body...)
	return append(m, make([]byte, -len(m)&(unix.NLMSG_ALIGNTO-1))...)
}

// listenerMessage tells of a listener at 10.0.0.1.
func listenerMessage(port uint16) []byte {
	body := make([]byte, sizeOfAnswer)
	body[0], body[1] = unix.AF_INET, stateListen
	binary.BigEndian.PutUint16(body[4:], port)
	copy(body[8:], []byte{10, 0, 0, 1})
	return netlinkMessage(sockDiagByFamily, body...)
}

// code is a result as it stands at the end of an answer.
func code(errno unix.Errno) []byte {
	return binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno)))
}

// TestAnswerThatIsNoneIsNotBelieved: a kernel that cannot tell who listens does not say that
// nobody does.
func TestAnswerThatIsNoneIsNotBelieved(t *testing.T) {
	listener := listenerMessage(3000)
	for name, test := range map[string]struct {
		datagram []byte
		found    int
		done     bool
		err      error
	}{
		"a listener, and more to come": {listener, 1, false, nil},
		"a listener, and the end":      {append(slices.Clone(listener), netlinkMessage(unix.NLMSG_DONE, code(0)...)...), 1, true, nil},
		"a listener elsewhere":         {listenerMessage(3001), 0, false, nil},
		"nobody":                       {netlinkMessage(unix.NLMSG_DONE, code(0)...), 0, true, nil},
		"no module for TCP":            {netlinkMessage(unix.NLMSG_DONE, code(unix.ENOENT)...), 0, true, unix.ENOENT},
		"no memory half way":           {append(slices.Clone(listener), netlinkMessage(unix.NLMSG_DONE, code(unix.ENOMEM)...)...), 1, true, unix.ENOMEM},
		"not permitted":                {netlinkMessage(unix.NLMSG_ERROR, code(unix.EPERM)...), 0, true, unix.EPERM},
		"an end without a result":      {netlinkMessage(unix.NLMSG_DONE), 0, true, errTruncated},
		"an error without one":         {netlinkMessage(unix.NLMSG_ERROR, 1), 0, true, errTruncated},
		"a listener that is cut off":   {listener[:40], 0, false, errTruncated},
		"no room for a listener":       {netlinkMessage(sockDiagByFamily, 1, 2, 3, 4), 0, false, errTruncated},
	} {
		t.Run(name, func(t *testing.T) {
			found, done, err := parseListeners(test.datagram, 3000, nil)
			if !errors.Is(err, test.err) || err == nil && (len(found) != test.found || done != test.done) {
				t.Errorf("%v, %t, %v; want %d, %t, %v", found, done, err, test.found, test.done, test.err)
			}
		})
	}
}

// TestNobodyAnswersForTheKernel: whoever administers the network may send to a socket of
// that kind, and could hide who listens.
func TestNobodyAnswersForTheKernel(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	if err := unix.Sendto(pair[0], netlinkMessage(unix.NLMSG_DONE, code(0)...), 0, nil); err != nil {
		t.Fatal(err)
	}
	if found, err := readListeners(pair[1], 3000, nil); !errors.Is(err, errStranger) {
		t.Errorf("%v, %v", found, err)
	}
	for name, test := range map[string]struct {
		sender unix.Sockaddr
		want   bool
	}{
		"the kernel":      {&unix.SockaddrNetlink{Family: unix.AF_NETLINK}, true},
		"another process": {&unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: 1}, false},
		"nobody":          {nil, false},
	} {
		if got := isKernel(test.sender); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// onDevice has a listener answer what comes by one device alone.
func onDevice(_, _ string, raw syscall.RawConn) error {
	var bound error
	err := raw.Control(func(socket uintptr) { bound = unix.BindToDevice(int(socket), "lo") })
	return errors.Join(err, bound)
}

// TestEveryKindOfListenerIsSeen: by whatever protocol over TCP, and wherever it is bound.
func TestEveryKindOfListenerIsSeen(t *testing.T) {
	for name, test := range map[string]struct {
		network, address string
		multipath        bool
		control          func(string, string, syscall.RawConn) error
		want             string
	}{
		"multipath, IPv4":    {"tcp4", "0.0.0.0:0", true, nil, "0.0.0.0"},
		"multipath, IPv6":    {"tcp6", "[::]:0", true, nil, "::"},
		"one path, IPv4":     {"tcp4", "0.0.0.0:0", false, nil, "0.0.0.0"},
		"one path, mapped":   {"tcp", "[::]:0", false, nil, "::"},
		"of a device":        {"tcp4", "0.0.0.0:0", false, onDevice, "0.0.0.0"},
		"one path, loopback": {"tcp4", "127.0.0.9:0", false, nil, "127.0.0.9"},
	} {
		t.Run(name, func(t *testing.T) {
			config := net.ListenConfig{Control: test.control}
			config.SetMultipathTCP(test.multipath)
			listener, err := config.Listen(t.Context(), test.network, test.address)
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			got, err := askListeners(netip.MustParseAddrPort(listener.Addr().String()).Port())
			if err != nil || len(got) != 1 || got[0].String() != test.want {
				t.Errorf("%v, %v; want %s", got, err, test.want)
			}
		})
	}
}

func FuzzListenersAnswer(f *testing.F) {
	f.Add(append(listenerMessage(3000), netlinkMessage(unix.NLMSG_DONE, code(0)...)...), uint16(3000))
	f.Add(netlinkMessage(unix.NLMSG_ERROR, code(unix.EPERM)...), uint16(3000))
	f.Fuzz(func(t *testing.T, datagram []byte, port uint16) {
		got, _, err := parseListeners(datagram, port, nil)
		if err == nil && slices.ContainsFunc(got, func(a netip.Addr) bool { return !a.IsValid() }) {
			t.Errorf("%q in %x", got, datagram)
		}
	})
}
