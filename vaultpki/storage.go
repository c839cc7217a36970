package vaultpki

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

// memory is certmagic's Storage and Locker in this process's memory: private
// keys never reach a disk, and end with the process.
//
// Keys are paths with slashes. A key that is absent is [fs.ErrNotExist]. Values
// are copied on the way in and out. All methods are safe for concurrent use.
type memory struct {
	mu    sync.RWMutex           // guards files and locks
	files map[string]memoryFile  // by key
	locks map[string]chan unlock // by name; a channel of capacity one is the lock
}

type memoryFile struct {
	value    []byte
	modified time.Time
}

// unlock is the token that a lock's channel holds while the lock is held.
type unlock struct{}

func newMemory() *memory {
	return &memory{files: map[string]memoryFile{}, locks: map[string]chan unlock{}}
}

// Store puts a copy of value at key.
func (m *memory) Store(ctx context.Context, key string, value []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[key] = memoryFile{value: slices.Clone(value), modified: time.Now()}
	return nil
}

// Load returns a copy of the value at key.
func (m *memory) Load(ctx context.Context, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	file, found := m.files[key]
	if !found {
		return nil, absent(key)
	}
	return slices.Clone(file.value), nil
}

// Delete removes key and every key below it. Their values are overwritten:
// what was stored here is mostly private keys.
func (m *memory) Delete(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, file := range m.files {
		if isAtOrBelow(name, key) {
			clear(file.value)
			delete(m.files, name)
		}
	}
	return nil
}

// Exists says whether key is there, as a file or as a folder of one.
func (m *memory) Exists(ctx context.Context, key string) bool {
	_, err := m.Stat(ctx, key)
	return err == nil
}

// List returns the keys below path in order: all of them, or just the next
// level, on which folders count once.
func (m *memory) List(ctx context.Context, path string, recursive bool) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	prefix := strings.Trim(path, "/")
	if prefix != "" {
		prefix += "/"
	}
	var keys []string
	for name := range m.files {
		rest, below := strings.CutPrefix(name, prefix)
		if !below {
			continue
		}
		if first, _, isFolder := strings.Cut(rest, "/"); isFolder && !recursive {
			name = prefix + first
		}
		keys = append(keys, name)
	}
	if len(keys) == 0 {
		return nil, absent(path)
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

// Stat describes the file at key, or the folder that key is.
func (m *memory) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	if err := ctx.Err(); err != nil {
		return certmagic.KeyInfo{}, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if file, found := m.files[key]; found {
		return certmagic.KeyInfo{
			Key: key, Modified: file.modified, Size: int64(len(file.value)), IsTerminal: true,
		}, nil
	}
	for name := range m.files {
		if isAtOrBelow(name, key) {
			return certmagic.KeyInfo{Key: key}, nil
		}
	}
	return certmagic.KeyInfo{}, absent(key)
}

// Lock takes the lock called name, waiting for it as long as ctx lives.
func (m *memory) Lock(ctx context.Context, name string) error {
	select {
	case m.lock(name) <- unlock{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Unlock releases the lock called name, which must be held.
func (m *memory) Unlock(_ context.Context, name string) error {
	select {
	case <-m.lock(name):
		return nil
	default:
		return fmt.Errorf("unlocking %q: it is not locked", name)
	}
}

// lock returns the channel of a lock. There are as many as names of
// certificates, so they are kept.
func (m *memory) lock(name string) chan unlock {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[name] == nil {
		m.locks[name] = make(chan unlock, 1)
	}
	return m.locks[name]
}

func isAtOrBelow(name, key string) bool {
	return name == key || strings.HasPrefix(name, strings.TrimRight(key, "/")+"/")
}

func absent(key string) error {
	return fmt.Errorf("looking for %q in memory: %w", key, fs.ErrNotExist)
}
