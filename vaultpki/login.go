package vaultpki

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Words for operators. They are said by log line and hint alike.
const (
	hintMint      = "mint a new introduction (sallyport introduce) and start again"
	hintIntercept = "treat the SecretID as stolen: destroy the role's SecretIDs, look in Vault's audit log for who unwrapped it, then mint a new introduction"
	hintClock     = "set the clock that is wrong and start again: the heir is still there"
	hintRefused   = "check the role, its bounds (networks, audiences, certificates) and that its mount is the right one"
	hintReview    = "check the role, its service accounts, namespaces and audience, and that its mount is the right one; Vault says no more than \"permission denied\" if the cluster calls the token invalid, and if Vault cannot ask the cluster (kubernetes_host, its CA, the reviewer's token)"
	hintGrant     = "correct what the role grants: its policies, its TTL, its number of uses"
	hintLost      = "find out who revoked the token, or why Vault was away for longer than its life"
	hintLogin     = "log in to Vault again: it does not know the token, which has ended or is another Vault's"
)

// Login proves this process to Vault by [Config.Method] and logs one line per
// step. What it leaves to be done when it succeeds is [Client.Run].
//
// An unreachable or sealed Vault is waited for; a one-time call is sent once.
// The error is an [*Error] with any of ReasonConfig, ReasonNoToken,
// ReasonExpired, ReasonUnreachable, ReasonSealed, ReasonIntercepted,
// ReasonForged, ReasonClock, ReasonAmbiguous and ReasonLoginRefused. Intercepted,
// forged, expired and ambiguous introductions are also logged as security events,
// with key "event".
func Login(ctx context.Context, cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, &Error{Reason: ReasonConfig, Op: "configuring the Vault client", Err: err}
	}
	caller, err := cfg.Dial()
	if err != nil {
		return nil, &Error{Reason: ReasonConfig, Op: "configuring the Vault client", Err: err}
	}
	caller.Observe = observer(cfg.Observe)
	cfg.Log = cfg.Log.With("vault_addr", cfg.Address, "auth_method", cfg.Method.Name())
	d := &desk{cfg: cfg, wire: caller, log: cfg.Log, wait: cfg.Wait}
	auth, err := cfg.Method.open(d)
	if err != nil {
		return nil, err
	}
	g, err := auth.enter(ctx)
	if err != nil {
		auth.heir.close()
		caller.CloseIdle()
		return nil, err
	}
	d.wait, cfg.Log = 0, d.log
	client := newClient(caller, cfg, g)
	client.auth = auth
	client.welcome(ctx, g)
	return client, nil
}

// welcome tells what a login granted, finds out whether the token may be looked
// up, and leaves an heir. None of it can fail the login: the token is good.
func (c *Client) welcome(ctx context.Context, g grant) {
	c.log.Info("logged in", "accessor_hash", fingerprint(g.accessor), "policies", g.policies,
		"token_ttl", g.ttl.String(), "renewable", g.renewable)
	g.warnOf(c.log)
	info, err := c.lookup(ctx, g.token)
	c.blind.Store(wire.Status(err) == http.StatusForbidden)
	switch {
	case c.blind.Load():
		c.log.Warn("vault token may not be looked up: whether it is dead is told from vault's words alone",
			"what_to_do", `grant the role a policy: path "`+lookupSelfPath+`" { capabilities = ["read"] }`)
	case err != nil:
		c.log.Debug("vault token was not looked up", "cause", causeOf(err))
	case info.uses > 0:
		c.log.Warn("vault token is good for a few calls only: correct token_num_uses of the role", "uses_left", info.uses)
	}
	c.auth.heir.refill(ctx, c.mintHeir)
}

// untouched says that a failed one-time call certainly did nothing: it never
// left, or Vault itself said that it handles no calls now.
func untouched(err error) bool {
	var transport *wire.TransportError
	if errors.As(err, &transport) {
		return !transport.Sent
	}
	var status *wire.StatusError
	return errors.As(err, &status) && status.FromVault &&
		(status.Status == http.StatusServiceUnavailable || status.Status == http.StatusTooManyRequests)
}

// intOf reads an integer of Vault's JSON.
func intOf(value any) (int, bool) {
	number, ok := value.(json.Number)
	if !ok {
		return 0, false
	}
	n, err := number.Int64()
	if err != nil || n < 0 || n > math.MaxInt32 {
		return 0, false
	}
	return int(n), true
}

// isInvalidToken recognises Vault's answer to a token that it does not know.
func isInvalidToken(err error) bool {
	return isForbidden(err) && (strings.Contains(err.Error(), "invalid token") || strings.Contains(err.Error(), "bad token"))
}

// isForbidden recognises Vault's own refusal, and not a proxy's page.
func isForbidden(err error) bool {
	var status *wire.StatusError
	return errors.As(err, &status) && status.FromVault && status.Status == http.StatusForbidden
}
