package handover

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// firstDescriptor is SD_LISTEN_FDS_START of sd_listen_fds(3).
const firstDescriptor = 3

// maxDescriptors bounds how many sockets are taken: each has a name of its own, and
// we have few.
const maxDescriptors = 16

// Sockets are those that this process was started with, by their names
// (FileDescriptorName= of systemd.socket(5)). The nil value holds none. Safe for
// concurrent use.
type Sockets struct {
	mu    sync.Mutex // guards named
	named map[string]*os.File
}

// Inherited returns the sockets that the environment says this process was given
// (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES), each under one of the names in known:
// a socket that nobody would listen on is a fault, and so is one without a name, or
// two with the same. The variables are removed, so that no child takes them for its
// own. Call it once, before anything opens a file.
func Inherited(known ...string) (*Sockets, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, fmt.Errorf("removing %s from the environment: %w", name, err)
		}
	}
	if pid != strconv.Itoa(os.Getpid()) {
		return nil, nil // none, or meant for the process that has started this one
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxDescriptors {
		return nil, fmt.Errorf("taking over sockets: LISTEN_FDS is %.20q, expected a number up to %d", count, maxDescriptors)
	}
	given := strings.Split(names, ":")
	if n > 0 && len(given) != n {
		return nil, fmt.Errorf("taking over sockets: %d of them have the names %.200q, expected one for each", n, names)
	}
	return adopt(given[:n], known)
}

// adopt takes the descriptors that have the given names, in their order.
func adopt(given, known []string) (*Sockets, error) {
	s := &Sockets{named: make(map[string]*os.File, len(given))}
	var faults []error
	for i, name := range given {
		fd := firstDescriptor + i
		syscall.CloseOnExec(fd)
		file := os.NewFile(uintptr(fd), name)
		switch {
		case !slices.Contains(known, name):
			faults = append(faults, fmt.Errorf("taking over sockets: one is called %.60q, expected one of %q", name, known))
		case s.named[name] != nil:
			faults = append(faults, fmt.Errorf("taking over sockets: two are called %q", name))
		default:
			s.named[name] = file
			continue
		}
		_ = file.Close() // of no use to anybody
	}
	if len(faults) > 0 {
		s.Close()
		return nil, errors.Join(faults...)
	}
	return s, nil
}

// Has reports whether there is a socket of that name that nobody has taken yet.
func (s *Sockets) Has(name string) bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.named[name] != nil
}

// Names are those of the sockets that nobody has taken yet, in alphabetical order.
func (s *Sockets) Names() []string {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.named))
}

// Listener takes the socket of that name, or returns nil if there is none.
func (s *Sockets) Listener(name string) (*Listener, error) {
	file := s.take(name)
	if file == nil {
		return nil, nil
	}
	defer file.Close() // net holds a copy
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("taking over the socket %q: %w", name, err)
	}
	if _, ok := l.(*net.TCPListener); !ok {
		return nil, errors.Join(fmt.Errorf("taking over the socket %q: it is %s, expected one of TCP that listens", name, l.Addr().Network()), l.Close())
	}
	return &Listener{Listener: l, shared: true}, nil
}

// PacketConn takes the datagram socket of that name, or returns nil if there is none.
func (s *Sockets) PacketConn(name string) (net.PacketConn, error) {
	file := s.take(name)
	if file == nil {
		return nil, nil
	}
	defer file.Close() // net holds a copy
	conn, err := net.FilePacketConn(file)
	if err != nil {
		return nil, fmt.Errorf("taking over the socket %q: %w", name, err)
	}
	return conn, nil
}

// Close closes what nobody has taken: whoever holds the other end goes on with it.
func (s *Sockets) Close() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, file := range s.named {
		_ = file.Close() // nothing was done with it
	}
	clear(s.named)
}

func (s *Sockets) take(name string) *os.File {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	file := s.named[name]
	delete(s.named, name)
	return file
}
