package confine

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
)

// ErrMissing says that the kernel cannot do what is required of it.
var ErrMissing = errors.New("the kernel cannot confine this process as required")

// Config is what a process keeps. The zero value keeps nothing: no file can be opened any
// more, and no TCP connection made.
type Config struct {
	// Required makes it an error if the kernel cannot do all of it.
	Required bool
	// Read are files, and folders with all that is below them, that can be read. One
	// that does not exist is left out, and stays out if it is made later.
	Read []string
	// Write are those that can be read and written; in folders, files and folders are
	// made, renamed and removed.
	Write []string
	// Bind are TCP ports that can be listened on. 0 is any that the kernel chooses.
	Bind []uint16
	// Connect are TCP ports, of whatever host, that can be connected to.
	Connect []uint16
	// Signals lets signals be sent to processes that this one has not started itself.
	Signals bool
}

// State is what a process is confined by.
type State struct {
	// ABI is the version of Landlock that the kernel has, 0 for none.
	ABI int
	// Missing names what was asked for and cannot be done; empty if nothing.
	Missing []string
}

// Check says whether the kernel can do all that [Apply] asks for, by an [ErrMissing] if not. It
// changes nothing.
func Check() error { return found().check() }

func (s State) check() error {
	if len(s.Missing) == 0 {
		return nil
	}
	return fmt.Errorf("%w: it does not confine %s (Landlock ABI %d, expected %d)", ErrMissing, strings.Join(s.Missing, ", "), s.ABI, abiScopes)
}

// normal is the configuration with clean absolute paths, each path and port once, and in order.
func (c Config) normal() (Config, error) {
	for _, path := range slices.Concat(c.Read, c.Write) {
		if !filepath.IsAbs(path) {
			return Config{}, fmt.Errorf("path %q: expected an absolute one", path)
		}
	}
	c.Read, c.Write = paths(c.Read), paths(c.Write)
	c.Read = slices.DeleteFunc(c.Read, func(path string) bool { return slices.Contains(c.Write, path) })
	c.Bind, c.Connect = ports(c.Bind), ports(c.Connect)
	return c, nil
}

func paths(given []string) []string {
	clean := make([]string, 0, len(given))
	for _, path := range given {
		clean = append(clean, filepath.Clean(path))
	}
	slices.Sort(clean)
	return slices.Compact(clean)
}

func ports(given []uint16) []uint16 {
	sorted := slices.Sorted(slices.Values(given))
	return slices.Compact(sorted)
}

// Covers says what of next this configuration does not allow, empty if it allows all: a
// process that is confined by c can then become what next is for. It compares what was
// listed, and looks at no file.
func (c Config) Covers(next Config) (lacking []string) {
	for _, path := range next.Read {
		if !below(path, c.Read) && !below(path, c.Write) {
			lacking = append(lacking, "reading "+path)
		}
	}
	for _, path := range next.Write {
		if !below(path, c.Write) {
			lacking = append(lacking, "writing "+path)
		}
	}
	for _, port := range next.Bind {
		if !slices.Contains(c.Bind, port) {
			lacking = append(lacking, fmt.Sprintf("listening on port %d", port))
		}
	}
	for _, port := range next.Connect {
		if !slices.Contains(c.Connect, port) {
			lacking = append(lacking, fmt.Sprintf("connecting to port %d", port))
		}
	}
	return lacking
}

// below says whether path is one of the others, or in one of them.
func below(path string, others []string) bool {
	for at := filepath.Clean(path); ; at = filepath.Dir(at) {
		if slices.Contains(others, at) {
			return true
		}
		if at == filepath.Dir(at) {
			return false
		}
	}
}

// LogValue implements slog.LogValuer: what may be touched, for the log of a start.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.Any("read", c.Read), slog.Any("write", c.Write), slog.Any("bind", c.Bind), slog.Any("connect", c.Connect))
}

// What the versions of Landlock know of what is asked for.
const (
	abiFiles    = 1
	abiTruncate = 3
	abiPorts    = 4
	abiDevices  = 5
	abiScopes   = 6
)

// missing names what a kernel with this version of Landlock does not confine.
func missing(abi int) (names []string) {
	for _, known := range []struct {
		since int
		name  string
	}{
		{abiFiles, "opening files"}, {abiTruncate, "truncating files"}, {abiPorts, "TCP ports"},
		{abiDevices, "commands to devices"}, {abiScopes, "abstract sockets and signals"},
	} {
		if abi < known.since {
			names = append(names, known.name)
		}
	}
	return names
}
