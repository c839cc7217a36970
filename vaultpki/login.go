package vaultpki

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// clockSkew is how far Vault's clock may be ahead of ours.
const clockSkew = time.Minute

// Words for operators. They are said by log line and hint alike.
const (
	hintMint      = "mint a new introduction (sallyport introduce) and start again"
	hintIntercept = "treat the SecretID as stolen: destroy the role's SecretIDs, look in Vault's audit log for who unwrapped it, then mint a new introduction"
)

// Login introduces this process to Vault: it reads the wrapping token, has
// Vault say where that token comes from, unwraps it once, and logs in once. It
// logs one line per step.
//
// An unreachable or sealed Vault is waited for before the unwrapping; from then
// on nothing is repeated. The error is an [*Error] with any of ReasonConfig,
// ReasonNoToken, ReasonUnreachable, ReasonIntercepted, ReasonForged,
// ReasonAmbiguous and ReasonLoginRefused. Intercepted, forged and ambiguous
// introductions are also logged as security events, with key "event".
func Login(ctx context.Context, cfg Config) (*Client, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, &Error{Reason: ReasonConfig, Op: "configuring the Vault client", Err: err}
	}
	caller, err := cfg.Dial()
	if err != nil {
		return nil, &Error{Reason: ReasonConfig, Op: "configuring the Vault client", Err: err}
	}
	cfg.Log = cfg.Log.With("vault_addr", cfg.Address, "role", cfg.Role)
	intro := &introduction{cfg: cfg, wire: caller}
	client, err := intro.run(ctx)
	if err != nil {
		caller.CloseIdle()
		return nil, err
	}
	return client, nil
}

// introduction is one attempt to log in. It is used by one goroutine.
type introduction struct {
	cfg  Config
	wire *wire.Client
}

// run takes the steps in their order. Each needs the one before.
func (i *introduction) run(ctx context.Context) (*Client, error) {
	token, err := readTokenFile(i.cfg.WrappingTokenFile, i.cfg.Log)
	if err != nil {
		return nil, &Error{
			Reason: ReasonNoToken, Op: "reading the wrapping token", Where: i.cfg.WrappingTokenFile,
			Err: err, Hint: hintMint,
		}
	}
	i.cfg.Log.Info("wrapping token found", "file", i.cfg.WrappingTokenFile, "token_hash", fingerprint(token))
	if err := i.lookup(ctx, token); err != nil {
		return nil, err
	}
	secretID, err := i.unwrap(ctx, token)
	if err != nil {
		return nil, err
	}
	return i.login(ctx, secretID)
}

// lookup asks Vault what the wrapping token is, without using it up, and
// refuses one that was not made by the expected call.
func (i *introduction) lookup(ctx context.Context, token string) error {
	var secret *api.Secret
	p := patience{wait: i.cfg.Wait, log: i.cfg.Log}
	err := p.do(ctx, "looking up the wrapping token", func(ctx context.Context) (err error) {
		secret, err = i.wire.Do(ctx, wire.Call{
			Method: http.MethodPut, Path: "sys/wrapping/lookup",
			Body: map[string]string{"token": token}, Secrets: []string{token},
		})
		return err
	})
	if isUnknownWrapping(err) {
		return i.intercepted("looking up the wrapping token", token, err)
	}
	if err != nil {
		return Classify("looking up the wrapping token", "sys/wrapping/lookup", err)
	}
	info, err := parseWrapInfo(secret)
	if err == nil {
		err = i.judge(info)
	}
	if err != nil {
		return i.forged(token, err)
	}
	i.cfg.Log.Info("wrapping token checked", "creation_path", info.path,
		"creation_ttl", info.ttl.String(), "age", i.cfg.Now().Sub(info.created).Round(time.Millisecond).String())
	return nil
}

// wrapInfo is what sys/wrapping/lookup says of a wrapping token.
type wrapInfo struct {
	path    string
	ttl     time.Duration
	created time.Time
}

// parseWrapInfo reads the three values that are judged; each must be there.
func parseWrapInfo(secret *api.Secret) (wrapInfo, error) {
	if secret == nil {
		return wrapInfo{}, errors.New("vault's answer is empty")
	}
	path, _ := secret.Data["creation_path"].(string)
	when, _ := secret.Data["creation_time"].(string)
	created, err := time.Parse(time.RFC3339Nano, when)
	if err != nil {
		return wrapInfo{}, fmt.Errorf("creation time: %w", err)
	}
	seconds, ok := intOf(secret.Data["creation_ttl"])
	if !ok {
		return wrapInfo{}, fmt.Errorf("creation TTL %v: expected seconds", secret.Data["creation_ttl"])
	}
	return wrapInfo{path: path, ttl: time.Duration(seconds) * time.Second, created: created}, nil
}

// judge compares a wrapping token's origin with what is expected. The path is
// compared exactly: anybody may wrap anything by sys/wrapping/wrap.
func (i *introduction) judge(info wrapInfo) error {
	age := i.cfg.Now().Sub(info.created)
	switch want := secretIDPath(i.cfg.AuthMount, i.cfg.Role); {
	case info.path != want:
		return fmt.Errorf("creation path %q: expected %q", info.path, want)
	case info.ttl <= 0 || info.ttl > i.cfg.MaxWrapTTL:
		return fmt.Errorf("creation TTL %s: expected at most %s", info.ttl, i.cfg.MaxWrapTTL)
	case age < -clockSkew:
		return fmt.Errorf("creation time %s: %s in the future, compare the clocks of this host and of Vault",
			info.created.Format(time.RFC3339), (-age).Round(time.Second))
	case age > info.ttl+clockSkew:
		// Vault still knows the token, so it cannot be older than its TTL.
		return fmt.Errorf("creation time %s: %s ago, longer than its TTL of %s, compare the clocks of this host and of Vault",
			info.created.Format(time.RFC3339), age.Round(time.Second), info.ttl)
	}
	return nil
}

// unwrap redeems the wrapping token, sent exactly once.
func (i *introduction) unwrap(ctx context.Context, token string) (string, error) {
	secret, err := i.wire.Do(ctx, wire.Call{
		Method: http.MethodPut, Path: "sys/wrapping/unwrap", Token: token, Fresh: true,
	})
	switch {
	case err == nil:
	case isUnknownWrapping(err):
		return "", i.intercepted("unwrapping the SecretID", token, err)
	case untouched(err):
		return "", Classify("unwrapping the SecretID", "sys/wrapping/unwrap", err)
	default:
		return "", i.ambiguous("unwrapping the SecretID", token, err)
	}
	blankTokenFile(i.cfg.WrappingTokenFile, i.cfg.Log)
	var secretID string
	if secret != nil {
		secretID, _ = secret.Data["secret_id"].(string)
	}
	if secretID == "" {
		return "", i.forged(token, errors.New("the wrapped answer holds no secret_id"))
	}
	i.cfg.Log.Info("secret id unwrapped")
	return secretID, nil
}

// isUnknownWrapping recognises Vault's answer to a wrapping token that it does
// not know. A proxy's page of the same status raises no alarm.
func isUnknownWrapping(err error) bool {
	var status *wire.StatusError
	return errors.As(err, &status) && status.FromVault &&
		(status.Status == http.StatusBadRequest || status.Status == http.StatusForbidden)
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

// login redeems RoleID and SecretID, sent exactly once: the SecretID may be
// good for one use only.
func (i *introduction) login(ctx context.Context, secretID string) (*Client, error) {
	path := "auth/" + i.cfg.AuthMount + "/login"
	asked := time.Now()
	secret, err := i.wire.Do(ctx, wire.Call{
		Method: http.MethodPut, Path: path, Fresh: true, Secrets: []string{secretID},
		Body: map[string]string{"role_id": i.cfg.RoleID, "secret_id": secretID},
	})
	if err != nil {
		return nil, i.loginError(path, secretID, err)
	}
	g, err := grantOf(secret, asked)
	if err != nil {
		return nil, &Error{Reason: ReasonLoginRefused, Op: "logging in", Where: path, Err: err, Hint: hintMint}
	}
	i.cfg.Log.Info("logged in", "accessor_hash", fingerprint(secret.Auth.Accessor), "policies", secret.Auth.TokenPolicies,
		"token_ttl", g.ttl.String(), "renewable", g.renewable)
	if !g.renewable {
		i.cfg.Log.Warn("vault token cannot be renewed", "ends", g.expires)
	}
	return newClient(i.wire, i.cfg, g), nil
}

// loginError explains a failed login. Unlike an unwrapping, a refusal has
// harmless causes: a wrong RoleID, an address outside the role's bounds.
func (i *introduction) loginError(path, secretID string, err error) error {
	switch status := wire.Status(err); {
	case status >= 400 && status < 500 && !wire.MaySucceedLater(err):
		return &Error{
			Reason: ReasonLoginRefused, Op: "logging in", Where: path, Err: err,
			Hint: "check the RoleID, the role's CIDR bounds and its SecretID limits, then " + hintMint,
		}
	case untouched(err):
		e := Classify("logging in", path, err)
		e.Hint = "the SecretID is lost with this process: " + hintMint
		return e
	}
	return i.ambiguous("logging in", secretID, err)
}

// grantOf reads the token of a login's or renewal's answer. asked is when the
// call was begun; the token's life is counted from there.
func grantOf(secret *api.Secret, asked time.Time) (grant, error) {
	if secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "" {
		return grant{}, errors.New("vault's answer holds no token")
	}
	if secret.Auth.LeaseDuration <= 0 {
		return grant{}, fmt.Errorf("vault granted a token with TTL %d: expected one that ends", secret.Auth.LeaseDuration)
	}
	ttl := time.Duration(secret.Auth.LeaseDuration) * time.Second
	return grant{
		token: secret.Auth.ClientToken, ttl: ttl, expires: asked.Add(ttl), renewable: secret.Auth.Renewable,
	}, nil
}

// intercepted raises the interception alarm: Vault does not know the token.
func (i *introduction) intercepted(op, token string, err error) error {
	i.cfg.Log.Error("wrapping token is not known to vault: it was used by somebody else, or expired",
		"event", "interception_alarm", "step", op, "token_hash", fingerprint(token),
		"file", i.cfg.WrappingTokenFile, "what_to_do", hintIntercept)
	return &Error{
		Reason: ReasonIntercepted, Op: op, Where: "of " + i.cfg.WrappingTokenFile, Err: err,
		Hint: "if nobody else can have used it, it expired or an earlier start used it; otherwise " + hintIntercept,
	}
}

// forged reports a wrapping token that the expected call did not make.
func (i *introduction) forged(token string, err error) error {
	i.cfg.Log.Error("wrapping token is not what the deployer's call makes",
		"event", "introduction_forged", "token_hash", fingerprint(token), "cause", err.Error(),
		"file", i.cfg.WrappingTokenFile, "what_to_do", hintIntercept)
	return &Error{
		Reason: ReasonForged, Op: "checking the wrapping token", Where: "of " + i.cfg.WrappingTokenFile, Err: err,
		Hint: "wrap the issuing call itself (sallyport introduce does); if you did, " + hintIntercept,
	}
}

// ambiguous reports a one-time call whose outcome is unknown.
func (i *introduction) ambiguous(op, secret string, err error) error {
	i.cfg.Log.Error("connection was lost in a one-time call: the credential may be spent",
		"event", "introduction_ambiguous", "step", op, "token_hash", fingerprint(secret), "cause", causeOf(err),
		"what_to_do", hintMint)
	return &Error{
		Reason: ReasonAmbiguous, Op: op, Err: err,
		Hint: "it is not known whether Vault handled the call: " + hintMint + "; a network that loses just this call may be an attack",
	}
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
	return wire.Status(err) == http.StatusForbidden && strings.Contains(err.Error(), "invalid token")
}
