package session

import (
	"encoding/binary"
	"errors"
)

// A state is read on every request, so a cookie holds it in a form of its own,
// which is read ten times as fast as JSON and leaves more room for groups:
//
//	version (1 byte)
//	ID, User, Email, Name, IdP, AuthnContext, Subject, Index: each its length (uvarint), then its bytes
//	AuthnAt, Signed, Expires, Seen: varint
//	number of groups (uvarint), then each group as above
//	Log: its length (uvarint), then its bytes; not in version 2
//
// Nothing may follow. Strings are bytes and come back exactly.

// stateVersion is the first byte; another form gets another one. Sessions go on that the
// version before has sealed.
const (
	stateVersion       = 3
	stateVersionBefore = 2
)

// errMalformed: a state that opened under our keys is not one. It was sealed by
// another version of this program.
var errMalformed = errors.New("sealed value is no session state")

// texts are the fields that are one string, in the order of the form.
func (s *State) texts() [8]*string {
	return [8]*string{&s.ID, &s.User, &s.Email, &s.Name, &s.IdP, &s.AuthnContext, &s.Subject, &s.Index}
}

// times are the fields that are a time, in the order of the form.
func (s *State) times() [4]*int64 {
	return [4]*int64{&s.AuthnAt, &s.Signed, &s.Expires, &s.Seen}
}

// append returns the form of s.
func (s *State) append() []byte {
	dst := []byte{stateVersion}
	for _, text := range s.texts() {
		dst = appendText(dst, *text)
	}
	for _, t := range s.times() {
		dst = binary.AppendVarint(dst, *t)
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.Groups)))
	for _, group := range s.Groups {
		dst = appendText(dst, group)
	}
	return appendText(dst, s.Log)
}

func appendText(dst []byte, text string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

// parseState reads what append wrote, or returns errMalformed. The state's
// strings share the memory of one.
func parseState(raw []byte) (*State, error) {
	if len(raw) == 0 || raw[0] != stateVersion && raw[0] != stateVersionBefore {
		return nil, errMalformed
	}
	s, in := new(State), stateReader{raw: raw[1:], text: string(raw[1:])}
	for _, text := range s.texts() {
		*text = in.string()
	}
	for _, t := range s.times() {
		*t = in.varint()
	}
	n := in.uvarint()
	if n > uint64(len(in.raw)) { // each group takes a byte at least
		return nil, errMalformed
	}
	if n > 0 {
		s.Groups = make([]string, n)
	}
	for i := range s.Groups {
		s.Groups[i] = in.string()
	}
	if raw[0] == stateVersion {
		s.Log = in.string()
	}
	if in.bad || len(in.raw) > 0 {
		return nil, errMalformed
	}
	return s, nil
}

// stateReader takes one value after the other; once something was malformed it
// returns zero values and stays bad.
type stateReader struct {
	raw  []byte
	text string // the same bytes
	bad  bool
}

func (in *stateReader) skip(n int) {
	in.raw, in.text = in.raw[n:], in.text[n:]
}

func (in *stateReader) uvarint() uint64 {
	v, n := binary.Uvarint(in.raw)
	if in.bad = in.bad || n <= 0; in.bad {
		return 0
	}
	in.skip(n)
	return v
}

func (in *stateReader) varint() int64 {
	v, n := binary.Varint(in.raw)
	if in.bad = in.bad || n <= 0; in.bad {
		return 0
	}
	in.skip(n)
	return v
}

func (in *stateReader) string() string {
	size := in.uvarint()
	if in.bad = in.bad || size > uint64(len(in.raw)); in.bad {
		return ""
	}
	text := in.text[:size]
	in.skip(len(text))
	return text
}
