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
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Client is a process that is logged in to Vault. [Login] makes it; [Client.Run]
// keeps it logged in. All methods are safe for concurrent use. It holds the
// token in memory and shows it in no format.
type Client struct {
	wire     *wire.Client
	patience patience
	log      *slog.Logger
	policy   policy
	auth     *credential // nil for a token of somebody else's
	outage   *outage
	dog      watchdog
	// blind is set if the token's policies forbid to look it up.
	blind atomic.Bool
	// renew asks for another life of a token, and lookup what a token is, once.
	renew  func(ctx context.Context, g grant) (grant, error)
	lookup func(ctx context.Context, token string) (tokenInfo, error)

	mu      sync.Mutex // guards the rest
	grant   grant      // what Vault last granted
	lost    *loss      // why there is no token now; nil if there is one
	next    time.Time  // of the renewal or login that is due next
	running bool       // Run will get another token if this one is lost
	// turned is closed and replaced when another token comes into use.
	turned chan struct{}
	// woken has room for one message to Run: the token was found dead.
	woken chan struct{}
}

// policy is what Config says of the life after the login.
type policy struct {
	method       string
	onRevocation OnRevocation
	unsafeRoot   bool
}

// loss is the end of a token.
type loss struct {
	since   time.Time
	cause   error
	revoked bool // before its time
}

// newClient returns a Client that holds g.
func newClient(caller *wire.Client, cfg Config, g grant) *Client {
	c := &Client{
		wire: caller, log: cfg.Log, grant: g, outage: newOutage(),
		patience: patience{wait: cfg.Wait, log: cfg.Log},
		policy:   policy{onRevocation: cfg.OnRevocation, unsafeRoot: cfg.UnsafeRootToken},
		turned:   make(chan struct{}), woken: make(chan struct{}, 1), dog: newWatchdog(),
	}
	if cfg.Method != nil {
		c.policy.method = cfg.Method.Name()
	}
	c.renew = c.renewSelf
	c.lookup = func(ctx context.Context, token string) (tokenInfo, error) { return lookupSelf(ctx, caller, token) }
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

// Close closes idle connections to Vault and lets another process have the heir.
// Run does so by itself.
func (c *Client) Close() {
	if c.auth != nil {
		c.auth.heir.close()
	}
	c.wire.CloseIdle()
}

// TokenExpiry returns when the current token ends unless it is renewed; zero
// for one that never does.
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

// adopt puts a new grant in use, and tells those who wait for one.
func (c *Client) adopt(g grant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.grant, c.lost = g, nil
	close(c.turned)
	c.turned = make(chan struct{})
}

// lose says that the token in use is of no more use, unless another one came
// into use meanwhile. Only the first cause counts.
func (c *Client) lose(token string, cause error, revoked bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.grant.token != token || c.lost != nil {
		return
	}
	c.lost = &loss{since: time.Now(), cause: cause, revoked: revoked}
	c.log.Error("vault token is lost", "event", "token_lost", "cause", causeOf(cause), "revoked", revoked)
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

// loss returns why there is no token, nil if there is one.
func (c *Client) loss() *loss {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
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
	return c.do(ctx, wire.Call{Method: http.MethodGet, Path: path, Limit: wire.DataBytes})
}

// write does one PUT with the current token, once.
func (c *Client) write(ctx context.Context, path string, body any) (*api.Secret, error) {
	return c.do(ctx, wire.Call{Method: http.MethodPut, Path: path, Body: body, Limit: wire.DataBytes})
}

// fingerprint names a secret or accessor in a log line without giving it away:
// the first 48 bits of its SHA-256.
func fingerprint(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:6])
}
