package sidecar

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// ExposedError says that the application listens where others reach it past the sidecar.
type ExposedError struct {
	// Found is where, in words.
	Found string
	// Expected is what to change.
	Expected string
}

// Error names both.
func (e *ExposedError) Error() string {
	return fmt.Sprintf("the application can be reached past the sidecar: %s, expected %s", e.Found, e.Expected)
}

// socketTables are where the kernel lists the TCP sockets of this network namespace:
// those of every container that shares it, too.
var socketTables = [...]string{"/proc/net/tcp", "/proc/net/tcp6"}

// mostTable bounds what is read of one: it grows with connections, not with listeners.
const mostTable = 64 << 20

// CheckBind looks whether the application, at http://HOST:PORT, tcp://HOST:PORT or
// unix:/PATH, can be reached by anybody else than this machine's sidecar at this moment:
// whether its port is listened on at an address that is not loopback, or whether its
// socket is open to every user. That nothing listens there is no error: it may not have
// been started yet. The error is an [*ExposedError], or says why it cannot be told.
//
// Elsewhere than on Linux there is nothing to look at, and it is nil.
func CheckBind(app *url.URL) error {
	if runtime.GOOS != "linux" {
		return nil
	}
	if app != nil && app.Scheme == "unix" {
		return checkSocket(app.Path)
	}
	if app == nil {
		return errors.New("looking for the application's sockets: it has no address")
	}
	port, err := strconv.ParseUint(portOf(app), 10, 16)
	if err != nil {
		return fmt.Errorf("looking for the application's sockets: %w", err)
	}
	for _, table := range socketTables {
		if err := checkTable(table, uint16(port)); err != nil {
			return err
		}
	}
	return nil
}

func portOf(app *url.URL) string {
	if port := app.Port(); port != "" {
		return port
	}
	return "80"
}

// checkTable looks for listeners of a port in one table. A kernel without the protocol
// has none.
func checkTable(path string, port uint16) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && strings.HasSuffix(path, "6") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("looking for the application's sockets: %w", err)
	}
	defer file.Close()
	listeners, err := listenersOf(io.LimitReader(file, mostTable), port)
	if err != nil {
		return fmt.Errorf("looking for the application's sockets in %s: %w", path, err)
	}
	for _, address := range listeners {
		if !address.Unmap().IsLoopback() {
			return &ExposedError{
				Found:    "it listens on " + net.JoinHostPort(address.String(), strconv.Itoa(int(port))),
				Expected: fmt.Sprintf("127.0.0.1:%d alone: look for its listen, bind or host setting", port),
			}
		}
	}
	return nil
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

// Permissions of everybody else.
const (
	othersWrite  = 0o002
	othersSearch = 0o001
)

// checkSocket looks whether every user of this machine may connect to a Unix socket, which
// takes the right to write to it and to search its folder, or may put another in its
// place.
func checkSocket(path string) error {
	folder, err := os.Stat(filepath.Dir(path)) //nolint:gosec // the operator's path
	if errors.Is(err, fs.ErrNotExist) {
		return nil // not started yet
	}
	if err != nil {
		return fmt.Errorf("looking at the folder of the application's socket: %w", err)
	}
	if folder.Mode().Perm()&othersWrite != 0 {
		return &ExposedError{
			Found:    fmt.Sprintf("everybody may write to %s (mode %04o), and put another socket in the place of its own", filepath.Dir(path), folder.Mode().Perm()),
			Expected: "a folder of its own with mode 0750",
		}
	}
	socket, err := os.Lstat(path) //nolint:gosec // the same
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("looking at the application's socket: %w", err)
	case socket.Mode().Type() != fs.ModeSocket:
		return &ExposedError{Found: path + " is no socket", Expected: "the application's own"}
	case socket.Mode().Perm()&othersWrite != 0 && folder.Mode().Perm()&othersSearch != 0:
		return &ExposedError{
			Found:    fmt.Sprintf("everybody may connect to %s (mode %04o)", path, socket.Mode().Perm()),
			Expected: "mode 0660, or a folder with mode 0750",
		}
	}
	return nil
}

// How often WatchBind looks: the application may be started, or begin to listen, at any
// time, and most do at their start.
const (
	bindSoon  = time.Second
	bindOften = 15 // so often in a row
	bindLater = 10 * time.Second
)

// WatchBind looks again and again, until ctx ends, whether the application can be reached
// past the sidecar, and returns the [*ExposedError] if so; else nil. app returns its
// address, nil while nobody wants to know. That it cannot be told is shown to unknown,
// each time.
func WatchBind(ctx context.Context, app func() *url.URL, unknown func(error)) error {
	timer := time.NewTimer(bindSoon)
	defer timer.Stop()
	for looks := 0; ; looks++ {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if at := app(); at != nil {
			err := CheckBind(at)
			var exposed *ExposedError
			if errors.As(err, &exposed) {
				return err
			}
			if err != nil {
				unknown(err)
			}
		}
		if looks < bindOften {
			timer.Reset(bindSoon)
		} else {
			timer.Reset(bindLater)
		}
	}
}
