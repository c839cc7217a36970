package secrets

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
)

// mounts know which paths are of version 2 of the KV engine, in whose paths the API has a
// segment that people leave out. It is safe for concurrent use.
type mounts struct {
	vault Vault

	mu    sync.Mutex // guards known
	known []mount
}

// mount is one secrets engine.
type mount struct {
	path string // with a slash at its end
	kv2  bool
}

// of returns the mount in which a path is.
func (m *mounts) of(ctx context.Context, p string) (mount, error) {
	m.mu.Lock()
	for _, known := range m.known {
		if strings.HasPrefix(p+"/", known.path) {
			m.mu.Unlock()
			return known, nil
		}
	}
	m.mu.Unlock()
	answer, err := m.vault.Do(ctx, Call{Method: http.MethodGet, Path: "sys/internal/ui/mounts/" + p})
	if err != nil {
		return mount{}, err
	}
	if answer == nil {
		answer = &Answer{}
	}
	found := mount{}
	found.path, _ = answer.Data["path"].(string)
	options, _ := answer.Data["options"].(map[string]any)
	found.kv2 = answer.Data["type"] == "kv" && options["version"] == "2"
	// In a namespace the mount is told with it, and the path is without.
	for found.path != "" && !strings.HasPrefix(p+"/", found.path) {
		_, found.path, _ = strings.Cut(found.path, "/")
	}
	if found.path == "" { // every path would be in it, from now on
		return mount{}, &CallError{Kind: Refused, Err: fmt.Errorf("vault does not say what is mounted at %q", p)}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known = append(m.known, found)
	return found, nil
}

// actual is the path of the API for a question, and whether it is one of KV version 2.
func (m *mounts) actual(ctx context.Context, q question) (string, bool, error) {
	if strings.HasPrefix(q.path, "sys/") || strings.HasPrefix(q.path, "auth/") || q.form == formCert {
		return q.path, false, nil
	}
	found, err := m.of(ctx, q.path)
	if err != nil || !found.kv2 {
		return q.path, false, err
	}
	segment := "data"
	if q.form == formList {
		segment = "metadata"
	}
	below := strings.TrimPrefix(q.path+"/", found.path)
	for _, given := range []string{"data/", "metadata/", "subkeys/"} {
		if strings.HasPrefix(below, given) && q.form != formList || strings.HasPrefix(below, "metadata/") {
			return q.path, true, nil
		}
	}
	return path.Join(found.path, segment, below), true, nil
}
