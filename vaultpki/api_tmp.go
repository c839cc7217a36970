package vaultpki

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"time"
)

var errUnfinished = errors.New("not available in this build")

type Client struct{ expiry time.Time }

func Login(ctx context.Context, cfg Config) (*Client, error) { return nil, errUnfinished }
func (c *Client) Run(ctx context.Context) error              { return errUnfinished }
func (c *Client) TokenExpiry() time.Time                     { return c.expiry }
func (c *Client) ReadKV(ctx context.Context, mount, path string) (KV, error) {
	return KV{}, errUnfinished
}

type KV struct {
	Mount, Path string
	Version     int
	data        map[string]string
}

func (kv KV) Field(name string) (string, error)   { return "", errUnfinished }
func (kv KV) Optional(name string) (string, bool) { return "", false }

type Usage int

const (
	ServerUsage Usage = iota + 1
	ClientUsage
)

type CertificatesConfig struct {
	Client  *Client
	Mount   string
	Role    string
	Names   []string
	TTL     time.Duration
	Usage   Usage
	OnRenew func(name string)
	Log     *slog.Logger
}
type Certificates struct{}
type CertificateStatus struct {
	Name, Serial        string
	NotBefore, NotAfter time.Time
}

func NewCertificates(ctx context.Context, cfg CertificatesConfig) (*Certificates, error) {
	return nil, errUnfinished
}
func (c *Certificates) Run(ctx context.Context) error         { return errUnfinished }
func (c *Certificates) Close()                                {}
func (c *Certificates) Status() []CertificateStatus           { return nil }
func (c *Certificates) EdgeTLS() *tls.Config                  { return nil }
func (c *Certificates) GuardTLS(allowed []string) *tls.Config { return nil }
func (c *Certificates) DialTLS(serverName string) *tls.Config { return nil }
func PeerName(cs tls.ConnectionState) (string, error)         { return "", errUnfinished }
