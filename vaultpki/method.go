package vaultpki

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Method is a way to log in to Vault: [AppRole], [JWT], [Cert] or [TokenFile].
type Method interface {
	// Name is Vault's word for the method, such as "approle".
	Name() string
	// check returns the method with its defaults filled in, and its faults.
	check(server Server) (Method, error)
	// open prepares logins at the desk.
	open(d *desk) (*credential, error)
}

// credential is what a process logs in with, as often as it must. It is used by
// one goroutine at a time.
type credential struct {
	// login gets a new token. The error is an [*Error], as of [Login].
	login func(ctx context.Context) (grant, error)
	// file holds what login uses, and is worth another try when it changes; ""
	// for none.
	file string
	// live says that file holds the token itself, which somebody else keeps
	// alive: it is read as soon as it changes.
	live bool
	// again says that login can be repeated for ever with what is at hand.
	again bool
	// heir is the credential of the next login; nil for none.
	heir *heir

	seen string // the mark of file, as the last login left it
}

// enter logs in and remembers which content of the file that was with.
func (c *credential) enter(ctx context.Context) (grant, error) {
	c.seen = mark(c.file)
	g, err := c.login(ctx)
	if !c.live {
		c.seen = mark(c.file) // it may just have been emptied
	}
	return g, err
}

// changed says whether the file has another content than at the last login.
func (c *credential) changed() bool { return c.file != "" && mark(c.file) != c.seen }

// mark tells one content of a file from another without reading it.
func mark(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d %d", info.Size(), info.ModTime().UnixNano())
}

// desk is where a process logs in: what all methods have in common.
type desk struct {
	cfg  Config
	wire *wire.Client
	log  *slog.Logger
	// wait is how long a Vault that is away is waited for: Config.Wait at the
	// start, and no time later, when the caller tries again by itself.
	wait time.Duration
}

// patience repeats calls while Vault is away.
func (d *desk) patience() patience { return patience{wait: d.wait, log: d.log} }

// present does the login call at the method's mount. A refusal is final, and so
// is a lost answer if the credential is good for one use only.
func (d *desk) present(ctx context.Context, mount string, body map[string]string, oneTime bool) (grant, error) {
	path := "auth/" + mount + "/login"
	var secrets []string
	for name, value := range body {
		if name != "role" && name != "name" { // which Vault names when it knows no such role
			secrets = append(secrets, value)
		}
	}
	p := d.patience()
	if oneTime {
		p.again = untouched // Vault itself said that it did nothing: the credential is still good
	}
	var secret *api.Secret
	var asked time.Time
	err := p.do(ctx, "logging in", func(ctx context.Context) (err error) {
		asked = time.Now()
		secret, err = d.wire.Do(ctx, wire.Call{
			Method: http.MethodPut, Path: path, Body: body, Secrets: secrets, OneTime: oneTime,
		})
		return err
	})
	if err != nil {
		return grant{}, loginError(path, err)
	}
	g, err := grantOf(secret, asked, d.cfg.UnsafeRootToken)
	if err != nil {
		return grant{}, &Error{Reason: ReasonLoginRefused, Op: "logging in", Where: path, Err: err, Hint: hintGrant}
	}
	return g, nil
}

// loginError explains a failed login. Unlike an unwrapping, a refusal has
// harmless causes: a wrong RoleID, an address outside the role's bounds.
func loginError(path string, err error) *Error {
	if status := wire.Status(err); status >= 400 && status < 500 && !wire.MaySucceedLater(err) {
		return &Error{Reason: ReasonLoginRefused, Op: "logging in", Where: path, Err: err, Hint: hintRefused}
	}
	return Classify("logging in", path, err)
}

// grant is a token and its life.
type grant struct {
	token, accessor string
	policies        []string
	ttl             time.Duration // as granted, which may be less than asked for
	since           time.Time     // of the login
	expires         time.Time     // counted from before the call: never too late; zero for never
	renewable       bool
	// usual is the life that the login granted. A renewal that grants clearly
	// less says that the token nears its maximum: last is then set.
	usual time.Duration
	last  bool
}

// dead says whether the token's life is over.
func (g grant) dead() bool { return !g.expires.IsZero() && !time.Now().Before(g.expires) }

// grantOf reads the token of a login's or renewal's answer. asked is when the
// call was begun; the token's life is counted from there.
func grantOf(secret *api.Secret, asked time.Time, unsafeRoot bool) (grant, error) {
	if secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "" {
		return grant{}, errors.New("vault's answer holds no token")
	}
	auth := secret.Auth
	ttl := time.Duration(auth.LeaseDuration) * time.Second
	g := grant{
		token: auth.ClientToken, accessor: auth.Accessor, policies: auth.Policies,
		ttl: ttl, usual: ttl, since: asked, expires: asked.Add(ttl), renewable: auth.Renewable,
	}
	return g, g.judge(unsafeRoot)
}

// judge refuses a token that is not fit for a process that faces the network.
func (g *grant) judge(unsafeRoot bool) error {
	isRoot := slices.Contains(g.policies, "root")
	switch {
	case isRoot && !unsafeRoot:
		return errors.New(`vault granted a token with the policy "root", which may do everything: expected one with the policies of this process alone`)
	case g.ttl < 0, g.ttl == 0 && !isRoot:
		return fmt.Errorf("vault granted a token with TTL %d: expected one that ends", int(g.ttl.Seconds()))
	case g.ttl == 0:
		g.expires, g.renewable = time.Time{}, false
	}
	return nil
}

// warnOf says what of a granted token an operator should know before it hurts.
func (g grant) warnOf(log *slog.Logger) {
	if slices.Contains(g.policies, "root") {
		log.Warn("vault token may do everything: whoever breaks into this process has all of vault", "flag", "--unsafe-root-token")
	}
	if useful := slices.DeleteFunc(slices.Clone(g.policies), func(p string) bool { return p == "default" }); len(useful) == 0 {
		log.Warn("vault token has no policy of its own: it will read no secret", "policies", g.policies)
	}
	if !g.renewable && !g.expires.IsZero() {
		log.Warn("vault token cannot be renewed", "ends", g.expires)
	}
}

// tokenInfo is what auth/token/lookup-self says of a token.
type tokenInfo struct {
	policies  []string
	ttl       time.Duration
	renewable bool
	accessor  string
	uses      int // that are left; 0 for no bound
}

// lookupSelf asks Vault what a token is.
func lookupSelf(ctx context.Context, caller *wire.Client, token string) (tokenInfo, error) {
	secret, err := caller.Do(ctx, wire.Call{Method: http.MethodGet, Path: lookupSelfPath, Token: token})
	if err != nil {
		return tokenInfo{}, err
	}
	if secret == nil {
		return tokenInfo{}, errors.New("vault's answer is empty")
	}
	seconds, ok := intOf(secret.Data["ttl"])
	if !ok {
		return tokenInfo{}, fmt.Errorf("token TTL %v: expected seconds", secret.Data["ttl"])
	}
	info := tokenInfo{ttl: time.Duration(seconds) * time.Second}
	info.renewable, _ = secret.Data["renewable"].(bool)
	info.accessor, _ = secret.Data["accessor"].(string)
	info.uses, _ = intOf(secret.Data["num_uses"])
	for _, kind := range []string{"policies", "identity_policies"} {
		names, _ := secret.Data[kind].([]any)
		for _, name := range names {
			if text, ok := name.(string); ok && !slices.Contains(info.policies, text) {
				info.policies = append(info.policies, text)
			}
		}
	}
	return info, nil
}
