package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/introduce/swarm"
)

// maxToken is more than any Vault token has, also one that is a JWT.
const maxToken = 16 << 10

// tokenSource is a Vault token in a file that somebody else keeps fresh: the sink
// of an agent, which writes another one whenever it logs in anew. So the file is
// read each time. It is safe for concurrent use.
type tokenSource struct {
	file   string
	server vaultpki.Server

	mu   sync.Mutex       // guards the rest
	held string           // the token of last
	last *vaultpki.Client // its client, with open connections
}

// client returns a client with the token that the file holds now.
func (s *tokenSource) client(context.Context) (swarm.Vault, error) {
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
