package vaultpki

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// AppRole logs in with a SecretID that is good for one use: wrapped, as
// `sallyport introduce` mints it, or plain. Exactly one of the four sources must
// be given.
//
// Once logged in, the process makes its own next credential if Heir is set.
type AppRole struct {
	// Mount is the mount of the method; default "approle".
	Mount string
	// Role is the AppRole's name; the wrapping token must come from its path.
	// Required unless the SecretID is plain and there is no heir.
	Role string
	// RoleID is the AppRole's RoleID: an identifier, not a secret.
	RoleID string

	// WrappingTokenFile holds the wrapping token of a SecretID on one line. It
	// is emptied once the token was used, if the file system allows; one that is
	// put there later is used when another login is needed.
	WrappingTokenFile string
	// UnsafeWrappingToken is the wrapping token itself, from an environment that
	// others may read.
	UnsafeWrappingToken string
	// SecretIDFile holds a plain SecretID on one line, and UnsafeSecretID is one.
	// Nothing can tell whether somebody else has read it.
	SecretIDFile, UnsafeSecretID string
	// MaxWrapTTL is the longest life of a wrapping token that is accepted;
	// default DefaultMaxWrapTTL.
	MaxWrapTTL time.Duration

	// Heir says where the credential of the next login is kept.
	Heir Heir
}

// DefaultMaxWrapTTL is the longest life of a wrapping token that a process
// accepts unless AppRole says otherwise.
const DefaultMaxWrapTTL = time.Hour

const defaultAuthMount = "approle"

// Name implements [Method].
func (AppRole) Name() string { return "approle" }

func (m AppRole) check(Server) (Method, error) {
	if m.Mount == "" {
		m.Mount = defaultAuthMount
	}
	if m.MaxWrapTTL == 0 {
		m.MaxWrapTTL = DefaultMaxWrapTTL
	}
	var faults []error
	if err := wire.CheckPath(m.Mount); err != nil {
		faults = append(faults, fmt.Errorf("auth mount: %w", err))
	}
	if needed := m.wrapped() || m.Heir.File != ""; (needed || m.Role != "") && wire.CheckName(m.Role) != nil {
		faults = append(faults, fmt.Errorf("role %q: expected the name of an AppRole", m.Role))
	}
	if m.RoleID == "" {
		faults = append(faults, errors.New("role id: none given"))
	}
	sources := 0
	for _, source := range []string{m.WrappingTokenFile, m.UnsafeWrappingToken, m.SecretIDFile, m.UnsafeSecretID} {
		if source != "" {
			sources++
		}
	}
	if sources != 1 {
		faults = append(faults, fmt.Errorf("introduction: expected one of wrapping token file, wrapping token, SecretID file and SecretID, found %d", sources))
	}
	if m.MaxWrapTTL < 0 {
		faults = append(faults, fmt.Errorf("longest life of a wrapping token %s: expected more than 0", m.MaxWrapTTL))
	}
	var err error
	if m.Heir, err = m.Heir.check(); err != nil {
		faults = append(faults, err)
	}
	return m, errors.Join(faults...)
}

// wrapped says whether the introduction is a wrapping token.
func (m AppRole) wrapped() bool { return m.WrappingTokenFile != "" || m.UnsafeWrappingToken != "" }

// reading is what an error says of getting the introduction.
func (m AppRole) reading() string {
	if m.wrapped() {
		return "reading the wrapping token"
	}
	return "reading the SecretID"
}

// file is where another introduction may be put, "" for nowhere.
func (m AppRole) file() string {
	if m.WrappingTokenFile != "" {
		return m.WrappingTokenFile
	}
	return m.SecretIDFile
}

func (m AppRole) open(d *desk) (*credential, error) {
	d.log = d.log.With("role", m.Role)
	a := &appRole{AppRole: m, desk: d, spent: map[string]bool{}}
	if m.Heir.File != "" {
		var err error
		if a.heir, err = openHeir(m, d); err != nil {
			return nil, &Error{
				Reason: ReasonConfig, Op: "opening the heir file", Where: m.Heir.File, Err: err,
				Hint: "give every process an heir file of its own, in a folder of its own on tmpfs",
			}
		}
	}
	return &credential{login: a.login, file: m.file(), heir: a.heir}, nil
}

// appRole is AppRole at work. It is used by one goroutine at a time.
type appRole struct {
	AppRole
	*desk
	heir  *heir
	spent map[string]bool // fingerprints of what this process tried already
}

// login tries the heirs, then the introduction. What can pass by waiting, and an
// alarm, end it: neither must cost another credential.
func (a *appRole) login(ctx context.Context) (grant, error) {
	g, inherited := a.inherit(ctx)
	switch {
	case inherited == nil && g.token != "":
		return g, nil
	case inherited == nil:
	default:
		switch ReasonOf(inherited) {
		case ReasonAmbiguous, ReasonLoginRefused, ReasonExpired:
			a.log.Warn("heir did not get in: trying the introduction", "cause", inherited.Error())
		default:
			return grant{}, inherited
		}
	}
	g, err := a.introduce(ctx)
	if inherited != nil && ReasonOf(err) == ReasonNoToken {
		var e *Error
		errors.As(inherited, &e)
		return grant{}, &Error{Reason: e.Reason, Op: e.Op, Where: e.Where, Hint: hintMint, Err: fmt.Errorf("%w; and there is no introduction: %w", e.Err, err)}
	}
	return g, err
}

// introduce logs in with what somebody else delivered.
func (a *appRole) introduce(ctx context.Context) (grant, error) {
	secret, place, file, err := a.delivered()
	defer file.close()
	if err != nil {
		return grant{}, &Error{Reason: ReasonNoToken, Op: a.reading(), Where: place, Err: err, Hint: hintUnread(err)}
	}
	hash := fingerprint(secret)
	if a.spent[hash] {
		return grant{}, &Error{
			Reason: ReasonNoToken, Op: a.reading(), Where: place,
			Err: errors.New("it is the one that this process has used or found useless"), Hint: hintMint,
		}
	}
	if !a.wrapped() {
		a.log.Info("secret id found", "source", place, "token_hash", hash)
		a.spend(hash, file)
		return a.redeem(ctx, secret)
	}
	a.log.Info("wrapping token found", "file", place, "token_hash", hash)
	parcel := parcel{token: secret, place: place, bound: a.MaxWrapTTL}
	if err := a.examine(ctx, parcel); err != nil {
		if ReasonOf(err) == ReasonIntercepted {
			err = a.unknownIntroduction(parcel, hash, err)
		}
		if reason := ReasonOf(err); reason != ReasonUnreachable && reason != ReasonSealed && reason != ReasonConfig {
			a.spent[hash] = true
		}
		return grant{}, err
	}
	// From here on the token may be spent, whatever becomes of this process.
	a.heir.claimIntroduction(hash)
	secretID, err := a.unwrap(ctx, parcel)
	if ReasonOf(err) == ReasonIntercepted {
		err = a.intercepted(parcel, err)
	}
	if reason := ReasonOf(err); err == nil || reason == ReasonForged {
		a.spend(hash, file) // unwrapped, whatever was inside
	} else if reason != ReasonUnreachable && reason != ReasonSealed {
		a.spent[hash] = true
	}
	if err != nil {
		return grant{}, err
	}
	return a.redeem(ctx, secretID)
}

// hintUnread is what to do about an introduction that could not be read.
func hintUnread(err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Sprintf("let the file belong to user %d, as whom this process runs, and start again: the introduction in it was not used", os.Geteuid())
	}
	return hintMint
}

// delivered returns the introduction and where it was found; the file, if it was
// one, is open.
func (a *appRole) delivered() (secret, place string, file *tokenFile, err error) {
	var variable string
	switch {
	case a.file() != "":
		if file, err = openTokenFile(a.file(), a.log); err != nil {
			return "", a.file(), nil, err
		}
		return file.token, a.file(), file, nil
	case a.UnsafeWrappingToken != "":
		secret, variable = a.UnsafeWrappingToken, "the environment's wrapping token"
	default:
		secret, variable = a.UnsafeSecretID, "the environment's SecretID"
	}
	if secret, err = parseToken([]byte(secret)); err == nil && !a.spent[fingerprint(secret)] {
		a.log.Warn("introduction comes from the environment: whoever may look at this process reads it", "source", variable)
	}
	return secret, variable, nil, err
}

// spend remembers that a credential is used up and empties its file, so that it
// does not lie about and a restart can say that it was used.
func (a *appRole) spend(hash string, file *tokenFile) {
	a.spent[hash] = true
	file.blank(a.log)
}

// redeem logs in with a SecretID, sent exactly once: it may be good for one use
// only.
func (a *appRole) redeem(ctx context.Context, secretID string) (grant, error) {
	g, err := a.present(ctx, a.Mount, map[string]string{"role_id": a.RoleID, "secret_id": secretID}, true)
	var e *Error
	switch {
	case err == nil:
		return g, nil
	case !errors.As(err, &e):
		return grant{}, err
	case e.Reason == ReasonLoginRefused && wire.Status(err) != 0:
		e.Hint = "check the RoleID (sallyport provision roles prints it), the role's CIDR bounds and its SecretID limits, then " + hintMint
	case e.Reason == ReasonLoginRefused:
	case untouched(err):
		e.Hint = "the SecretID is lost with this process: " + hintMint
	default:
		return grant{}, a.ambiguous("logging in", secretID, err)
	}
	return grant{}, e
}

// unknownIntroduction says what it means that Vault does not know the wrapping
// token that was delivered. Vault's answer is the same whether it was used, has
// expired or never was; what else is known tells more.
func (a *appRole) unknownIntroduction(p parcel, hash string, err error) error {
	if claimed, done := a.heir.claimedIntroduction(hash); !claimed.IsZero() {
		when := claimed.UTC().Format(time.RFC3339)
		if done {
			return &Error{
				Reason: ReasonNoToken, Op: a.reading(), Where: p.place, Hint: hintMint,
				Err: fmt.Errorf("an earlier start of this process used it at %s: %w", when, err),
			}
		}
		a.log.Error("wrapping token is not known to vault: an earlier start of this process was ended while it used it",
			"event", "introduction_ambiguous", "token_hash", hash, "claimed_at", when, "what_to_do", hintMint)
		return &Error{
			Reason: ReasonAmbiguous, Op: "looking up the wrapping token", Where: "of " + p.place, Err: err,
			Hint: "an earlier start was ended at " + when + " while it used the token, which explains it: " + hintMint,
		}
	}
	// Since the file was written, any token that would be accepted has expired.
	if info, statErr := os.Stat(p.place); statErr == nil && a.cfg.Now().Sub(info.ModTime()) > p.bound+clockSkew {
		return a.expired(p, fmt.Errorf("the file was written at %s, and a token may live %s: %w",
			info.ModTime().UTC().Format(time.RFC3339), p.bound, err))
	}
	return a.intercepted(p, err)
}
