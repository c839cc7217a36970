package vaultpki

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"syscall"
)

// Bounds of a wrapping token, in bytes. Vault's are about 30 (legacy), 95
// (service tokens) or several hundred (JWT format).
const (
	minTokenBytes = 16
	maxTokenBytes = 1024
)

// tokenFile is a file with one token that is kept open, so that what is emptied
// later is what was read, and not what bears its name by then.
type tokenFile struct {
	file  *os.File
	path  string
	token string
}

// openTokenFile reads the token in the file at path: at most one KiB, on one
// line, of a token's alphabet. The file's content is hostile and is never quoted.
// The path may be a link: Kubernetes mounts secrets so.
func openTokenFile(path string, log *slog.Logger) (*tokenFile, error) {
	t, err := openToken(path, os.O_RDWR, log) // to empty it later
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EISDIR) {
		t, err = openToken(path, os.O_RDONLY, log) // secret mounts usually allow no more
	}
	return t, err
}

func openToken(path string, flag int, log *slog.Logger) (*tokenFile, error) {
	f, err := os.OpenFile(path, flag|syscall.O_NONBLOCK, 0) // else opening a FIFO would block for ever
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("there is no such file: the introduction was not delivered")
	case err != nil:
		return nil, err
	}
	token, err := tokenIn(f, log)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &tokenFile{file: f, path: path, token: token}, nil
}

// tokenIn reads the token in an open file.
func tokenIn(f *os.File, log *slog.Logger) (string, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("expected a regular file, found mode %s", info.Mode())
	}
	if info.Mode().Perm()&0o004 != 0 {
		log.Warn("wrapping token file is readable by everyone", "file", f.Name(), "mode", info.Mode().Perm().String())
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxTokenBytes+1))
	if err != nil {
		return "", fmt.Errorf("reading the file: %w", err)
	}
	return parseToken(raw)
}

// blank empties the file, so that a spent token does not lie about and a restart
// can say that it was used. That a file cannot be written is no fault. It may be
// called on nil, which is no file.
func (t *tokenFile) blank(log *slog.Logger) {
	if t == nil {
		return
	}
	if err := t.file.Truncate(0); err != nil {
		log.Debug("wrapping token file stays as it is", "file", t.path, "error", err)
	}
}

// close lets the file go. It may be called on nil.
func (t *tokenFile) close() {
	if t != nil {
		t.file.Close()
	}
}

// readTokenFile returns the token in a file that somebody else looks after.
func readTokenFile(path string, log *slog.Logger) (string, error) {
	t, err := openToken(path, os.O_RDONLY, log)
	if err != nil {
		return "", err
	}
	defer t.close()
	return t.token, nil
}

// parseToken takes one token, optionally followed by one line end.
func parseToken(raw []byte) (string, error) {
	if len(raw) > maxTokenBytes {
		return "", fmt.Errorf("expected at most %d bytes", maxTokenBytes)
	}
	token := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	switch {
	case strings.TrimSpace(token) == "":
		return "", errors.New("the file is empty: an earlier start of this process may have used the token")
	case strings.ContainsAny(token, "\r\n"):
		return "", errors.New("expected one line")
	case strings.ContainsFunc(token, notOfToken):
		return "", errors.New("expected a token of letters, digits, '.', '-' and '_'")
	case len(token) < minTokenBytes:
		return "", fmt.Errorf("expected at least %d characters, found %d", minTokenBytes, len(token))
	}
	return token, nil
}

func notOfToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') &&
		r != '.' && r != '-' && r != '_'
}
