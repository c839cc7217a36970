package vaultpki

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Heir says where a process keeps the credential of its next login, which it has
// Vault make with its own token: a wrapped, single-use SecretID of its own role.
// The role's policies must allow that and nothing of the kind for another role.
type Heir struct {
	// File is where the wrapping tokens are kept; "" for no heir. Its folder
	// must be on tmpfs or ramfs, and writable by this process alone.
	File string
	// TTL is the life that is asked for; default 24 hours. It bounds how long
	// the process may be down and still come back by itself.
	TTL time.Duration
	// UnsafeOnDisk permits any file system: then whoever gets hold of the disk
	// can log in as this process.
	UnsafeOnDisk bool
}

const (
	defaultHeirTTL = 24 * time.Hour
	// heirs is how many are kept: the newest, and one before it as a spare.
	heirs = 2
	// heirPause is the part of an heir's life for which a renewal of the token
	// brings no other: else tokens of a minute would fill Vault with SecretIDs.
	heirPause = 24
)

func (h Heir) check() (Heir, error) {
	if h.TTL == 0 {
		h.TTL = defaultHeirTTL
	}
	if h.TTL < time.Second {
		return h, fmt.Errorf("life of an heir %s: expected at least 1s", h.TTL)
	}
	if h.File == "" && h.UnsafeOnDisk {
		return h, errors.New("heir on disk: expected an heir file")
	}
	return h, nil
}

// heir keeps the credentials of the next login in a file. Its methods may be
// called on nil, which keeps none; they are called by one goroutine at a time,
// but for ends, which anybody may call.
//
// A process may be killed between any two steps, so the file always holds a way
// back. It is replaced as a whole, by a rename, and only by the process that has
// the lock beside it.
//
//	step                          the file holds        a kill after it leaves
//	before the login              [A, B]                A, untouched
//	lookup of A                   [A, B]                A: a lookup uses nothing up
//	A is claimed                  [A claimed, B]        A if Vault still knows it, else B
//	unwrap of A                   [A claimed, B]        B: Vault does not know A, and the claim says why
//	login with A's SecretID       [A claimed, B]        B, as above; the token is lost and ends by itself
//	C is minted                   [A claimed, B]        B, as above; C is lost and ends by itself
//	C is kept                     [C, B]                C, untouched
//
// So an heir that is unknown to Vault raises the interception alarm unless it was
// claimed, and then no heir of that file is used again: whoever read one read
// both. An introduction is claimed in the same file, so that a start that was
// killed in the middle of it is not taken for a theft by the next.
type heir struct {
	file  string
	role  Minting
	lock  *os.File
	log   *slog.Logger
	now   func() time.Time
	retry *backoff.ExponentialBackOff

	due    time.Time // of the next minting; zero leaves it to the token's renewal
	denied bool      // Vault refused the last minting, which was told

	mu    sync.Mutex // guards the rest
	state heirState
	kept  heirState // what the file holds
	lags  bool      // the last write failed, which was told
}

// openHeir takes the lock and reads what an earlier process left.
func openHeir(m AppRole, d *desk) (*heir, error) {
	h := &heir{
		file: m.Heir.File, log: d.log, now: d.cfg.Now, retry: newDelays(time.Second, time.Minute),
		role: Minting{AuthMount: m.Mount, Role: m.Role, WrapTTL: m.Heir.TTL},
	}
	if err := checkPlace(m.Heir.File, m.Heir.UnsafeOnDisk); err != nil {
		return nil, err
	}
	if m.Heir.UnsafeOnDisk {
		d.log.Warn("heir may be kept on disk: whoever gets hold of it can log in as this process", "flag", "--unsafe-heir-on-disk", "file", h.file)
	}
	var err error
	if h.lock, err = lockFile(m.Heir.File + ".lock"); err != nil {
		return nil, err
	}
	if err := clearUnfinished(m.Heir.File); err != nil {
		d.log.Debug("what earlier processes left beside the heir file was not removed", "file", h.file, "cause", err.Error())
	}
	if h.state, err = readHeirs(m.Heir.File); err != nil {
		// What is there cannot be trusted, and the introduction still can.
		d.log.Warn("heir file is of no use: it is not looked at, and written anew after the login", "file", h.file, "cause", err.Error())
	}
	h.kept = h.state.clone()
	return h, nil
}

// close lets another process have the file.
func (h *heir) close() {
	if h != nil {
		h.lock.Close()
	}
}

// next returns the heir to try, false if there is none.
func (h *heir) next() (heirToken, bool) {
	if h == nil || len(h.state.Heirs) == 0 {
		return heirToken{}, false
	}
	return h.state.Heirs[0], true
}

// ends returns until when a login with an heir is possible, after a restart too;
// zero if it is not.
func (h *heir) ends() time.Time {
	var last time.Time
	if h == nil {
		return last
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.state.Heirs {
		if t.Claimed.IsZero() && h.kept.holds(t.Token) && t.Ends.After(last) {
			last = t.Ends
		}
	}
	return last
}

// change changes the state and keeps it. If it cannot be kept, the old file
// stays, and what is in memory is what counts until this process ends.
func (h *heir) change(change func(s *heirState)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.state)
	err := writeHeirs(h.file, h.state)
	switch {
	case err == nil && h.lags:
		h.log.Info("heir file is written again", "file", h.file)
	case err != nil && !h.lags:
		h.log.Error("heir file was not written: a restart will need another introduction", "file", h.file, "cause", err.Error())
	}
	if h.lags = err != nil; !h.lags {
		h.kept = h.state.clone()
	}
}

// claim says that t may be spent from now on.
func (h *heir) claim(t heirToken) {
	h.change(func(s *heirState) {
		for i := range s.Heirs {
			if s.Heirs[i].Token == t.Token {
				s.Heirs[i].Claimed = h.now()
			}
		}
	})
}

// drop forgets an heir that is of no use.
func (h *heir) drop(t heirToken) { h.change(func(s *heirState) { s.remove(t.Token) }) }

// disown forgets all heirs: one of them was in other hands.
func (h *heir) disown() { h.change(func(s *heirState) { s.Heirs = nil }) }

// claimIntroduction says that the introduction may be spent from now on.
func (h *heir) claimIntroduction(hash string) {
	if h != nil {
		h.change(func(s *heirState) { s.Introduction = &claim{Hash: hash, At: h.now()} })
	}
}

// claimedIntroduction says when an earlier start claimed this introduction, and
// whether it got in with it.
func (h *heir) claimedIntroduction(hash string) (at time.Time, done bool) {
	if h == nil || h.state.Introduction == nil || h.state.Introduction.Hash != hash {
		return time.Time{}, false
	}
	return h.state.Introduction.At, h.state.Introduction.Done
}

// inherit logs in with an heir. No grant and no error say that there is none.
func (a *appRole) inherit(ctx context.Context) (grant, error) {
	var failed error
	for {
		t, ok := a.heir.next()
		if !ok {
			return grant{}, failed
		}
		g, err := a.inheritFrom(ctx, t)
		switch ReasonOf(err) {
		case ReasonUnknown:
			return g, err
		case ReasonAmbiguous, ReasonLoginRefused, ReasonExpired:
			a.heir.drop(t)
			failed = err
		case ReasonIntercepted, ReasonForged:
			a.heir.disown()
			return grant{}, err
		default: // it may pass, and the heir is still there
			return grant{}, err
		}
	}
}

// inheritFrom logs in with one heir, by the steps of an introduction.
func (a *appRole) inheritFrom(ctx context.Context, t heirToken) (grant, error) {
	p := parcel{token: t.Token, place: a.heir.file, bound: max(a.Heir.TTL, defaultHeirTTL), heir: true}
	a.log.Info("heir found", "file", a.heir.file, "token_hash", fingerprint(t.Token), "ends", t.Ends)
	err := a.examine(ctx, p)
	if ReasonOf(err) == ReasonIntercepted {
		return grant{}, a.unknownHeir(p, t, err)
	}
	if err != nil {
		return grant{}, err
	}
	a.heir.claim(t)
	secretID, err := a.unwrap(ctx, p)
	if ReasonOf(err) == ReasonIntercepted {
		return grant{}, a.intercepted(p, err)
	}
	if err != nil {
		return grant{}, err
	}
	return a.redeem(ctx, secretID)
}

// unknownHeir says what it means that Vault does not know an heir. Only then is
// our clock asked whether it has ended: a clock that is wrong at a start must not
// cost an heir that Vault would take.
func (a *appRole) unknownHeir(p parcel, t heirToken, err error) error {
	switch {
	case !a.cfg.Now().Before(t.Ends):
		return a.expired(p, fmt.Errorf("the heir ended at %s: %w", t.Ends.UTC().Format(time.RFC3339), err))
	case !t.Claimed.IsZero():
		return a.halfUsed(p, t, err)
	}
	return a.intercepted(p, err)
}

// halfUsed reports an heir that is spent because a process was ended, or lost
// Vault, while it used it.
func (a *appRole) halfUsed(p parcel, t heirToken, err error) error {
	when := t.Claimed.UTC().Format(time.RFC3339)
	a.log.Warn("heir is spent: a process was ended, or lost vault, while it logged in with it",
		"event", "heir_half_used", "token_hash", fingerprint(p.token), "claimed_at", when, "file", p.place,
		"what_to_do", "nothing, if a start of this process was ended at that time; otherwise "+hintIntercept)
	return &Error{
		Reason: ReasonAmbiguous, Op: "looking up the wrapping token", Where: "of " + p.place,
		Err: fmt.Errorf("an earlier login claimed it at %s and did not come to its end: %w", when, err), Hint: hintMint,
	}
}

// refill has an heir minted, and a second one if there is no spare, and keeps
// them. It is called after each login and each renewal of the token.
func (h *heir) refill(ctx context.Context, mint func(context.Context, Minting) (Wrapped, error)) {
	if h == nil {
		return
	}
	h.change(func(s *heirState) {
		s.tidy()
		if s.Introduction != nil {
			s.Introduction.Done = true
		}
	})
	if h.state.living(h.now()) >= heirs && h.state.Heirs[0].isYoung(h.now()) {
		return
	}
	for minted := 0; minted == 0 || h.state.living(h.now()) < heirs && minted < heirs; minted++ {
		asked := h.now()
		wrapped, err := mint(ctx, h.role)
		if err != nil {
			h.unminted(ctx, err)
			return
		}
		// Vault may grant less than was asked for; its own count begins later.
		h.change(func(s *heirState) {
			s.add(heirToken{Token: wrapped.Token, Minted: asked, Ends: asked.Add(wrapped.TTL)})
		})
	}
	newest := h.state.Heirs[0]
	h.due = newest.Minted.Add(renewalPoint(newest.life()))
	h.retry.Reset()
	if h.denied {
		h.denied = false
		h.log.Info("heir may be minted again")
	}
	if h.lags {
		return // the heir is in memory alone, and that was told
	}
	h.log.Info("heir minted", "file", h.file, "token_hash", fingerprint(newest.Token), "ends", newest.Ends, "next", h.due)
}

// unminted says why there is no new heir. A policy is told of once.
func (h *heir) unminted(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if wire.Status(err) != http.StatusForbidden {
		delay := max(h.retry.NextBackOff(), wire.RetryAfter(err))
		h.due = h.now().Add(delay)
		h.log.Warn("heir was not minted", "cause", causeOf(err), "next_try", delay.Round(time.Millisecond).String(), "heir_ends", h.ends())
		return
	}
	h.due = time.Time{}
	if !h.denied {
		h.denied = true
		h.log.Warn("heir may not be minted: a restart, and a token that ends, will need another introduction",
			"cause", causeOf(err), "what_to_do", fmt.Sprintf(
				"grant the role a policy: path %q { capabilities = [\"update\"] min_wrapping_ttl = \"1s\" max_wrapping_ttl = %q }",
				secretIDPath(h.role.AuthMount, h.role.Role), h.role.WrapTTL.String()))
	}
}

// renewalPoint is a random point between one half and two thirds of a life.
func renewalPoint(life time.Duration) time.Duration {
	//nolint:gosec // jitter spreads the calls of replicas; it keeps no secret
	return life/2 + rand.N(life/6+1)
}

// outlasts is the shortest time for which an heir will be left if no other can
// be minted from some moment on.
func (h *heir) outlasts() time.Duration {
	if h == nil {
		return 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.state.Heirs) == 0 {
		return 0
	}
	life := h.state.Heirs[0].life()
	return life - life*2/3
}
