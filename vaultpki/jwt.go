package vaultpki

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// maxJWTBytes bounds a token file: Vault refuses larger ones anyway.
const maxJWTBytes = 32 << 10

// ServiceAccountFile is where Kubernetes mounts a pod's own token.
const ServiceAccountFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// JWT logs in with a signed token that somebody else writes to a file and keeps
// fresh: the kubelet, a cloud's metadata agent, a CI system. The file is read
// again at each login.
type JWT struct {
	// Kubernetes says that the mount is of Vault's Kubernetes method, which asks
	// the cluster whether the token is good, and not of its JWT method, which
	// checks a signature. The call is the same; the defaults differ.
	Kubernetes bool
	// Mount is the mount of the method; default "kubernetes" or "jwt".
	Mount string
	// Role is the role of the method. Required for Kubernetes; for JWT the mount
	// may have a default.
	Role string
	// File holds the token; default ServiceAccountFile for Kubernetes, otherwise
	// required.
	File string
}

// Name implements [Method].
func (m JWT) Name() string {
	if m.Kubernetes {
		return "kubernetes"
	}
	return "jwt"
}

func (m JWT) check(Server) (Method, error) {
	if m.Mount == "" {
		m.Mount = m.Name()
	}
	if m.File == "" && m.Kubernetes {
		m.File = ServiceAccountFile
	}
	var faults []error
	if err := wire.CheckPath(m.Mount); err != nil {
		faults = append(faults, fmt.Errorf("auth mount: %w", err))
	}
	if (m.Kubernetes || m.Role != "") && wire.CheckName(m.Role) != nil {
		faults = append(faults, fmt.Errorf("role %q: expected the name of a %s role", m.Role, m.Name()))
	}
	if m.File == "" {
		faults = append(faults, errors.New("jwt file: none given"))
	}
	return m, errors.Join(faults...)
}

func (m JWT) open(d *desk) (*credential, error) {
	login := func(ctx context.Context) (grant, error) {
		token, err := readJWT(m.File)
		if err != nil {
			return grant{}, &Error{
				Reason: ReasonNoToken, Op: "reading the token", Where: m.File, Err: err,
				Hint: "mount the token that Vault's " + m.Name() + " method is to judge",
			}
		}
		body := map[string]string{"jwt": token}
		if m.Role != "" {
			body["role"] = m.Role
		}
		g, err := d.present(ctx, m.Mount, body, false)
		if refused := (*Error)(nil); m.Kubernetes && errors.As(err, &refused) && refused.Hint == hintRefused {
			refused.Hint = hintReview
		}
		return g, err
	}
	return &credential{login: login, file: m.File, again: true}, nil
}

// readJWT returns the token in the file: three parts of base64url, as RFC 7515
// has it. The file's content is never quoted.
func readJWT(path string) (string, error) {
	raw, err := readBoundedFile(path, maxJWTBytes)
	if err != nil {
		return "", err
	}
	return parseJWT(raw)
}

func parseJWT(raw []byte) (string, error) {
	token := strings.TrimSpace(string(raw))
	if parts := strings.Split(token, "."); len(parts) != 3 || parts[0] == "" || parts[1] == "" || strings.ContainsFunc(token, notOfToken) {
		return "", errors.New("expected a signed JSON web token: three parts of base64url, joined by dots")
	}
	return token, nil
}

// readBoundedFile reads a regular file of at most limit bytes. Opening a FIFO
// would block for ever.
func readBoundedFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("expected a regular file, found mode %s", info.Mode())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("expected at most %d bytes", limit)
	}
	return raw, nil
}
