package session

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
)

// logIDs makes what logs call things by whose names nobody must learn from a log: sessions,
// people at their identity providers, assertions. Each is HMAC-SHA256 under a key that is
// derived from the session key, cut to 80 bits: replicas agree, lines join, and whoever has
// a log alone can neither find a name nor try one.
//
// The key changes when the session key does. A session keeps what it was called when it
// began, since its state has it; anything else is called otherwise from then on.
type logIDs []byte

// logIDsLabel separates this key from those that seal; see purpose.
const logIDsLabel = "sallyport/v1/log-ids"

// newLogIDs derives the key (HKDF-SHA256, RFC 5869) from the session key that seals.
func newLogIDs(keys Keys) (logIDs, error) {
	key, err := hkdf.Key(sha256.New, keys.Current, nil, logIDsLabel, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of log ids: %w", err)
	}
	return key, nil
}

// The kinds of things, so that one that is named like another is not called like it.
const (
	logSession   = "session"
	logSubject   = "subject"
	logAssertion = "assertion"
)

// logText is what ids are written with: like request ids, they may be read aloud.
const logText = "abcdefghijklmnopqrstuvwxyz234567"

// of returns what logs call a thing; empty for one without a name.
func (k logIDs) of(kind, name string) string {
	if name == "" {
		return ""
	}
	mac := hmac.New(sha256.New, k)
	mac.Write([]byte(kind))
	mac.Write([]byte{0}) // which is part of no kind
	mac.Write([]byte(name))
	return base32.NewEncoding(logText).EncodeToString(mac.Sum(nil)[:10])
}

// LogSubject is what logs call whoever has that State.Subject.
func (m *Manager) LogSubject(subject string) string { return m.logIDs.of(logSubject, subject) }

// LogAssertion is what logs call the assertion of that id.
func (m *Manager) LogAssertion(id string) string { return m.logIDs.of(logAssertion, id) }

// named gives a session its name in logs that has none yet: it has just begun, or was
// sealed before there were such names.
func (m *Manager) named(s *State) *State {
	if s.Log == "" {
		s.Log = m.logIDs.of(logSession, s.ID)
	}
	return s
}
