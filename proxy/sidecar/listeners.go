package sidecar

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// listenersAt returns at which addresses a TCP port is listened on in this network
// namespace, by whatever container shares it. Where the kernel may not be asked (a seccomp
// filter, a systemd unit without AF_NETLINK, a kernel that is none), its tables are read.
func listenersAt(port uint16) ([]netip.Addr, error) {
	if found, err := askListeners(port); err == nil {
		return found, nil
	}
	return readTables(port)
}

// socketTables are where the kernel lists TCP sockets, those that listen and all others.
var socketTables = [...]string{"/proc/net/tcp", "/proc/net/tcp6"}

// mostTable bounds what is read of one: it grows with connections, not with listeners.
const mostTable = 64 << 20

// readTables looks for listeners of a port in the tables. A kernel without IPv6 has no
// table of it.
func readTables(port uint16) (found []netip.Addr, err error) {
	for _, path := range socketTables {
		file, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(path, "6") {
			continue
		}
		if err != nil {
			return nil, err
		}
		listeners, err := listenersOf(io.LimitReader(file, mostTable), port)
		file.Close()
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		found = append(found, listeners...)
	}
	return found, nil
}

// listenersOf reads a table and returns at which addresses a port is listened on. A line
// is, in hexadecimal, "0: 0100007F:0BB8 00000000:0000 0A …": number, local address, remote
// address, state (proc_pid_net(5)).
func listenersOf(table io.Reader, port uint16) ([]netip.Addr, error) {
	const listening = "0A"
	var found []netip.Addr
	lines := bufio.NewScanner(table)
	lines.Scan() // the headings
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[3] != listening {
			continue
		}
		address, at, err := parseSocket(fields[1])
		if err != nil {
			return nil, err
		}
		if at == port {
			found = append(found, address)
		}
	}
	return found, lines.Err()
}

// parseSocket reads an address and a port: the address in words of 32 bits, each in the
// order of this machine.
func parseSocket(text string) (address netip.Addr, port uint16, err error) {
	host, at, _ := strings.Cut(text, ":")
	octets, err := hex.DecodeString(host)
	if err != nil || len(octets) != 4 && len(octets) != 16 {
		return netip.Addr{}, 0, fmt.Errorf("no address of a socket: %q", text)
	}
	for i := 0; i < len(octets); i += 4 {
		word := binary.BigEndian.Uint32(octets[i:])
		binary.NativeEndian.PutUint32(octets[i:], word)
	}
	number, err := strconv.ParseUint(at, 16, 16)
	if err != nil {
		return netip.Addr{}, 0, fmt.Errorf("no port of a socket: %q", text)
	}
	address, _ = netip.AddrFromSlice(octets)
	return address, uint16(number), nil
}
