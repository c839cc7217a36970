package sidecar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// askListeners asks the kernel at which addresses a TCP port is listened on in this network
// namespace (sock_diag(7)). It looks through listeners alone, and costs the same on a
// machine with a million connections, whose table in /proc takes tens of milliseconds to
// read. An error means that the kernel, or what stands between it and us, does not answer
// such questions.
func askListeners(port uint16) ([]netip.Addr, error) {
	socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("asking for sockets: %w", err)
	}
	defer unix.Close(socket) //nolint:errcheck // nothing was written that could be lost
	if err := unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return nil, fmt.Errorf("asking for sockets: %w", err)
	}
	var found []netip.Addr
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if err := unix.Sendto(socket, listenersQuestion(family, port), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return nil, fmt.Errorf("asking for sockets: %w", err)
		}
		if found, err = readListeners(socket, port, found); err != nil {
			return nil, fmt.Errorf("asking for sockets: %w", err)
		}
	}
	return found, nil
}

// What linux/sock_diag.h, linux/inet_diag.h and linux/tcp.h define, with sizes in bytes.
const (
	sockDiagByFamily = 20
	stateListen      = 10
	sizeOfQuestion   = 56 // struct inet_diag_req_v2
	sizeOfAnswer     = 72 // struct inet_diag_msg
)

// listenersQuestion is for the listeners of one family at a port.
func listenersQuestion(family uint8, port uint16) []byte {
	const size = unix.NLMSG_HDRLEN + sizeOfQuestion
	m := make([]byte, 0, size)
	m = binary.NativeEndian.AppendUint32(m, size)
	m = binary.NativeEndian.AppendUint16(m, sockDiagByFamily)
	m = binary.NativeEndian.AppendUint16(m, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	m = binary.NativeEndian.AppendUint32(m, 1) // sequence
	m = binary.NativeEndian.AppendUint32(m, 0) // to the kernel
	m = append(m, family, unix.IPPROTO_TCP, 0, 0)
	m = binary.NativeEndian.AppendUint32(m, 1<<stateListen)
	m = binary.BigEndian.AppendUint16(m, port)
	return m[:size] // whatever address and peer
}

// Why an answer is not believed.
var (
	errTruncated = errors.New("an answer of the kernel is cut off")
	errStranger  = errors.New("somebody else than the kernel has answered")
)

// isKernel says who has sent an answer: whoever administers the network may send, too.
func isKernel(sender unix.Sockaddr) bool {
	from, ok := sender.(*unix.SockaddrNetlink)
	return ok && from.Pid == 0
}

// readListeners appends the addresses of one question's answers to found.
func readListeners(socket int, port uint16, found []netip.Addr) ([]netip.Addr, error) {
	buf := make([]byte, 32<<10) // the kernel sends no more at once
	for {
		n, _, flags, sender, err := unix.Recvmsg(socket, buf, nil, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		case flags&unix.MSG_TRUNC != 0:
			return nil, errTruncated
		case !isKernel(sender):
			return nil, errStranger
		}
		var done bool
		if found, done, err = parseListeners(buf[:n], port, found); err != nil || done {
			return found, err
		}
	}
}

// parseListeners takes the messages of one datagram apart (netlink(7)).
func parseListeners(datagram []byte, port uint16, found []netip.Addr) (_ []netip.Addr, done bool, err error) {
	for len(datagram) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(datagram))
		if size < unix.NLMSG_HDRLEN || size > len(datagram) {
			return nil, false, errTruncated
		}
		body := datagram[unix.NLMSG_HDRLEN:size]
		switch kind := binary.NativeEndian.Uint16(datagram[4:]); kind {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			return found, true, failure(body)
		case sockDiagByFamily:
			if len(body) < sizeOfAnswer {
				return nil, false, errTruncated
			}
			if body[1] == stateListen && binary.BigEndian.Uint16(body[4:]) == port {
				found = append(found, addressOf(body[0], body[8:24]))
			}
		}
		datagram = datagram[min(len(datagram), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return found, false, nil
}

// failure is what the end of an answer says. A kernel that cannot answer, such as one without
// its module for TCP, says so there, and has listed nobody before.
func failure(end []byte) error {
	if len(end) < 4 {
		return errTruncated
	}
	if code := int32(binary.NativeEndian.Uint32(end)); code < 0 { //nolint:gosec // the kernel's own number
		return unix.Errno(-code)
	}
	return nil
}

// addressOf reads an address, in the order of the network, of either family.
func addressOf(family uint8, octets []byte) netip.Addr {
	if family == unix.AF_INET {
		octets = octets[:4]
	}
	address, _ := netip.AddrFromSlice(octets) // of 4 or 16
	return address
}
