package sidecar

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/relay"
)

// verdict is what became of a request that asks to be let in.
type verdict struct {
	status int // of a refusal
	err    error
	card   *header.Card // of an application with names of its own; else nil
	health bool         // it is for the sidecar itself
}

// refused is the verdict of a refusal, whose reason it notes.
func refused(record *accesslog.Record, status int, reason string, err error) verdict {
	record.Reason = reason
	return verdict{status: status, err: err}
}

// admit decides whether a request comes from the gateway and is unambiguous. It changes
// nothing in r.
func (s *Sidecar) admit(r *http.Request, record *accesslog.Record) verdict {
	if r.TLS == nil {
		return refused(record, http.StatusForbidden, "no_tls", errors.New("request without TLS"))
	}
	peer, err := s.cfg.PeerName(*r.TLS)
	if err != nil {
		return refused(record, http.StatusForbidden, "no_peer", err)
	}
	record.Rule = "peer:" + peer
	switch { // no gateway sends these, and an application may read them as another request
	case !relay.ValidMethod(r.Method):
		return refused(record, http.StatusMethodNotAllowed, "method", errors.New("method is none that a gateway sends"))
	case !relay.ValidTarget(r):
		return refused(record, http.StatusBadRequest, "path", errors.New("target is none that a gateway sends"))
	}
	if s.cfg.HealthPath != "" && r.URL.Path == s.cfg.HealthPath {
		record.Decision, record.Reason = accesslog.DecisionAllow, "health"
		return verdict{health: true}
	}
	if err := header.Check(r.Header); err != nil {
		return refused(record, http.StatusBadRequest, "ambiguous_header", err)
	}
	if record.RequestID = r.Header.Get(header.RequestID); !s.cfg.NoUsers {
		record.User = header.PersonOf(r.Header)
	}
	who, v := s.identify(r, record)
	if v.err != nil {
		return v
	}
	if err := s.cfg.Access.Err(); err != nil { // tried again with this refusal's own line
		return refused(record, http.StatusServiceUnavailable, "access_log", err)
	}
	if s.cfg.Headers != nil {
		if v.card, err = s.cfg.Headers.Card(who); err != nil {
			return refused(record, http.StatusForbidden, "identity_value", err)
		}
	}
	record.Decision, record.Reason = accesslog.DecisionAllow, "gateway"
	return v
}

// identify returns who a request is of: by its assertion if one is demanded, else as the
// gateway says.
func (s *Sidecar) identify(r *http.Request, record *accesslog.Record) (header.Identity, verdict) {
	if s.cfg.Assertions == nil {
		if s.cfg.Headers == nil {
			return header.Identity{}, verdict{} // nobody asks
		}
		return header.Told(r.Header), verdict{}
	}
	token := r.Header.Get(header.Assertion)
	if token == "" {
		return header.Identity{}, refused(record, http.StatusForbidden, "assertion_missing", errors.New("request without an assertion"))
	}
	claims, err := s.cfg.Assertions.Verify(token, r.TLS.PeerCertificates[0].Raw)
	if err == nil {
		err = sameUser(r.Header, claims.Subject)
	}
	if err != nil {
		record.User = "" // it is not known who that is
		return header.Identity{}, refused(record, http.StatusForbidden, "assertion_refused", err)
	}
	return header.Identity{User: claims.Subject, Email: claims.Email, Name: claims.Name, Groups: claims.Groups}, verdict{}
}

// sameUser says whether the gateway's headers are of whom its assertion is.
func sameUser(in http.Header, subject string) error {
	person, user := in.Get(header.Person), in.Get(header.User)
	if cmp.Or(person, user) == "" {
		return fmt.Errorf("assertion comes without %s", header.User)
	}
	if person != "" && person != header.Encode(subject) || user != "" && !header.Says(user, subject) {
		return fmt.Errorf("assertion is of another person than %s", header.User)
	}
	return nil
}
