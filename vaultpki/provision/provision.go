// Package provision says what Vault must hold for Sallyport, as values, and
// makes it so: [New] turns a [Spec] into a [Desired] state, [Plan] compares that
// with a Vault, [Apply] makes the differences go away. A second Apply finds
// nothing to do.
//
// Least privilege is built in: each process gets a policy for its own secrets
// and its own PKI role and nothing else; each PKI role signs just the names of
// its process, for one usage. What exists and is looser than desired is
// repaired; what is stricter is not loosened by [Apply], only by
// [ApplyLoosening]; what Sallyport does not know of is left alone. Keys are
// generated only where there are none, and never overwritten.
//
// Keys and authorities are replaced by a [Rotation], in steps that overlap, so
// that at no time anybody meets a key or an authority that he does not know yet.
// How far one is follows from what is in Vault, and from nothing else.
//
// It is not a way to install Vault, and apart from what a rotation retires it
// does not delete. Its inputs come from an operator with a powerful token;
// Vault's answers are bounded by the client. Outputs are readable lines without
// secrets. Specification: Vault's HTTP API for mounts, policies, AppRole, PKI,
// KV version 2, transit and audit devices.
package provision

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Config says where Vault is and who asks. It must not be modified after
// NewClient.
type Config struct {
	vaultpki.Server
	Token string // the operator's Vault token
}

// Client is an operator's access to Vault. It is safe for concurrent use and
// shows its token in no format.
type Client struct {
	wire  *wire.Client
	token string
}

// NewClient checks cfg and reads the CA file; it connects to nothing. The error
// is a [*vaultpki.Error] with ReasonConfig.
func NewClient(cfg Config) (*Client, error) {
	caller, err := cfg.Dial()
	if err == nil && cfg.Token == "" {
		err = errors.New("token: none given")
	}
	if err != nil {
		return nil, &vaultpki.Error{Reason: vaultpki.ReasonConfig, Op: "configuring the Vault client", Err: err}
	}
	return &Client{wire: caller, token: cfg.Token}, nil
}

// Format implements [fmt.Formatter]: no verb shows the token.
func (c *Client) Format(f fmt.State, _ rune) { fmt.Fprint(f, "provision.Client[redacted]") }

// RoleID returns the RoleID of an AppRole: what its process is configured with.
func (c *Client) RoleID(ctx context.Context, authMount, role string) (string, error) {
	path := "auth/" + authMount + "/role/" + role + "/role-id"
	secret, err := c.read(ctx, path)
	if err != nil {
		return "", err
	}
	if secret == nil {
		return "", fmt.Errorf("reading %s: there is no such AppRole", path)
	}
	id, _ := secret.Data["role_id"].(string)
	if id == "" {
		return "", fmt.Errorf("reading %s: vault's answer holds no role_id", path)
	}
	return id, nil
}

// read returns what is at path, nil if nothing is.
func (c *Client) read(ctx context.Context, path string) (*api.Secret, error) {
	return c.get(ctx, wire.Call{Method: http.MethodGet, Path: path})
}

// now is Vault's clock: what it dated is not compared with another's. Wrapping
// nothing, for a second, is a call whose answer says the time.
func (c *Client) now(ctx context.Context) (time.Time, error) {
	secret, err := c.call(ctx, wire.Call{
		Method: http.MethodPut, Path: "sys/wrapping/wrap", Body: map[string]string{"purpose": "time"}, WrapTTL: time.Second,
	})
	if err == nil && (secret == nil || secret.WrapInfo == nil || secret.WrapInfo.CreationTime.IsZero()) {
		err = errors.New("asking for the time: vault's answer does not say it")
	}
	if err != nil {
		return time.Time{}, err
	}
	return secret.WrapInfo.CreationTime, nil
}

// list returns what is known of the keys below path by key, nothing if there are
// none.
func (c *Client) list(ctx context.Context, path string) (map[string]map[string]any, error) {
	secret, err := c.get(ctx, wire.Call{Method: http.MethodGet, Path: path, Query: map[string]string{"list": "true"}})
	if err != nil || secret == nil {
		return nil, err
	}
	keys, _ := secret.Data["keys"].([]any)
	infos, _ := secret.Data["key_info"].(map[string]any)
	found := map[string]map[string]any{}
	for _, key := range keys {
		if name, _ := key.(string); name != "" {
			info, _ := infos[name].(map[string]any)
			found[name] = info
		}
	}
	return found, nil
}

func (c *Client) get(ctx context.Context, call wire.Call) (*api.Secret, error) {
	call.Token, call.Limit = c.token, wire.DataBytes
	secret, err := c.wire.Do(ctx, call)
	var status *wire.StatusError
	if errors.As(err, &status) && status.Status == http.StatusNotFound {
		if status.Data != nil && len(status.Data.Data) > 0 {
			return status.Data, nil // metadata of what was deleted
		}
		return nil, nil
	}
	if err != nil {
		return nil, vaultpki.Classify("reading", call.Path, err)
	}
	return secret, nil
}

// write puts body to path. No error shows one of secrets.
func (c *Client) write(ctx context.Context, path string, body any, secrets ...string) error {
	_, err := c.call(ctx, wire.Call{Method: http.MethodPut, Path: path, Body: body, Secrets: secrets})
	return err
}

// remove deletes what is at path.
func (c *Client) remove(ctx context.Context, path string) error {
	_, err := c.call(ctx, wire.Call{Method: http.MethodDelete, Path: path})
	return err
}

// ask puts body to path for the answer, which must not be empty.
func (c *Client) ask(ctx context.Context, path string, body any) (*api.Secret, error) {
	secret, err := c.call(ctx, wire.Call{Method: http.MethodPut, Path: path, Body: body})
	if err == nil && (secret == nil || secret.Data == nil) {
		err = fmt.Errorf("writing %s: vault's answer is empty", path)
	}
	return secret, err
}

func (c *Client) call(ctx context.Context, call wire.Call) (*api.Secret, error) {
	call.Token, call.Limit = c.token, wire.DataBytes
	secret, err := c.wire.Do(ctx, call)
	if err != nil {
		return nil, vaultpki.Classify("writing", call.Path, err)
	}
	return secret, nil
}

// pause waits so long before a call is made again.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Change is one difference between Vault and the desired state.
type Change struct {
	// Create is true if the object is absent, false if it differs.
	Create bool
	// Object names it: "policy sallyport-gateway".
	Object string
	// Details says what differs, or what a new object is like. No secrets.
	Details []string
	// Loosens are those of Details that widen what somebody may do, or how long.
	Loosens []string

	apply func(ctx context.Context, client *Client) error
}

// String returns the line of a diff: "+ policy sallyport-gateway" for what is
// made, "~ approle sallyport-gateway: token_ttl 2h0m0s -> 1h0m0s" for what
// changes, and with "!" for what loosens, each such detail marked.
func (c Change) String() string {
	sign := "~ "
	switch {
	case c.Create:
		sign = "+ "
	case len(c.Loosens) > 0:
		sign = "! "
	}
	if len(c.Details) == 0 {
		return sign + c.Object
	}
	details := slices.Clone(c.Details)
	for i, detail := range details {
		if slices.Contains(c.Loosens, detail) {
			details[i] += " (loosens)"
		}
	}
	return sign + c.Object + ": " + strings.Join(details, ", ")
}

// object is one thing that Vault must hold.
type object interface {
	// plan compares the object with Vault and returns what must change, nil if
	// nothing must. Whatever the object stands on may not exist yet.
	plan(ctx context.Context, client *Client) (*Change, error)
}

// Desired is the whole wanted state. It is immutable; [New] makes it.
type Desired struct {
	objects []object // in the order in which they can be made
}

// Plan returns the differences between Vault and desired, in the order in which
// Apply would remove them. It changes nothing. The error is a [*vaultpki.Error],
// or says which existing object is in the way.
func Plan(ctx context.Context, client *Client, desired *Desired) ([]Change, error) {
	var changes []Change
	for _, o := range desired.objects {
		change, err := o.plan(ctx, client)
		if err != nil {
			return nil, err
		}
		if change != nil {
			changes = append(changes, *change)
		}
	}
	return changes, nil
}

// Apply removes the differences between Vault and desired and returns those it
// removed, also if it then fails. Applied again, it has nothing to do. If a
// difference loosens, none is removed: the error is a [*LooseningError].
func Apply(ctx context.Context, client *Client, desired *Desired) ([]Change, error) {
	return apply(ctx, client, desired, false)
}

// ApplyLoosening is [Apply] for who has read what it loosens.
func ApplyLoosening(ctx context.Context, client *Client, desired *Desired) ([]Change, error) {
	return apply(ctx, client, desired, true)
}

func apply(ctx context.Context, client *Client, desired *Desired, loosening bool) ([]Change, error) {
	// The whole plan is made first: an object in the way is found before
	// anything is changed.
	changes, err := Plan(ctx, client, desired)
	if err != nil {
		return nil, err
	}
	if loose := Loosening(changes); len(loose) > 0 && !loosening {
		return nil, &LooseningError{Changes: loose}
	}
	for i, change := range changes {
		if err := change.apply(ctx, client); err != nil {
			return changes[:i], fmt.Errorf("applying %q: %w", change, err)
		}
	}
	return changes, nil
}

// year is the unit of the authorities' lives.
const year = 365 * 24 * time.Hour
