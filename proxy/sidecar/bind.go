package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
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
	listeners, err := listenersAt(uint16(port))
	if err != nil {
		return fmt.Errorf("looking for the application's sockets: %w", err)
	}
	for _, address := range listeners {
		if !address.Unmap().IsLoopback() {
			return &ExposedError{
				Found:    "it listens on " + net.JoinHostPort(address.String(), strconv.FormatUint(port, 10)),
				Expected: fmt.Sprintf("127.0.0.1:%d alone: look for its listen, bind or host setting", port),
			}
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
