package vaultpki

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// clockSkew is how far Vault's clock may be ahead of ours.
const clockSkew = time.Minute

// parcel is a wrapping token with a SecretID inside: an introduction or an heir.
type parcel struct {
	token string
	place string        // where it was found
	bound time.Duration // the longest life that is accepted
	heir  bool          // this process had it minted, for itself
}

// examine asks Vault what the wrapping token is, without using it up, and
// refuses one that was not made by the expected call. That Vault does not know
// it comes back with ReasonIntercepted, and the alarm is the caller's: it may
// know better.
func (a *appRole) examine(ctx context.Context, p parcel) error {
	const op = "looking up the wrapping token"
	var secret *api.Secret
	err := a.patience().do(ctx, op, func(ctx context.Context) (err error) {
		secret, err = a.wire.Do(ctx, wire.Call{
			Method: http.MethodPut, Path: "sys/wrapping/lookup",
			Body: map[string]string{"token": p.token}, Secrets: []string{p.token},
		})
		return err
	})
	if isUnknownWrapping(err) {
		return &Error{Reason: ReasonIntercepted, Op: op, Where: "of " + p.place, Err: err}
	}
	if err != nil {
		return Classify(op, "sys/wrapping/lookup", err)
	}
	info, err := parseWrapInfo(secret)
	if err == nil {
		err = a.judge(info, p.bound)
	}
	var clocks *clockError
	switch {
	case err == nil:
	case p.heir && errors.As(err, &clocks):
		return a.clocksDiffer(p, err)
	default:
		return a.forged(p, err, a.mistake(info, p.bound))
	}
	a.log.Info("wrapping token checked", "creation_path", info.path,
		"creation_ttl", info.ttl.String(), "age", a.cfg.Now().Sub(info.created).Round(time.Millisecond).String())
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

// clockError is a creation time that cannot be if our clock and Vault's agree.
type clockError struct {
	created, now time.Time
	fault        string
}

// Error names both clocks.
func (e *clockError) Error() string {
	return fmt.Sprintf("creation time %s by vault's clock: %s, compare the clocks of this host (now %s) and of Vault",
		e.created.UTC().Format(time.RFC3339), e.fault, e.now.UTC().Format(time.RFC3339))
}

// judge compares a wrapping token's origin with what is expected. The path is
// compared exactly: anybody may wrap anything by sys/wrapping/wrap.
func (a *appRole) judge(info wrapInfo, bound time.Duration) error {
	now := a.cfg.Now()
	age := now.Sub(info.created)
	switch want := secretIDPath(a.Mount, a.Role); {
	case info.path != want:
		return fmt.Errorf("creation path %q: expected %q", info.path, want)
	case info.ttl <= 0 || info.ttl > bound:
		return fmt.Errorf("creation TTL %s: expected at most %s", info.ttl, bound)
	case age < -clockSkew:
		return &clockError{info.created, now, fmt.Sprintf("%s in the future", (-age).Round(time.Second))}
	case age > info.ttl+clockSkew:
		// Vault still knows the token, so it cannot be older than its TTL.
		return &clockError{info.created, now, fmt.Sprintf("%s ago, longer than its TTL of %s", age.Round(time.Second), info.ttl)}
	}
	return nil
}

// mistake says of a refused wrapping token by which oversight it may have come
// here, and nothing if it looks like none.
func (a *appRole) mistake(info wrapInfo, bound time.Duration) string {
	role, _ := strings.CutPrefix(info.path, "auth/"+a.Mount+"/role/")
	role, _ = strings.CutSuffix(role, "/secret-id")
	switch {
	case info.path != secretIDPath(a.Mount, role) || wire.CheckName(role) != nil:
	case role != a.Role:
		return fmt.Sprintf("this introduces %s: was the wrong file delivered? If not, ", role)
	case info.ttl > bound:
		return fmt.Sprintf("if it was minted to live so long, start the process with --max-wrap-ttl %s; if not, ", info.ttl)
	}
	return ""
}

// unwrap redeems the wrapping token, sent exactly once. As with examine, the
// alarm is the caller's.
func (a *appRole) unwrap(ctx context.Context, p parcel) (string, error) {
	const op = "unwrapping the SecretID"
	secret, err := a.wire.Do(ctx, wire.Call{
		Method: http.MethodPut, Path: "sys/wrapping/unwrap", Token: p.token, OneTime: true,
	})
	switch {
	case err == nil:
	case isUnknownWrapping(err):
		return "", &Error{Reason: ReasonIntercepted, Op: op, Where: "of " + p.place, Err: err}
	case untouched(err):
		return "", Classify(op, "sys/wrapping/unwrap", err)
	default:
		return "", a.ambiguous(op, p.token, err)
	}
	var secretID string
	if secret != nil {
		secretID, _ = secret.Data["secret_id"].(string)
	}
	if secretID == "" {
		return "", a.forged(p, errors.New("the wrapped answer holds no secret_id"), "")
	}
	a.log.Info("secret id unwrapped")
	return secretID, nil
}

// isUnknownWrapping recognises Vault's answer to a wrapping token that it does
// not know. A proxy's page of the same status raises no alarm.
func isUnknownWrapping(err error) bool {
	var status *wire.StatusError
	return errors.As(err, &status) && status.FromVault &&
		(status.Status == http.StatusBadRequest || status.Status == http.StatusForbidden)
}

// intercepted raises the interception alarm: Vault does not know the token.
func (a *appRole) intercepted(p parcel, err error) error {
	e := &Error{Op: "looking up the wrapping token", Err: err}
	errors.As(err, &e)
	a.log.Error("wrapping token is not known to vault: it was used by somebody else, or expired",
		"event", "interception_alarm", "step", e.Op, "token_hash", fingerprint(p.token),
		"file", p.place, "what_to_do", hintIntercept)
	return &Error{
		Reason: ReasonIntercepted, Op: e.Op, Where: "of " + p.place, Err: e.Err,
		Hint: "if nobody else can have used it, it expired or an earlier start used it; otherwise " + hintIntercept,
	}
}

// expired reports a token that Vault does not know and whose end is past.
func (a *appRole) expired(p parcel, err error) error {
	const hint = "if it should not have been used before its end, look in Vault's audit log whether it was; then " + hintMint
	a.log.Error("wrapping token is not known to vault and is past its end", "event", "introduction_expired",
		"token_hash", fingerprint(p.token), "file", p.place, "cause", err.Error(), "what_to_do", hint)
	return &Error{Reason: ReasonExpired, Op: "looking up the wrapping token", Where: "of " + p.place, Err: err, Hint: hint}
}

// forged reports a wrapping token that the expected call did not make. mistake
// comes before what else is to be done.
func (a *appRole) forged(p parcel, err error, mistake string) error {
	a.log.Error("wrapping token is not what the deployer's call makes",
		"event", "introduction_forged", "token_hash", fingerprint(p.token), "cause", err.Error(),
		"file", p.place, "what_to_do", mistake+hintIntercept)
	return &Error{
		Reason: ReasonForged, Op: "checking the wrapping token", Where: "of " + p.place, Err: err,
		Hint: mistake + "wrap the issuing call itself (sallyport introduce does); if you did, " + hintIntercept,
	}
}

// clocksDiffer reports an heir whose times alone are wrong. Vault says when it was
// made, so nobody can have forged that; the heir is as good as it was.
func (a *appRole) clocksDiffer(p parcel, err error) error {
	a.log.Error("heir was not used, and is kept: the clocks of this host and of vault differ",
		"event", "clocks_differ", "token_hash", fingerprint(p.token), "file", p.place, "cause", err.Error(), "what_to_do", hintClock)
	return &Error{Reason: ReasonClock, Op: "checking the wrapping token", Where: "of " + p.place, Err: err, Hint: hintClock}
}

// ambiguous reports a one-time call whose outcome is unknown.
func (a *appRole) ambiguous(op, secret string, err error) error {
	a.log.Error("connection was lost in a one-time call: the credential may be spent",
		"event", "introduction_ambiguous", "step", op, "token_hash", fingerprint(secret), "cause", causeOf(err),
		"what_to_do", hintMint)
	return &Error{
		Reason: ReasonAmbiguous, Op: op, Err: err,
		Hint: "it is not known whether Vault handled the call: " + hintMint + "; a network that loses just this call may be an attack",
	}
}
