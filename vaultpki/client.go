package vaultpki

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Client is a process that is logged in to Vault. [Login] makes it; [Client.Run]
// keeps its token alive. All methods are safe for concurrent use. It holds the
// token in memory and shows it in no format.
type Client struct {
	wire     *wire.Client
	patience patience
	log      *slog.Logger
	// renew asks for another life of a token, once.
	renew func(ctx context.Context, g grant) (grant, error)

	mu    sync.Mutex // guards grant
	grant grant      // what Vault last granted
}

// grant is a token and its life.
type grant struct {
	token     string
	ttl       time.Duration // as granted, which may be less than asked for
	expires   time.Time     // counted from before the call: never too late
	renewable bool
}

// newClient returns a Client that holds g.
func newClient(caller *wire.Client, cfg Config, g grant) *Client {
	c := &Client{
		wire: caller, log: cfg.Log, grant: g,
		patience: patience{wait: cfg.Wait, log: cfg.Log},
	}
	c.renew = c.renewSelf
	return c
}

// WithToken returns a Client that uses a token of somebody else's: an operator's,
// or a deployer's. It is neither renewed nor looked up; Run must not be called,
// and Close ends the Client. The error is an [*Error] with ReasonConfig.
func WithToken(server Server, token string) (*Client, error) {
	caller, err := server.Dial()
	if token == "" {
		err = errors.Join(err, errors.New("token: none given"))
	}
	if err != nil {
		return nil, &Error{Reason: ReasonConfig, Op: "configuring the Vault client", Err: err}
	}
	return newClient(caller, Config{Log: slog.New(slog.DiscardHandler)}, grant{token: token}), nil
}

// Close closes idle connections to Vault. Run does so by itself.
func (c *Client) Close() { c.wire.CloseIdle() }

// TokenExpiry returns when the current token ends unless it is renewed.
func (c *Client) TokenExpiry() time.Time { return c.current().expires }

// Format implements [fmt.Formatter]: no verb shows the token.
func (c *Client) Format(f fmt.State, _ rune) { fmt.Fprint(f, "vaultpki.Client[redacted]") }

// LogValue implements [slog.LogValuer] and shows the expiry only.
func (c *Client) LogValue() slog.Value {
	return slog.GroupValue(slog.Time("token_expiry", c.TokenExpiry()))
}

// current returns the grant in use, as one value: token and expiry fit together.
func (c *Client) current() grant {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.grant
}

// adopt puts a new grant in use.
func (c *Client) adopt(g grant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.grant = g
}

// read does one GET with the current token, repeated while Vault is away.
func (c *Client) read(ctx context.Context, what, path string) (*api.Secret, error) {
	var secret *api.Secret
	err := c.patience.do(ctx, what, func(ctx context.Context) (err error) {
		secret, err = c.readOnce(ctx, path)
		return err
	})
	return secret, err
}

// readOnce does one GET with the current token.
func (c *Client) readOnce(ctx context.Context, path string) (*api.Secret, error) {
	return c.wire.Do(ctx, wire.Call{Method: http.MethodGet, Path: path, Token: c.current().token, Limit: wire.DataBytes})
}

// write does one PUT with the current token, once.
func (c *Client) write(ctx context.Context, path string, body any) (*api.Secret, error) {
	return c.wire.Do(ctx, wire.Call{
		Method: http.MethodPut, Path: path, Body: body, Token: c.current().token, Limit: wire.DataBytes,
	})
}

// fingerprint names a secret or accessor in a log line without giving it away:
// the first 48 bits of its SHA-256.
func fingerprint(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:6])
}
