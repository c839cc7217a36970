package swarm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"unicode"
	"unicode/utf8"
)

// Bounds of a request. Labels are what a deployer writes; reverse proxies have him
// write kilobytes of them.
const (
	maxRequestBytes = 256 << 10
	maxDepth        = 8
	maxLabels       = 512
	maxText         = 256
)

// identifier is the alphabet of the engine's own names and IDs, which have maxText bytes at
// most.
var identifier = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// request is what the engine asks: who starts, and which secret it mounts. What
// the engine adds to it in other versions is ignored.
type request struct {
	SecretName    string
	SecretLabels  map[string]string
	ServiceID     string
	ServiceName   string
	ServiceLabels map[string]string
	TaskID        string
	TaskName      string
	NodeID        string // newer engines only
}

// readRequest reads one request and judges its form.
func readRequest(body io.Reader) (request, error) {
	raw, err := io.ReadAll(io.LimitReader(body, maxRequestBytes+1))
	if err != nil {
		return request{}, fmt.Errorf("reading the request: %w", err)
	}
	if len(raw) > maxRequestBytes {
		return request{}, fmt.Errorf("a request of more than %d bytes", maxRequestBytes)
	}
	if err := checkDepth(raw); err != nil {
		return request{}, err
	}
	var r request
	if err := json.Unmarshal(raw, &r); err != nil {
		// The parser's message may quote the request.
		return request{}, errors.New("the request is not the JSON of the engine")
	}
	return r, r.check()
}

// checkDepth refuses nesting before anything is built of it.
func checkDepth(raw []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	depth := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return errors.New("the request is not JSON")
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth > maxDepth {
			return fmt.Errorf("a request with more than %d levels", maxDepth)
		}
	}
}

// check judges what everything else relies on: names that may stand in a log, in
// a pattern's match and in Vault's audit log as they are.
func (r request) check() error {
	var faults []error
	for _, name := range []struct {
		what, value string
		optional    bool
	}{
		{"SecretName", r.SecretName, false}, {"ServiceName", r.ServiceName, false}, {"TaskID", r.TaskID, false},
		{"ServiceID", r.ServiceID, true}, {"TaskName", r.TaskName, true}, {"NodeID", r.NodeID, true},
	} {
		if good := len(name.value) <= maxText && identifier.MatchString(name.value); !good && (name.value != "" || !name.optional) {
			faults = append(faults, fmt.Errorf("%s %.80q: expected letters, digits, '.', '-' and '_'", name.what, name.value))
		}
	}
	faults = append(faults, checkLabels("SecretLabels", r.SecretLabels), checkLabels("ServiceLabels", r.ServiceLabels))
	return errors.Join(faults...)
}

// checkLabels bounds their number, and the form of those that are ours; the
// others may hold anything, and are only ever compared.
func checkLabels(what string, labels map[string]string) error {
	if len(labels) > maxLabels {
		return fmt.Errorf("%s: %d, expected at most %d", what, len(labels), maxLabels)
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if !ours(name) {
			continue
		}
		if value := labels[name]; len(name) > maxText || len(value) > maxText || !isLine(name) || !isLine(value) {
			return fmt.Errorf("%s: label %.80q is %.80q, expected one line of at most %d bytes", what, name, value, maxText)
		}
	}
	return nil
}

// isLine reports text that is visible and stays on one line.
func isLine(text string) bool {
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return utf8.ValidString(text)
}
