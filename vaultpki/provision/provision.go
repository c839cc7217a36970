// Package provision says what Vault must hold for Sallyport, as values, and
// makes it so: [New] turns a [Spec] into a [Desired] state, [Plan] compares that
// with a Vault, [Apply] makes the differences go away. A second Apply finds
// nothing to do.
//
// Least privilege is built in: each process gets a policy for its own secrets
// and its own PKI role and nothing else; each PKI role signs just the names of
// its process, for one usage. What exists and is looser than desired is
// repaired; what Sallyport does not know of is left alone. Keys are generated
// only where there are none, and never overwritten.
//
// It is not a way to install Vault, and it does not delete. Its inputs come from
// an operator with a powerful token; Vault's answers are bounded by the client.
// Outputs are readable lines without secrets. Specification: Vault's HTTP API
// for mounts, policies, AppRole, PKI and KV version 2.
package provision

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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

// list returns the keys below path, nil if there are none.
func (c *Client) list(ctx context.Context, path string) ([]any, error) {
	secret, err := c.get(ctx, wire.Call{Method: http.MethodGet, Path: path, Query: map[string]string{"list": "true"}})
	if err != nil || secret == nil {
		return nil, err
	}
	keys, _ := secret.Data["keys"].([]any)
	return keys, nil
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
	_, err := c.wire.Do(ctx, wire.Call{
		Method: http.MethodPut, Path: path, Token: c.token, Body: body, Secrets: secrets, Limit: wire.DataBytes,
	})
	if err != nil {
		return vaultpki.Classify("writing", path, err)
	}
	return nil
}

// Change is one difference between Vault and the desired state.
type Change struct {
	// Create is true if the object is absent, false if it differs.
	Create bool
	// Object names it: "policy sallyport-gateway".
	Object string
	// Details says what differs, or what a new object is like. No secrets.
	Details []string

	apply func(ctx context.Context, client *Client) error
}

// String returns the line of a diff: "+ policy sallyport-gateway", "~ approle
// sallyport-gateway: token_period 0s -> 24h0m0s".
func (c Change) String() string {
	sign := "~ "
	if c.Create {
		sign = "+ "
	}
	if len(c.Details) == 0 {
		return sign + c.Object
	}
	return sign + c.Object + ": " + strings.Join(c.Details, ", ")
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
// removed, also if it then fails. Applied again, it has nothing to do.
func Apply(ctx context.Context, client *Client, desired *Desired) ([]Change, error) {
	// The whole plan is made first: an object in the way is found before
	// anything is changed.
	changes, err := Plan(ctx, client, desired)
	if err != nil {
		return nil, err
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
