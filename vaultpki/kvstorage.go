package vaultpki

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Locks in Vault. A holder that dies leaves its lock to the others after
// lockLife, which is longer than anything is done under one.
const (
	lockLife  = 5 * time.Minute
	lockPause = time.Second // between two looks at a lock that is held, before jitter
)

// kvStorage is certmagic's Storage and Locker in a KV version 2 mount, for what
// several processes share: ACME accounts, certificates and their keys, and
// challenges under way. Nothing of it reaches a disk of this host.
//
// Keys are paths with slashes; a key that is absent is [fs.ErrNotExist]. A value
// is one secret, of which Vault keeps the latest version only: replaced keys are
// gone. Locks are secrets that change by check-and-set. All methods are safe for
// concurrent use, by any number of processes whose clocks differ by less than
// lockLife.
type kvStorage struct {
	client      *Client
	mount, path string

	mu    sync.Mutex     // guards locks
	locks map[string]int // by name, the version that this process wrote to take the lock
}

func newKVStorage(client *Client, mount, path string) *kvStorage {
	return &kvStorage{client: client, mount: mount, path: path, locks: map[string]int{}}
}

// at returns the API's path of a key; kind is "data" or "metadata".
func (s *kvStorage) at(kind, key string) string {
	path := s.mount + "/" + kind + "/" + s.path
	for segment := range strings.SplitSeq(strings.Trim(key, "/"), "/") {
		if segment != "" {
			path += "/" + escapeSegment(segment)
		}
	}
	return path
}

// escapeSegment writes one segment of a key as a segment of a Vault path, so
// that unescapeSegment gives it back. Keys hold addresses of people and of
// servers, and dots in any number.
func escapeSegment(segment string) string {
	var b strings.Builder
	for i := range len(segment) {
		c := segment[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		case c == '.' && i > 0 && segment[i-1] != '.':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02x", c)
		}
	}
	return b.String()
}

// unescapeSegment reads a segment that escapeSegment wrote. There is one way to
// write each: another would be a second name of the same key, and a slash within
// would be a folder inside itself.
func unescapeSegment(escaped string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		if escaped[i] != '=' {
			b.WriteByte(escaped[i])
			continue
		}
		if i+2 >= len(escaped) {
			return "", fmt.Errorf("reading %q: it ends within an escape", escaped)
		}
		c, err := strconv.ParseUint(escaped[i+1:i+3], 16, 8)
		if err != nil {
			return "", fmt.Errorf("reading %q: %w", escaped, err)
		}
		b.WriteByte(byte(c))
		i += 2
	}
	segment := b.String()
	if segment == "" || strings.Contains(segment, "/") || escapeSegment(segment) != escaped {
		return "", fmt.Errorf("reading %q: expected the name of a key as this program writes it", escaped)
	}
	return segment, nil
}

// call does one call, with the secrets of its body kept out of errors.
func (s *kvStorage) call(ctx context.Context, method, path string, body any, secrets ...string) (*api.Secret, error) {
	secret, err := s.client.do(ctx, wire.Call{Method: method, Path: path, Body: body, Secrets: secrets, Limit: wire.DataBytes})
	if wire.Status(err) == http.StatusNotFound {
		return secret, fmt.Errorf("looking for %q: %w: %w", path, fs.ErrNotExist, err)
	}
	if err != nil {
		return nil, Classify("using the storage at", path, err)
	}
	return secret, nil
}

// Store puts value at key. Vault is told first to keep no older version.
func (s *kvStorage) Store(ctx context.Context, key string, value []byte) error {
	if _, err := s.call(ctx, http.MethodPut, s.at("metadata", key), map[string]any{"max_versions": 1}); err != nil {
		return err
	}
	text := base64.StdEncoding.EncodeToString(value)
	body := map[string]any{"data": map[string]any{"value": text}}
	_, err := s.call(ctx, http.MethodPut, s.at("data", key), body, text)
	return err
}

// Load returns the value at key.
func (s *kvStorage) Load(ctx context.Context, key string) ([]byte, error) {
	value, _, err := s.load(ctx, key)
	return value, err
}

func (s *kvStorage) load(ctx context.Context, key string) (value []byte, modified time.Time, err error) {
	secret, err := s.call(ctx, http.MethodGet, s.at("data", key), nil)
	if err != nil {
		return nil, time.Time{}, err
	}
	kv := KV{Mount: s.mount, Path: s.path + "/" + key}
	if err := kv.fill(secret); err != nil {
		return nil, time.Time{}, err
	}
	text, _ := kv.data["value"].(string)
	if value, err = base64.StdEncoding.DecodeString(text); err != nil {
		return nil, time.Time{}, fmt.Errorf("reading %q: its value is not base64", key)
	}
	metadata, _ := secret.Data["metadata"].(map[string]any)
	created, _ := metadata["created_time"].(string)
	modified, err = time.Parse(time.RFC3339Nano, created)
	return value, modified, err
}

// Delete removes key and every key below it, with all versions.
func (s *kvStorage) Delete(ctx context.Context, key string) error {
	keys, err := s.List(ctx, key, true)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, each := range append(keys, key) {
		if _, err := s.call(ctx, http.MethodDelete, s.at("metadata", each), nil); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Exists says whether key is there, as a file or as a folder of one.
func (s *kvStorage) Exists(ctx context.Context, key string) bool {
	_, err := s.Stat(ctx, key)
	return err == nil
}

// List returns the keys below path in order: all of them, or just the next
// level, on which folders count once.
func (s *kvStorage) List(ctx context.Context, path string, recursive bool) ([]string, error) {
	secret, err := s.call(ctx, "LIST", s.at("metadata", path), nil)
	if err != nil {
		return nil, err
	}
	var keys []string
	if secret != nil {
		names, _ := secret.Data["keys"].([]any)
		if keys, err = s.below(ctx, strings.Trim(path, "/"), names, recursive); err != nil {
			return nil, err
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

// below turns the names that Vault lists at path into keys.
func (s *kvStorage) below(ctx context.Context, path string, names []any, recursive bool) ([]string, error) {
	var keys []string
	for _, item := range names {
		text, _ := item.(string)
		escaped, isFolder := strings.CutSuffix(text, "/")
		name, err := unescapeSegment(escaped)
		if err != nil {
			return nil, err
		}
		key := strings.TrimPrefix(path+"/"+name, "/")
		if !isFolder || !recursive {
			keys = append(keys, key)
			continue
		}
		inside, err := s.List(ctx, key, true)
		if err != nil {
			return nil, err
		}
		keys = append(keys, inside...)
	}
	return keys, nil
}

// Stat describes the file at key, or the folder that key is.
func (s *kvStorage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	value, modified, err := s.load(ctx, key)
	if err == nil {
		return certmagic.KeyInfo{Key: key, Modified: modified, Size: int64(len(value)), IsTerminal: true}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return certmagic.KeyInfo{}, err
	}
	if _, err := s.List(ctx, key, false); err != nil {
		return certmagic.KeyInfo{}, err
	}
	return certmagic.KeyInfo{Key: key}, nil
}

// lockState is what a lock's secret says.
type lockState struct {
	version int       // 0 if there is none
	owner   string    // "" if nobody holds it
	until   time.Time // by the holder's clock, and at most lockLife after it was taken by Vault's
}

// Lock takes the lock called name, waiting for it as long as ctx lives.
func (s *kvStorage) Lock(ctx context.Context, name string) error {
	owner := rand.Text()
	for {
		state, err := s.lockState(ctx, name)
		if err != nil {
			return err
		}
		if state.owner == "" || time.Now().After(state.until) {
			version, err := s.writeLock(ctx, name, lockState{state.version, owner, time.Now().Add(lockLife)})
			if err == nil {
				s.mu.Lock()
				s.locks[name] = version
				s.mu.Unlock()
				return nil
			}
			if !errors.Is(err, errChanged) {
				return err
			}
		}
		if !sleep(ctx, jittered(lockPause)) {
			return ctx.Err()
		}
	}
}

// Unlock releases the lock called name, which this process must hold. Should
// another have taken it over since, that is an error, and it keeps it.
func (s *kvStorage) Unlock(ctx context.Context, name string) error {
	s.mu.Lock()
	version, held := s.locks[name]
	delete(s.locks, name)
	s.mu.Unlock()
	if !held {
		return fmt.Errorf("unlocking %q: it is not locked", name)
	}
	// A lock is released though what was done under it was cancelled.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptBound)
	defer cancel()
	_, err := s.writeLock(ctx, name, lockState{version: version})
	return err
}

// errChanged is a secret that another process has written meanwhile.
var errChanged = errors.New("it was changed by another process")

// writeLock replaces the version of the lock that state names, and returns the
// new one.
func (s *kvStorage) writeLock(ctx context.Context, name string, state lockState) (int, error) {
	body := map[string]any{
		"options": map[string]any{"cas": state.version},
		"data":    map[string]any{"owner": state.owner, "until": state.until.UTC().Format(time.RFC3339)},
	}
	secret, err := s.call(ctx, http.MethodPut, s.at("data", "locks/"+name), body)
	if wire.Status(err) == http.StatusBadRequest && strings.Contains(err.Error(), "check-and-set") {
		return 0, fmt.Errorf("writing the lock %q: %w", name, errChanged)
	}
	if err != nil {
		return 0, err
	}
	if secret == nil {
		return 0, fmt.Errorf("writing the lock %q: vault's answer is empty", name)
	}
	version, ok := intOf(secret.Data["version"])
	if !ok {
		return 0, fmt.Errorf("writing the lock %q: vault's answer has no version", name)
	}
	return version, nil
}

// lockState reads a lock. What cannot be read as one is held by nobody: it must
// not stop everybody for ever.
func (s *kvStorage) lockState(ctx context.Context, name string) (lockState, error) {
	secret, err := s.call(ctx, http.MethodGet, s.at("data", "locks/"+name), nil)
	var status *wire.StatusError
	switch {
	case err == nil:
	case errors.As(err, &status) && errors.Is(err, fs.ErrNotExist):
		secret = status.Data // the version of one that was deleted, if any
	default:
		return lockState{}, err
	}
	return lockOf(secret), nil
}

// lockOf reads what Vault has of a lock, which may be nothing.
func lockOf(secret *api.Secret) lockState {
	var state lockState
	if secret == nil {
		return state
	}
	metadata, _ := secret.Data["metadata"].(map[string]any)
	state.version, _ = intOf(metadata["version"])
	data, _ := secret.Data["data"].(map[string]any)
	state.owner, _ = data["owner"].(string)
	until, _ := data["until"].(string)
	created, _ := metadata["created_time"].(string)
	taken, untaken := time.Parse(time.RFC3339Nano, created)
	var endless error
	if state.until, endless = time.Parse(time.RFC3339, until); untaken != nil || endless != nil {
		state.owner = ""
		return state
	}
	// Nobody may take one for longer, whatever he says.
	if most := taken.Add(lockLife); state.until.After(most) {
		state.until = most
	}
	return state
}
