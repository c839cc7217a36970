// Package provision says what Vault must hold for Sallyport, as values, and makes it so.
package provision

import (
	"context"
	"errors"
	"time"
)

// Spec is what the product needs from Vault, in plain values.
type Spec struct {
	KVMount, SAMLPath, SessionPath string
	EdgeMount, EdgeRole            string
	EdgeHosts                      []string
	BackendMount                   string
	ClientRole, ClientName         string
	Sidecars                       []Sidecar
	AuthMount                      string
	GatewayRole                    string
	GatewayConfigPath              string
	SPEntityID                     string
	IdPMetadata                    []byte
	TokenPeriod                    time.Duration
	CertTTL                        time.Duration
}

// Sidecar is one sidecar's place in Vault.
type Sidecar struct {
	Role       string // AppRole, "sallyport-sidecar-NAME"
	PKIRole    string // "sidecar-NAME"
	Name       string // the DNS name in its certificate
	ConfigPath string // KV path of its configuration, "sallyport/sidecar/NAME"
}

// Client talks to Vault with the operator's token.
type Client struct{}

// Config says where Vault is and who asks.
type Config struct {
	Address    string
	CAFile     string
	UnsafeHTTP bool
	Token      string
}

func NewClient(cfg Config) (*Client, error) { return nil, errors.New("not available in this build") }

// Desired is the whole wanted state of Vault.
type Desired struct{}

func New(spec Spec) (*Desired, error) { return nil, errors.New("not available in this build") }

// Change is one difference between Vault and what is desired.
type Change struct {
	Line string
}

// String returns the diff line.
func (c Change) String() string { return c.Line }

func Plan(ctx context.Context, client *Client, desired *Desired) ([]Change, error) {
	return nil, errors.New("not available in this build")
}

func Apply(ctx context.Context, client *Client, desired *Desired) ([]Change, error) {
	return nil, errors.New("not available in this build")
}
