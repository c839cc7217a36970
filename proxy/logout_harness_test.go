package proxy_test

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/saml"
)

const (
	idpLogout   = "https://idp.example.org/slo"
	idpEntityID = "https://idp.example.org"
	ourEntityID = "https://door.example.org/saml/metadata"
)

// scriptedLogout is the part of a scriptedSAML that signs out: it believes what the
// test has written down, whatever the message says.
type scriptedLogout struct {
	mu      sync.Mutex
	binding saml.Binding // how it takes logout messages; BindingAny: not at all
	fault   error        // of BeginLogout
	demand  *saml.LogoutRequest
	reply   *saml.LogoutResponse
	asked   []askedLogout
	// answered are the LogoutResponses that it was sent.
	answered int
}

// askedLogout is what BeginLogout was given.
type askedLogout struct {
	subject               saml.Subject
	index, relayState, id string
}

// script sets what the identity provider says from now on.
func (s *scriptedLogout) script(change func(*scriptedLogout)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// last is the latest logout request of ours, and how many there were.
func (s *scriptedLogout) last() (askedLogout, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == 0 {
		return askedLogout{}, 0
	}
	return s.asked[len(s.asked)-1], len(s.asked)
}

func (s *scriptedLogout) message(field, id, relayState string) (saml.Message, error) {
	m := saml.Message{ID: id, URL: idpLogout}
	switch s.binding {
	case saml.BindingAny:
		return saml.Message{}, saml.ErrNoLogout
	case saml.BindingPost:
		m.Form = []saml.FormField{{Name: field, Value: "eA=="}, {Name: "RelayState", Value: relayState}}
	case saml.BindingRedirect:
		m.URL += "?" + url.Values{field: {"eA=="}, "RelayState": {relayState}}.Encode()
	}
	return m, nil
}

func (s *scriptedLogout) BeginLogout(subject saml.Subject, index, relayState string) (saml.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != nil {
		return saml.Message{}, s.fault
	}
	asked := askedLogout{subject: subject, index: index, relayState: relayState, id: "_" + session.NewID()}
	s.asked = append(s.asked, asked)
	return s.message("SAMLRequest", asked.id, relayState)
}

var errDistrusted = &saml.Refusal{Code: saml.CodeSignature, Err: errors.New("private detail of the message")}

func (s *scriptedLogout) VerifyLogoutRequest(_ context.Context, _ saml.LogoutMessage, trace *saml.Trace) (*saml.LogoutRequest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.demand == nil {
		return nil, errDistrusted
	}
	trace.Certificate = "5d41"
	return s.demand, nil
}

func (s *scriptedLogout) VerifyLogoutResponse(_ context.Context, _ saml.LogoutMessage, requestID string, trace *saml.Trace) (*saml.LogoutResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reply == nil || len(s.asked) == 0 || s.asked[len(s.asked)-1].id != requestID {
		return nil, errDistrusted
	}
	trace.Certificate = "5d41"
	return s.reply, nil
}

func (s *scriptedLogout) AnswerLogout(r *saml.LogoutRequest) (saml.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered++
	return s.message("SAMLResponse", "_answer", r.RelayState)
}

// logoutXML is a message as far as it has to be read before it is verified.
func logoutXML(kind, issuer string) string {
	return `<samlp:` + kind + ` xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"><saml:Issuer xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">` +
		issuer + `</saml:Issuer></samlp:` + kind + `>`
}

// logoutForm is a message of an identity provider as a browser posts it.
func logoutForm(kind, issuer, relayState string) url.Values {
	field := "SAMLResponse"
	if kind == "LogoutRequest" {
		field = "SAMLRequest"
	}
	return url.Values{field: {base64.StdEncoding.EncodeToString([]byte(logoutXML(kind, issuer)))}, "RelayState": {relayState}}
}

// deflated is a message as it stands in a query.
func deflated(tb testing.TB, message string) string {
	tb.Helper()
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write([]byte(message)); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(packed.Bytes())
}

// demandLogout has the identity provider demand that sessions of a person end,
// through a browser that has no cookie of ours.
func (w *world) demandLogout(nameID string, indexes ...string) answer {
	w.tb.Helper()
	w.saml.script(func(s *scriptedLogout) {
		s.demand = &saml.LogoutRequest{ID: "_" + session.NewID(), RelayState: "theirs", Subject: saml.Subject{NameID: nameID}, SessionIndexes: indexes}
	})
	return w.browser().post(w.origin(doorHost)+"/saml/slo", "cross-site", logoutForm("LogoutRequest", idpEntityID, "theirs"))
}
