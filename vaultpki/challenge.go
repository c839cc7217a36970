package vaultpki

import (
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
)

// answerLife is for how long an answer to a validation is remembered.
const answerLife = time.Second

// isValidation says whether a handshake is an ACME server's.
func isValidation(hello *tls.ClientHelloInfo) bool {
	return slices.Equal(hello.SupportedProtos, []string{acmez.ACMETLS1Protocol})
}

// challenges remembers for a moment what the storage says of validations.
type challenges struct {
	mu      sync.Mutex // guards answers, and each answer's fields until done is closed
	answers map[string]*challengeAnswer
}

// challengeAnswer is what there is for a name, or is being looked for.
type challengeAnswer struct {
	done        chan struct{} // closed once the fields below are set
	certificate *tls.Certificate
	err         error
	given       bool // the search came to its end
	until       time.Time
}

// challengeCertificate answers an ACME server's handshake, whichever replica has
// placed the order. Anybody can open one, and public servers open several at
// once: so names that are not ours are refused unseen, and of ours each is looked
// for in the storage by one handshake at a time, rarely, and the others for that
// name take what it found.
func (c *Certificates) challengeCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(hello.ServerName)
	if !c.expects(name) {
		return nil, fmt.Errorf("answering a validation for %q: there is no such name", hello.ServerName)
	}
	if _, own := certmagic.GetACMEChallenge(name); own {
		return c.magic.GetCertificate(hello)
	}
	for {
		answer, mine := c.challenges.claim(name)
		if mine {
			return c.challenges.fill(hello, answer, c.magic.GetCertificate)
		}
		select {
		case <-answer.done:
			if answer.given {
				return answer.certificate, answer.err
			}
		case <-hello.Context().Done():
			return nil, hello.Context().Err()
		}
	}
}

// expects says whether a name is one of ours, or is about to be.
func (c *Certificates) expects(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.coming, name) || slices.ContainsFunc(c.held, func(h *held) bool { return h.name == name })
}

// claim returns the answer for a name, and whether the caller has to find it.
func (ch *challenges) claim(name string) (answer *challengeAnswer, mine bool) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(ch.answers, func(_ string, a *challengeAnswer) bool { return a.isOver(now) })
	if answer, there := ch.answers[name]; there {
		return answer, false
	}
	answer = &challengeAnswer{done: make(chan struct{})}
	ch.answers[name] = answer
	return answer, true
}

// fill finds the answer. One whose handshake ended meanwhile is none: whoever
// waits for it looks again.
func (ch *challenges) fill(hello *tls.ClientHelloInfo, answer *challengeAnswer, find func(*tls.ClientHelloInfo) (*tls.Certificate, error)) (*tls.Certificate, error) {
	defer func() {
		ch.mu.Lock()
		defer ch.mu.Unlock()
		if answer.given {
			answer.until = time.Now().Add(answerLife)
		}
		close(answer.done)
	}()
	certificate, err := find(hello)
	answer.certificate, answer.err, answer.given = certificate, err, hello.Context().Err() == nil
	return certificate, err
}

// isOver says that an answer is to be looked for anew.
func (a *challengeAnswer) isOver(now time.Time) bool {
	select {
	case <-a.done:
		return !now.Before(a.until)
	default:
		return false
	}
}
