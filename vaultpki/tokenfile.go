package vaultpki

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
)

// Bounds of a wrapping token, in bytes. Vault's are about 30 (legacy), 95
// (service tokens) or several hundred (JWT format).
const (
	minTokenBytes = 16
	maxTokenBytes = 1024
)

// readTokenFile returns the wrapping token in the file at path: at most one
// KiB, on one line, of a token's alphabet. The file's content is hostile and is
// never quoted.
func readTokenFile(path string, log *slog.Logger) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", errors.New("there is no such file: the introduction was not delivered")
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		// Opening a FIFO would block for ever.
		return "", fmt.Errorf("expected a regular file, found mode %s", info.Mode())
	}
	if info.Mode().Perm()&0o004 != 0 {
		log.Warn("wrapping token file is readable by everyone", "file", path, "mode", info.Mode().Perm().String())
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxTokenBytes+1))
	if err != nil {
		return "", fmt.Errorf("reading the file: %w", err)
	}
	return parseToken(raw)
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

// blankTokenFile empties the file, so that a spent token does not lie about and
// a restart can say that it was used. Secret mounts are usually read-only; that
// is not a fault.
func blankTokenFile(path string, log *slog.Logger) {
	if err := os.Truncate(path, 0); err != nil {
		log.Debug("wrapping token file stays as it is", "file", path, "error", err)
	}
}
