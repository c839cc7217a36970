package listen

import (
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

const (
	// maxLine is the longest header of version 1, its end included.
	maxLine = 107
	// signature begins a header of version 2.
	signature = "\r\n\r\n\x00\r\nQUIT\n"
	// maxAddresses is how long the rest of one of version 2 may be: addresses, and
	// what else a balancer tells, which is not read.
	maxAddresses = 2048
)

var (
	errNoHeader  = errors.New("the connection does not begin with one")
	errMalformed = errors.New("it is malformed")
	errFamily    = errors.New("it is of a connection that is not TCP")
)

// readProxyHeader reads the header, and not one byte more, from r. It returns the
// client's address, or the zero value where the proxy speaks for itself.
func readProxyHeader(r io.Reader) (netip.AddrPort, error) {
	// Both versions are at least as long as this: the shortest of version 1 is
	// "PROXY UNKNOWN\r\n".
	begin := make([]byte, len("PROXY UNKNOWN\r\n"), maxLine)
	if _, err := io.ReadFull(r, begin); err != nil {
		return netip.AddrPort{}, err
	}
	switch {
	case string(begin[:len(signature)]) == signature:
		return readBinary(r, begin)
	case strings.HasPrefix(string(begin), "PROXY "):
		return readLine(r, begin)
	}
	return netip.AddrPort{}, errNoHeader
}

// readLine goes on with a header of version 1, byte by byte: what follows is not ours.
func readLine(r io.Reader, line []byte) (netip.AddrPort, error) {
	for !strings.HasSuffix(string(line), "\r\n") {
		if len(line) == maxLine {
			return netip.AddrPort{}, errMalformed
		}
		line = line[:len(line)+1]
		if _, err := io.ReadFull(r, line[len(line)-1:]); err != nil {
			return netip.AddrPort{}, err
		}
	}
	return parseLine(strings.TrimSuffix(string(line), "\r\n"))
}

// parseLine reads "PROXY TCP4 SOURCE DESTINATION PORT PORT" or "PROXY UNKNOWN…".
func parseLine(line string) (netip.AddrPort, error) {
	words := strings.Split(line, " ")
	if words[1] == "UNKNOWN" {
		return netip.AddrPort{}, nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return netip.AddrPort{}, errMalformed
	}
	source, err := parseAddress(words[2], words[4], words[1] == "TCP4")
	if err != nil {
		return netip.AddrPort{}, err
	}
	if _, err := parseAddress(words[3], words[5], words[1] == "TCP4"); err != nil {
		return netip.AddrPort{}, err
	}
	return source, nil
}

func parseAddress(address, port string, v4 bool) (netip.AddrPort, error) {
	addr, err := netip.ParseAddr(address)
	if err != nil || addr.Is4() != v4 || addr.Zone() != "" {
		return netip.AddrPort{}, errMalformed
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(number, 10) != port {
		return netip.AddrPort{}, errMalformed
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(number)), nil
}

// readBinary goes on with a header of version 2.
func readBinary(r io.Reader, begin []byte) (netip.AddrPort, error) {
	header := append(begin, 0)
	if _, err := io.ReadFull(r, header[len(begin):]); err != nil {
		return netip.AddrPort{}, err
	}
	version, family, length := header[12], header[13], int(binary.BigEndian.Uint16(header[14:]))
	if version>>4 != 2 || length > maxAddresses {
		return netip.AddrPort{}, errMalformed
	}
	rest := make([]byte, length)
	if _, err := io.ReadFull(r, rest); err != nil {
		return netip.AddrPort{}, err
	}
	switch version & 0xf {
	case 0: // LOCAL: the proxy's own, as in a health check
		return netip.AddrPort{}, nil
	case 1: // PROXY
		return parseBinary(family, rest)
	}
	return netip.AddrPort{}, errMalformed
}

// parseBinary reads the source of the addresses of version 2, and steps over what
// else may follow them.
func parseBinary(family byte, rest []byte) (netip.AddrPort, error) {
	var size int
	switch family {
	case 0x11: // TCP over IPv4
		size = 4
	case 0x21: // TCP over IPv6
		size = 16
	default:
		return netip.AddrPort{}, errFamily
	}
	if len(rest) < 2*size+4 {
		return netip.AddrPort{}, errMalformed
	}
	addr, _ := netip.AddrFromSlice(rest[:size]) // of a right length
	return netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(rest[2*size:])), nil
}
