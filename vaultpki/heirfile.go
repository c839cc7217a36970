package vaultpki

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// maxHeirBytes bounds the heir file: two tokens and their dates.
const maxHeirBytes = 4 << 10

// heirState is what the heir file holds.
type heirState struct {
	Heirs        []heirToken `json:"heirs"` // the one to try first comes first
	Introduction *claim      `json:"introduction,omitempty"`
}

// heirToken is a wrapping token and what is known of it.
type heirToken struct {
	Token   string    `json:"token"`
	Minted  time.Time `json:"minted"`
	Ends    time.Time `json:"ends"`
	Claimed time.Time `json:"claimed,omitzero"` // from when on it may be spent
}

// claim is the mark of an introduction that was used. It does not hold the
// token.
type claim struct {
	Hash string    `json:"hash"`
	At   time.Time `json:"at"`
	Done bool      `json:"done"` // a login came of it
}

// life is how long the heir lives from its minting.
func (t heirToken) life() time.Duration { return t.Ends.Sub(t.Minted) }

// isYoung says that another need not be minted yet. One of the future was minted
// by a clock that has been set since: nobody knows how old it is.
func (t heirToken) isYoung(now time.Time) bool {
	age := now.Sub(t.Minted)
	return age >= 0 && age < t.life()/heirPause
}

// add puts t first and keeps one other as the spare.
func (s *heirState) add(t heirToken) {
	s.Heirs = append([]heirToken{t}, s.Heirs[:min(len(s.Heirs), heirs-1)]...)
}

// remove forgets a token.
func (s *heirState) remove(token string) {
	s.Heirs = slices.DeleteFunc(s.Heirs, func(t heirToken) bool { return t.Token == token })
}

// holds says whether a token is among the heirs.
func (s *heirState) holds(token string) bool {
	return slices.ContainsFunc(s.Heirs, func(t heirToken) bool { return t.Token == token })
}

// clone returns a copy that shares nothing that is changed.
func (s *heirState) clone() heirState {
	return heirState{Heirs: slices.Clone(s.Heirs), Introduction: s.Introduction}
}

// tidy forgets what is spent. What has ended by our clock makes room for others,
// and no sooner: the clock may be wrong.
func (s *heirState) tidy() {
	s.Heirs = slices.DeleteFunc(s.Heirs, func(t heirToken) bool { return !t.Claimed.IsZero() })
}

// living counts those that have not ended by our clock.
func (s *heirState) living(now time.Time) int {
	n := 0
	for _, t := range s.Heirs {
		if now.Before(t.Ends) {
			n++
		}
	}
	return n
}

// readHeirs returns what the file holds; a file that is not there holds nothing.
// Its content is hostile, as is a file that others may read or write.
func readHeirs(path string) (heirState, error) {
	f, err := openOwn(path)
	if errors.Is(err, fs.ErrNotExist) {
		return heirState{}, nil
	}
	if err != nil {
		return heirState{}, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxHeirBytes+1))
	if err != nil {
		return heirState{}, err
	}
	return parseHeirs(raw)
}

// parseHeirs reads an heir file. No error quotes it.
func parseHeirs(raw []byte) (heirState, error) {
	if len(raw) > maxHeirBytes {
		return heirState{}, fmt.Errorf("expected at most %d bytes", maxHeirBytes)
	}
	var s heirState
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		return heirState{}, errors.New("expected the JSON that this program writes")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return heirState{}, errors.New("expected nothing after the JSON")
	}
	if len(s.Heirs) > heirs {
		return heirState{}, fmt.Errorf("expected at most %d heirs, found %d", heirs, len(s.Heirs))
	}
	for _, t := range s.Heirs {
		if parsed, err := parseToken([]byte(t.Token)); err != nil || parsed != t.Token {
			return heirState{}, errors.New("expected a token in each heir")
		}
		if t.life() <= 0 {
			return heirState{}, errors.New("expected each heir to end after it was minted")
		}
	}
	return s, nil
}

// unfinished ends the names of files that are being written.
const unfinished = ".new"

// writeHeirs replaces the file as a whole: a reader, or a process that is killed,
// meets the old one or the new one. Nobody can know the name of the one in
// between, and be there first.
func writeHeirs(path string, s heirState) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encoding the heirs: %w", err)
	}
	next := path + "." + rand.Text() + unfinished
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next))
	}
	return nil
}

// clearUnfinished removes what killed processes left; the lock says that nobody
// writes now. What others put there stays if the folder is sticky, and is in
// nobody's way.
func clearUnfinished(path string) error {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(cmp.Or(dir, "."))
	if err != nil {
		return err
	}
	var faults []error
	for _, entry := range entries {
		if name := entry.Name(); strings.HasPrefix(name, base+".") && strings.HasSuffix(name, unfinished) {
			faults = append(faults, os.Remove(filepath.Join(dir, name)))
		}
	}
	return errors.Join(faults...)
}
