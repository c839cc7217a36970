package vaultpki

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Board is a folder of a KV version 2 mount in which several processes write, each
// at its own name, what the others read. All methods are safe for concurrent use; none
// waits for a Vault that is away.
type Board struct {
	client      *Client
	mount, path string
}

// NewBoard returns the board at path in the mount. Vault is not asked.
func NewBoard(client *Client, mount, path string) (*Board, error) {
	if err := errors.Join(wire.CheckPath(mount), wire.CheckPath(path)); err != nil {
		return nil, &Error{Reason: ReasonConfig, Op: "using the board", Where: mount + "/" + path, Err: err}
	}
	return &Board{client, mount, path}, nil
}

// Put writes fields at a name, in place of what was there. The error is an [*Error].
func (b *Board) Put(ctx context.Context, name string, fields map[string]string) error {
	if err := wire.CheckName(name); err != nil {
		return &Error{Reason: ReasonConfig, Op: "writing to the board", Where: b.mount + "/" + b.path, Err: err}
	}
	if _, err := b.client.write(ctx, b.mount+"/data/"+b.path+"/"+name, map[string]any{"data": fields}); err != nil {
		e := Classify("writing to the board", b.mount+"/"+b.path+"/"+name, err)
		if wire.Status(err) == http.StatusForbidden {
			e.Hint = fmt.Sprintf("run `sallyport provision plan`: the policy has to allow path %q", b.mount+"/data/"+b.path+"/*")
		}
		return e
	}
	return nil
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
