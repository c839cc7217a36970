package vaultpki

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// TokenFile takes the token that somebody else writes to a file: a Vault agent's
// sink. The file is read again as soon as it changes, and when the token in it
// is dead.
//
// Such a token is not renewed unless Renew is set: an agent renews what it
// wrote, and two that renew hide each other's failures. Instead it is looked up
// before its life is over, to learn how far it was extended.
type TokenFile struct {
	// File holds the token on one line. Required.
	File string
	// Renew says that nobody else renews the token.
	Renew bool
}

// Name implements [Method].
func (TokenFile) Name() string { return "token-file" }

func (m TokenFile) check(Server) (Method, error) {
	if m.File == "" {
		return m, errors.New("token file: none given")
	}
	return m, nil
}

func (m TokenFile) open(d *desk) (*credential, error) {
	login := func(ctx context.Context) (grant, error) {
		token, err := readTokenFile(m.File, d.log)
		if err != nil {
			return grant{}, &Error{
				Reason: ReasonNoToken, Op: "reading the token", Where: m.File, Err: err,
				Hint: "look whether the agent that writes the file runs and is logged in",
			}
		}
		return m.take(ctx, d, token)
	}
	return &credential{login: login, file: m.File, live: true, again: true}, nil
}

// take asks Vault what the token is, which tells whether it is one.
func (m TokenFile) take(ctx context.Context, d *desk, token string) (grant, error) {
	var info tokenInfo
	var asked time.Time
	err := d.patience().do(ctx, "looking up the token", func(ctx context.Context) (err error) {
		asked = time.Now()
		info, err = lookupSelf(ctx, d.wire, token)
		return err
	})
	if err != nil {
		if status := wire.Status(err); status >= 400 && status < 500 && !wire.MaySucceedLater(err) {
			return grant{}, &Error{
				Reason: ReasonLoginRefused, Op: "looking up the token", Where: "of " + m.File, Err: err,
				Hint: "look whether the agent that writes the file is logged in; its token needs read on " + lookupSelfPath,
			}
		}
		return grant{}, Classify("looking up the token", "of "+m.File, err)
	}
	g := grant{
		token: token, accessor: info.accessor, policies: info.policies, ttl: info.ttl, usual: info.ttl,
		since: asked, expires: asked.Add(info.ttl), renewable: info.renewable && m.Renew,
	}
	if err := g.judge(d.cfg.UnsafeRootToken); err != nil {
		return grant{}, &Error{Reason: ReasonLoginRefused, Op: "judging the token", Where: "of " + m.File, Err: err, Hint: hintGrant}
	}
	if info.uses > 0 {
		return grant{}, &Error{
			Reason: ReasonLoginRefused, Op: "judging the token", Where: "of " + m.File,
			Err: fmt.Errorf("it is good for %d more uses: expected one without that bound", info.uses), Hint: hintGrant,
		}
	}
	return g, nil
}
