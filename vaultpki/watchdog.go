package vaultpki

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

const (
	lookupSelfPath = "auth/token/lookup-self"
	// suspicionEvery is how often a token that is alive is looked up because of
	// refusals.
	suspicionEvery = 10 * time.Second
	// replacementBound is how long a call waits for another token.
	replacementBound = 5 * time.Second
	// denialEvery is how often a path that is denied is told of, and maxDenials how
	// many paths are in that time.
	denialEvery = time.Hour
	maxDenials  = 256
)

// watchdog tells a token that is dead from a path that is denied: Vault answers
// both with 403.
type watchdog struct {
	// turn holds one message: who has taken it looks the token up, and the
	// others wait for what he finds.
	turn chan struct{}
	// The token that was found alive, and when. Owned by who has the turn.
	token string
	alive time.Time

	mu      sync.Mutex           // guards denials
	denials map[string]time.Time // by path, when it was told of
}

func newWatchdog() watchdog {
	return watchdog{turn: make(chan struct{}, 1), denials: map[string]time.Time{}}
}

// do makes one call with the current token. If Vault refuses it because the
// token is dead, the call waits for the next token and is made once more.
func (c *Client) do(ctx context.Context, call wire.Call) (*api.Secret, error) {
	g, err := c.usable(ctx)
	if err != nil {
		return nil, err
	}
	call.Token = g.token
	secret, err := c.send(ctx, call)
	if !isForbidden(err) || c.auth == nil {
		c.allowed(call.Path, err)
		return secret, err
	}
	switch c.suspect(ctx, g, err) {
	case alive:
		c.denied(call.Path, err)
		return nil, err
	case undecided:
		return nil, err
	case dead:
	}
	if g, err = c.usable(ctx); err != nil {
		return nil, err
	}
	call.Token = g.token
	return c.send(ctx, call)
}

// Probe asks Vault whether the token is still good, for a process that has little
// else to ask: one that was revoked is then noticed, and replaced by [Client.Run].
// Nothing is asked if the token's policies do not let it look itself up. It is safe
// for concurrent use.
func (c *Client) Probe(ctx context.Context) error {
	if c.blind.Load() {
		return nil
	}
	_, err := c.do(ctx, wire.Call{Method: http.MethodGet, Path: lookupSelfPath})
	return err
}

// send makes one call, unless Vault is known to be away. What is signed, and what is
// urgent, is asked for all the same: it has an end of its own to fear, and its asker a
// pace that fits it.
func (c *Client) send(ctx context.Context, call wire.Call) (*api.Secret, error) {
	if call.Method == http.MethodGet && !call.Urgent {
		if err := c.outage.enter(); err != nil {
			return nil, err
		}
	}
	secret, err := c.wire.Do(ctx, call)
	c.outage.saw(err)
	return secret, err
}

// usable returns a token that is not known to be dead, and waits a while for one
// if Run is about to get it.
func (c *Client) usable(ctx context.Context) (grant, error) {
	ctx, cancel := context.WithTimeout(ctx, replacementBound)
	defer cancel()
	for {
		c.mu.Lock()
		g, lost, running, turned := c.grant, c.lost, c.running, c.turned
		c.mu.Unlock()
		if lost == nil {
			return g, nil
		}
		if !running {
			return grant{}, tokenLost(lost.cause)
		}
		select {
		case <-turned:
		case <-ctx.Done():
			return grant{}, tokenLost(lost.cause)
		}
	}
}

// verdict is what is known of a token that was refused.
type verdict int

const (
	undecided verdict = iota // Vault was not asked, or did not say
	alive
	dead
)

// suspect finds out whether the token that was refused is dead. Those who come
// while one looks it up share the answer.
func (c *Client) suspect(ctx context.Context, g grant, refusal error) verdict {
	select {
	case c.dog.turn <- struct{}{}:
		defer func() { <-c.dog.turn }()
	case <-ctx.Done():
		return undecided
	}
	switch {
	case c.current().token != g.token, c.loss() != nil:
		return dead // somebody else found out
	case c.dog.token == g.token && time.Since(c.dog.alive) < suspicionEvery:
		return alive
	}
	if c.blind.Load() {
		if !isInvalidToken(refusal) {
			return alive
		}
		c.lose(g.token, refusal, !g.dead())
		return dead
	}
	switch _, err := c.lookup(ctx, g.token); {
	case err == nil:
		c.dog.token, c.dog.alive = g.token, time.Now()
		return alive
	case isForbidden(err):
		c.lose(g.token, err, !g.dead())
		return dead
	}
	return undecided
}

// denied raises an alarm for one path that is denied to a living token: the
// token stays, and whoever reads the path keeps what he read last.
func (c *Client) denied(path string, err error) {
	if !c.dog.tells(path) {
		return
	}
	c.log.Error("vault denies a path to a token that is alive: its policies do not have the path",
		"event", "access_denied", "path", path, "cause", causeOf(err),
		"what_to_do", "grant the path in the role's policy, or find out who took it away")
}

// tells says whether a denied path is to be told of now: every denialEvery, and
// no more than maxDenials paths in that time.
func (d *watchdog) tells(path string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	stale := func(_ string, told time.Time) bool { return time.Since(told) >= denialEvery }
	told, known := d.denials[path]
	if known && !stale(path, told) {
		return false
	}
	if !known && len(d.denials) >= maxDenials {
		maps.DeleteFunc(d.denials, stale)
		if len(d.denials) >= maxDenials {
			return false
		}
	}
	d.denials[path] = time.Now()
	return true
}

// allowed ends the alarm for a path.
func (c *Client) allowed(path string, err error) {
	if err != nil && wire.Status(err) != http.StatusNotFound {
		return
	}
	c.dog.mu.Lock()
	defer c.dog.mu.Unlock()
	if _, ok := c.dog.denials[path]; ok {
		delete(c.dog.denials, path)
		c.log.Info("vault allows a path again", "path", path)
	}
}

// tokenLost says that there is no token.
func tokenLost(cause error) *Error {
	if cause == nil {
		cause = errors.New("no cause is known")
	}
	return &Error{Reason: ReasonTokenLost, Op: "keeping the vault token alive", Err: cause, Hint: hintLost}
}
