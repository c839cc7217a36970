package vaultpki

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Board is a folder of a KV version 2 mount in which several processes write, each
// at its own name, what the others read. All methods are safe for concurrent use; none
// waits for a Vault that is away.
type Board struct {
	client      *Client
	mount, path string

	mu    sync.Mutex
	wrote map[string]wrote // by name, guarded by mu
}

// wrote is what this Board has written at a name, as far as it knows.
type wrote struct {
	version int
	since   []map[string]string // attempts that may have come to Vault or not, the last maxUnsure
}

// maxUnsure is how many attempts are remembered.
const maxUnsure = 32

// NewBoard returns the board at path in the mount. Vault is not asked.
func NewBoard(client *Client, mount, path string) (*Board, error) {
	if err := errors.Join(wire.CheckPath(mount), wire.CheckPath(path)); err != nil {
		return nil, &Error{Reason: ReasonConfig, Op: "using the board", Where: mount + "/" + path, Err: err}
	}
	return &Board{client: client, mount: mount, path: path, wrote: map[string]wrote{}}, nil
}

// Put writes fields at a name, in place of what this Board wrote there before, or of
// nothing. What somebody else has written there meanwhile is replaced as well, and taken
// is true: names are not shared. Calls for one name must not be concurrent. The error is
// an [*Error].
func (b *Board) Put(ctx context.Context, name string, fields map[string]string) (taken bool, err error) {
	if err := wire.CheckName(name); err != nil {
		return false, &Error{Reason: ReasonConfig, Op: "writing to the board", Where: b.mount + "/" + b.path, Err: err}
	}
	b.mu.Lock()
	before := b.wrote[name]
	before.since = append(before.since[max(0, len(before.since)-maxUnsure):], maps.Clone(fields))
	b.wrote[name] = before
	b.mu.Unlock()
	version, err := b.put(ctx, name, fields, before.version)
	if isStale(err) {
		version, taken, err = b.again(ctx, name, fields, before)
	}
	if err != nil {
		e := Classify("writing to the board", b.mount+"/"+b.path+"/"+name, err)
		if wire.Status(err) == http.StatusForbidden {
			e.Hint = fmt.Sprintf("run `sallyport provision plan`: the policy has to allow path %q", b.mount+"/data/"+b.path+"/*")
		}
		return taken, e
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wrote[name] = wrote{version: version}
	return taken, nil
}

// put writes if the latest version at a name is the one that is expected, and returns the
// one that it has made. Vault compares the two (check-and-set).
func (b *Board) put(ctx context.Context, name string, fields map[string]string, expected int) (version int, err error) {
	body := map[string]any{"data": fields, "options": map[string]int{"cas": expected}}
	secret, err := b.client.write(ctx, b.mount+"/data/"+b.path+"/"+name, body)
	if err != nil || secret == nil {
		return expected, err
	}
	version, _ = intOf(secret.Data["version"])
	return version, nil
}

// isStale reports whether Vault has refused to write because there is another version
// than was expected.
func isStale(err error) bool {
	return wire.Status(err) == http.StatusBadRequest && strings.Contains(err.Error(), "check-and-set")
}

// again writes where there is not what was expected: this attempt, or the one before,
// whose answer was lost; or what somebody else has written.
func (b *Board) again(ctx context.Context, name string, fields map[string]string, before wrote) (version int, taken bool, err error) {
	kv, err := b.Get(ctx, name)
	if err != nil {
		return 0, false, err
	}
	if kv.has(fields) {
		return kv.Version, false, nil
	}
	version, err = b.put(ctx, name, fields, kv.Version)
	return version, !slices.ContainsFunc(before.since, kv.has), err
}

// has reports whether the fields are these and no others.
func (kv *KV) has(fields map[string]string) bool {
	if len(kv.data) != len(fields) {
		return false
	}
	for field, value := range fields {
		if kv.data[field] != value {
			return false
		}
	}
	return true
}

// Names returns the names at which something was written, sorted. The error is an
// [*Error].
func (b *Board) Names(ctx context.Context) ([]string, error) {
	secret, err := b.client.do(ctx, wire.Call{Method: "LIST", Path: b.mount + "/metadata/" + b.path, Limit: wire.DataBytes})
	switch {
	case wire.Status(err) == http.StatusNotFound:
		return nil, nil
	case err != nil:
		e := Classify("listing the board", b.mount+"/"+b.path, err)
		if wire.Status(err) == http.StatusForbidden {
			e.Hint = fmt.Sprintf("run `sallyport provision plan`: the policy has to allow path %q", b.mount+"/metadata/"+b.path+"/*")
		}
		return nil, e
	case secret == nil:
		return nil, nil
	}
	keys, _ := secret.Data["keys"].([]any)
	var names []string
	for _, key := range keys {
		if name, ok := key.(string); ok && wire.CheckName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Get returns what is at a name. The error is an [*Error]: with ReasonMissingSecret if
// there is nothing.
func (b *Board) Get(ctx context.Context, name string) (KV, error) {
	if err := wire.CheckName(name); err != nil {
		return KV{}, &Error{Reason: ReasonConfig, Op: "reading the board", Where: b.mount + "/" + b.path, Err: err}
	}
	return b.client.PeekKV(ctx, b.mount, b.path+"/"+name)
}

// Versions returns all that Vault keeps of what was written at a name, the oldest first:
// ten versions unless the mount says otherwise. The error is an [*Error].
func (b *Board) Versions(ctx context.Context, name string) ([]KV, error) {
	latest, err := b.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	all := []KV{latest}
	for version := latest.Version - 1; version > 0 && len(all) < maxVersions; version-- {
		kv, err := b.version(ctx, name, version)
		if ReasonOf(err) == ReasonMissingSecret {
			break // Vault does not keep it any more
		}
		if err != nil {
			return nil, err
		}
		all = append(all, kv)
	}
	slices.Reverse(all)
	return all, nil
}

// maxVersions is how many versions at a name are read at most.
const maxVersions = 100

func (b *Board) version(ctx context.Context, name string, version int) (KV, error) {
	kv := KV{Mount: b.mount, Path: b.path + "/" + name}
	return b.client.readKV(kv, func(path string) (*api.Secret, error) {
		return b.client.do(ctx, wire.Call{Method: http.MethodGet, Path: path, Query: map[string]string{"version": strconv.Itoa(version)}, Limit: wire.DataBytes})
	})
}

// Remove removes all that was written at a name, with its history. The error is an
// [*Error].
func (b *Board) Remove(ctx context.Context, name string) error {
	if err := wire.CheckName(name); err != nil {
		return &Error{Reason: ReasonConfig, Op: "removing from the board", Where: b.mount + "/" + b.path, Err: err}
	}
	at := b.mount + "/metadata/" + b.path + "/" + name
	if _, err := b.client.do(ctx, wire.Call{Method: http.MethodDelete, Path: at}); err != nil {
		e := Classify("removing from the board", b.mount+"/"+b.path+"/"+name, err)
		if wire.Status(err) == http.StatusForbidden {
			e.Hint = fmt.Sprintf("use a token that may delete %q: no policy of `sallyport provision` may", b.mount+"/metadata/"+b.path+"/*")
		}
		return e
	}
	return nil
}
