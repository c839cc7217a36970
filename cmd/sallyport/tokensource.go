package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/introduce/swarm"
)

// maxToken is more than any Vault token has, also one that is a JWT.
const maxToken = 16 << 10

// tokenSource is a Vault token in a file that somebody else writes: the sink of an
// agent, which writes another one whenever it logs in anew. So the file is read
// each time. Meanwhile the token is renewed, for those who write it once. It is
// safe for concurrent use.
type tokenSource struct {
	file   string
	server vaultpki.Server
	log    *slog.Logger

	changed chan struct{} // has an entry when another token is in the file

	mu   sync.Mutex       // guards the rest
	held string           // the token of last
	last *vaultpki.Client // its client, with open connections
}

func newTokenSource(file string, server vaultpki.Server, log *slog.Logger) *tokenSource {
	return &tokenSource{file: file, server: server, log: log, changed: make(chan struct{}, 1)}
}

// Pace of renewals of a token in a file: at half of its life, but the file is
// looked at more often, because another token may be in it.
const (
	tokenLook  = 30 * time.Second
	tokenPause = time.Second
)

// tokenRenewal is what run knows of the token that it renewed last.
type tokenRenewal struct {
	client *vaultpki.Client
	due    time.Time // of the next one
	cause  string    // why there was none, as it was told
}

// run renews the token of the file until ctx ends, then returns nil. A token that
// cannot be renewed is whoever's who writes the file, and is told of once.
func (s *tokenSource) run(ctx context.Context) error {
	var last tokenRenewal
	for {
		last = s.renew(ctx, last)
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
		case <-time.After(min(tokenLook, max(time.Until(last.due), tokenPause))):
		}
	}
}

// renew renews the token that is in the file now, if that is due.
func (s *tokenSource) renew(ctx context.Context, last tokenRenewal) tokenRenewal {
	client, err := s.current()
	if err == nil && client == last.client && time.Now().Before(last.due) {
		return last
	}
	next := tokenRenewal{client: client, due: time.Now().Add(tokenLook), cause: last.cause}
	var ttl time.Duration
	if err == nil {
		ttl, err = client.Renew(ctx)
	}
	switch {
	case err == nil:
		next.due, next.cause = time.Now().Add(ttl/2), ""
	case ctx.Err() == nil && err.Error() != last.cause:
		next.cause = err.Error()
		s.log.Warn("the token of the file is not renewed: whoever writes it has to keep it fresh", "cause", next.cause)
	}
	return next
}

// client returns a client with the token that the file holds now.
func (s *tokenSource) client(context.Context) (swarm.Vault, error) {
	client, err := s.current()
	if err != nil {
		return nil, err // and no client that is a nil pointer
	}
	return client, nil
}

// current is client without the interface.
func (s *tokenSource) current() (*vaultpki.Client, error) {
	token, err := readTokenOf(s.file)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && token == s.held {
		return s.last, nil
	}
	client, err := vaultpki.WithToken(s.server, token)
	if err != nil {
		return nil, err
	}
	if s.last != nil {
		s.last.Close() // idle connections only: calls in flight go on
	}
	s.held, s.last = token, client
	select {
	case s.changed <- struct{}{}:
	default: // run has not looked yet
	}
	return client, nil
}

// fault says why the file is of no use now, or nil.
func (s *tokenSource) fault() error {
	_, err := readTokenOf(s.file)
	return err
}

func (s *tokenSource) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil {
		s.last.Close()
	}
}

// readTokenOf reads a token, which no error shows.
func readTokenOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", &vaultpki.Error{Reason: vaultpki.ReasonNoToken, Op: "reading the Vault token", Err: err, Hint: hintTokenFile}
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	token := strings.TrimSpace(string(content))
	switch {
	case err != nil:
	case token == "":
		err = errors.New("the file is empty")
	case len(content) > maxToken:
		err = fmt.Errorf("the file has more than %d bytes", maxToken)
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		err = errors.New("the file holds something else than one token")
	}
	if err != nil {
		return "", &vaultpki.Error{Reason: vaultpki.ReasonNoToken, Op: "reading the Vault token", Where: "of " + file, Err: err, Hint: hintTokenFile}
	}
	return token, nil
}

// hintTokenFile is what to do about a token file that is of no use.
const hintTokenFile = "have a Vault Agent write its token there, or write one yourself: it needs the policy that `sallyport introduce policy` prints" //nolint:gosec // words, not a credential
