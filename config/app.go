package config

import (
	"net"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// App is where the unmodified tool listens, always on this machine: on a port of a
// loopback address, or on a Unix socket. The zero value means that nothing was given.
type App struct {
	// Scheme is "http" for HTTP on a port, "tcp" for anything else on a port, and "unix"
	// for a socket, of which it is not said what is spoken there.
	Scheme string
	// Host is "localhost" or a loopback address, without brackets; empty for a socket.
	Host string
	// Port is between 1 and 65535; zero for a socket.
	Port int
	// Path is the socket's, absolute and clean; empty for a port.
	Path string
}

// appText is what an App may look like; what it means is looked at in UnmarshalText.
var appText = regexp.MustCompile(`^((http|tcp)://[^/?#@\s]+/?|unix:/[^?#%\s]*[^/?#%\s])$`)

// UnmarshalText accepts "http://HOST:PORT" and "tcp://HOST:PORT" with a loopback HOST,
// and "unix:/PATH".
func (a *App) UnmarshalText(text []byte) error {
	wrong := &mismatch{
		value:    string(text),
		expected: "http://127.0.0.1:port, tcp://127.0.0.1:port or unix:/path: on this machine alone, so that nobody reaches it past the sidecar",
	}
	if !appText.Match(text) {
		return wrong
	}
	if socket, ok := strings.CutPrefix(string(text), "unix:"); ok {
		if path.Clean(socket) != socket || len(socket) > maxSocketPath || !isPrintable(socket) {
			wrong.expected = "unix: and an absolute path of at most 107 bytes, without . and .. and double slashes"
			return wrong
		}
		*a = App{Scheme: schemeUnix, Path: socket}
		return nil
	}
	parsed, err := url.Parse(string(text))
	if err != nil || !isLoopback(parsed.Hostname()) {
		return wrong
	}
	port, err := 80, error(nil)
	if parsed.Scheme == schemeTCP || parsed.Host != parsed.Hostname() && !isBracketed(parsed.Host) {
		port, err = parsePort(parsed.Port())
	}
	if err != nil {
		return wrong
	}
	*a = App{Scheme: parsed.Scheme, Host: parsed.Hostname(), Port: port}
	return nil
}

// Schemes of an App.
const (
	schemeHTTP = "http"
	schemeTCP  = "tcp"
	schemeUnix = "unix"
)

// MarshalText returns the text of String.
func (a App) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// String returns the form that UnmarshalText reads, with the port always written out, or
// "" for the zero value.
func (a App) String() string {
	switch {
	case a == App{}:
		return ""
	case a.Path != "":
		return a.Scheme + ":" + a.Path
	}
	return a.Scheme + "://" + net.JoinHostPort(a.Host, strconv.Itoa(a.Port))
}

// URL returns the address as a new URL, which the caller owns.
func (a App) URL() *url.URL {
	if a.Path != "" {
		return &url.URL{Scheme: a.Scheme, Path: a.Path}
	}
	return &url.URL{Scheme: a.Scheme, Host: net.JoinHostPort(a.Host, strconv.Itoa(a.Port))}
}
