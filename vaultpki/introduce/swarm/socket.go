package swarm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// socketMode lets the owner connect, who is the engine's root, and nobody else.
const socketMode = 0o600

// socket is a listener that leaves no file behind.
type socket struct {
	*net.UnixListener
	path string
	made os.FileInfo
}

// Listen listens on a Unix socket at path, mode 0600 from its first moment. The
// folder is made if it is not there. A socket that a process left behind is
// replaced; one that is served, and a file that is no socket, are not. Closing
// removes the socket.
func Listen(ctx context.Context, path string) (net.Listener, error) {
	l, err := listen(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", path, err)
	}
	return l, nil
}

func listen(ctx context.Context, path string) (net.Listener, error) {
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o755); err != nil { //nolint:gosec // where engines look; the socket has its own mode
		return nil, err
	}
	if err := checkReplaceable(ctx, path); err != nil {
		return nil, err
	}
	// It is made where nobody can reach it, and moved when its mode is right.
	private, err := os.MkdirTemp(folder, ".sallyport-") // mode 0700
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private) //nolint:errcheck // empty by then, or of no use
	made := filepath.Join(private, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, err
	}
	s := &socket{UnixListener: l, path: path}
	s.SetUnlinkOnClose(false)
	err = os.Chmod(made, socketMode)
	if err == nil {
		s.made, err = os.Lstat(made)
	}
	if err == nil {
		err = os.Rename(made, path)
	}
	if err != nil {
		return nil, errors.Join(err, s.UnixListener.Close())
	}
	return s, nil
}

// checkReplaceable refuses what is not a socket that was left behind.
func checkReplaceable(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("there is a file that is no socket")
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil //nolint:nilerr // nobody listens: it was left behind
	}
	return errors.Join(errors.New("another process listens there"), conn.Close())
}

// Close stops listening and removes the socket, unless somebody has replaced it.
func (s *socket) Close() error {
	err := s.UnixListener.Close()
	if now, statErr := os.Lstat(s.path); statErr == nil && os.SameFile(now, s.made) {
		err = errors.Join(err, os.Remove(s.path))
	}
	return err
}
