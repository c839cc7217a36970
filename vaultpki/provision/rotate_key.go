package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// keyRotation is the rotation of a key in a KV secret. Whoever reads the secret
// accepts what was made by next, current and previous, and makes with current.
type keyRotation struct {
	secret   secret
	fields   []string // of the current key; a next and a previous one have these with an affix
	affix    func(field, which string) string
	generate func() ([]string, error)

	settle time.Duration // until every process has seen a change
	drain  time.Duration // until what the previous key made has ended
	texts  map[string]string

	// idp is true if an identity provider has to see each change too, which
	// vouched says of the last one.
	idp, vouched bool
}

// Which key a field is of.
const (
	next     = "next"
	previous = "previous"
)

func newSessionRotation(cfg RotationConfig) *keyRotation {
	return &keyRotation{
		secret: cfg.Spec.sessionSecret(), fields: []string{"current"}, generate: newSessionKey,
		affix:  func(_, which string) string { return which },
		settle: cfg.Settle, drain: cfg.Session,
		texts: map[string]string{
			"next":   "makes the next session key; every gateway opens what it seals before any seals with it",
			"switch": "seals with the next key; the old one still opens the sessions that there are",
			"retire": "removes the old key; the last session that it sealed has ended",
		},
	}
}

// newAssertionRotation also waits for the backends, each of which fetches the keys
// when it likes.
func newAssertionRotation(cfg RotationConfig) *keyRotation {
	return &keyRotation{
		secret: cfg.Spec.assertionSecret(), fields: []string{"current"}, generate: newAssertionKey,
		affix:  func(_, which string) string { return which },
		settle: cfg.Settle + keySetPatience, drain: assertionLife,
		texts: map[string]string{
			"next":   "makes the next key for assertions; the door shows it before anything is signed with it",
			"switch": "signs assertions with the next key; the old one is shown until the last that it signed has ended",
			"retire": "removes the old key; the last assertion that it signed has ended",
		},
	}
}

func newSPRotation(cfg RotationConfig) *keyRotation {
	r := &keyRotation{
		secret: cfg.Spec.samlSecret(), fields: []string{"sp_private_key", "sp_public_cert"},
		generate: func() ([]string, error) { return newKeyPair(cfg.Spec.SPEntityID) },
		affix:    func(field, which string) string { return field + "_" + which },
		settle:   cfg.Settle, idp: true, vouched: cfg.Vouched || cfg.Settle >= idpPatience,
		texts: map[string]string{
			"next":   "makes the next key pair; the metadata shows its certificate beside the current one",
			"switch": "signs with the next key; the metadata shows the old certificate still, and what was encrypted for it is read",
			"retire": "removes the old key pair, from the metadata too",
		},
	}
	return r
}

// unvouch implements [machine].
func (r *keyRotation) unvouch() { r.vouched = r.vouched && r.settle >= idpPatience }

// next implements [machine].
func (r *keyRotation) next(ctx context.Context, client *Client) (Step, error) {
	have, err := r.secret.read(ctx, client)
	if err != nil {
		return Step{}, err
	}
	current, err := r.values(have, "")
	if err != nil {
		return Step{}, err
	}
	if current == nil {
		return Step{}, fmt.Errorf("reading %s/%s: there is no current key to rotate: run `sallyport provision apply`", r.secret.mount, r.secret.path)
	}
	upcoming, nextErr := r.values(have, next)
	old, previousErr := r.values(have, previous)
	if err := errors.Join(nextErr, previousErr); err != nil {
		return Step{}, err
	}
	switch {
	case old != nil: // also if a next one is there already: one after the other
		return r.step(ctx, client, have, "retire", previous)
	case upcoming != nil:
		return r.step(ctx, client, have, "switch", next)
	}
	return Step{
		Name: "next", Text: r.texts["next"], Due: have.created.Add(r.settle), First: true,
		do: func(ctx context.Context, client *Client) error { return r.begin(ctx, client, have) },
	}, nil
}

// values returns the key in the fields of that affix, nil if there is none.
func (r *keyRotation) values(have content, which string) ([]string, error) {
	names := r.names(which)
	var found []string
	for _, name := range names {
		if text, _ := have.data[name].(string); text != "" {
			found = append(found, text)
		}
	}
	if len(found) > 0 && len(found) < len(names) {
		return nil, fmt.Errorf("reading %s/%s: it has not all of %s: restore or remove them by hand", r.secret.mount, r.secret.path, strings.Join(names, " and "))
	}
	return found, nil
}

// names returns the fields of the current key, or of another.
func (r *keyRotation) names(which string) []string {
	if which == "" {
		return r.fields
	}
	var names []string
	for _, field := range r.fields {
		names = append(names, r.affix(field, which))
	}
	return names
}

// step is the switch or the retirement, due once everybody has seen the fields of
// that affix; and the retirement once what the previous key made has ended.
func (r *keyRotation) step(ctx context.Context, client *Client, have content, name, which string) (Step, error) {
	since, err := r.secret.since(ctx, client, have, r.names(which))
	if err != nil {
		return Step{}, err
	}
	step := Step{Name: name, Text: r.texts[name], Due: since.Add(r.settle)}
	if name == "retire" {
		step.Due = step.Due.Add(r.drain)
	}
	step.do = func(ctx context.Context, client *Client) error { return r.shift(ctx, client, have, name) }
	if r.idp && !r.vouched {
		step.Needs = fmt.Sprintf("the identity provider must have fetched the metadata as it is since %s "+
			"(have it load /saml/metadata again, and look that it shows both certificates); then run this again with --idp-has-new-metadata, or with --settle %s if it fetches by itself",
			since.UTC().Format(time.RFC3339), idpPatience)
	}
	return step, nil
}

// begin writes the next key.
func (r *keyRotation) begin(ctx context.Context, client *Client, have content) error {
	values, err := r.generate()
	if err != nil {
		return fmt.Errorf("generating a key: %w", err)
	}
	data := maps.Clone(have.data)
	for i, name := range r.names(next) {
		data[name] = values[i]
	}
	return r.secret.replace(ctx, client, have, data, values)
}

// shift makes the current key the previous one and the next one current; or
// removes the previous one.
func (r *keyRotation) shift(ctx context.Context, client *Client, have content, step string) error {
	data := maps.Clone(have.data)
	var hidden []string
	for i, field := range r.fields {
		ahead, behind := r.names(next)[i], r.names(previous)[i]
		for _, name := range []string{field, ahead, behind} {
			if text, _ := data[name].(string); text != "" {
				hidden = append(hidden, text)
			}
		}
		if step == "retire" {
			delete(data, behind)
			continue
		}
		data[behind], data[field] = data[field], data[ahead]
		delete(data, ahead)
	}
	return r.secret.replace(ctx, client, have, data, hidden)
}

// ErrRaced is returned if somebody else changed the same at the same time.
// Nothing of ours was written.
var ErrRaced = errors.New("somebody else changed it meanwhile, and nothing was written here: look what comes next and run it again")

// replace writes data in place of what was read, unless somebody else did.
func (s secret) replace(ctx context.Context, client *Client, have content, data map[string]any, hidden []string) error {
	body := map[string]any{"data": data, "options": map[string]int{"cas": have.version}}
	err := client.write(ctx, s.mount+"/data/"+s.path, body, hidden...)
	var status *wire.StatusError
	if errors.As(err, &status) && status.Status == http.StatusBadRequest &&
		slices.ContainsFunc(status.Messages, func(m string) bool { return strings.Contains(m, "check-and-set") }) {
		return fmt.Errorf("writing %s/%s: %w", s.mount, s.path, ErrRaced)
	}
	return err
}

// since returns when the fields got the values that they have. If older versions
// are gone, it is the time of the oldest one that is left: later than the truth,
// never before it.
func (s secret) since(ctx context.Context, client *Client, have content, names []string) (time.Time, error) {
	since := have.created
	for version := have.version - 1; version > 0; version-- {
		older, err := s.readVersion(ctx, client, version)
		if err != nil {
			return time.Time{}, err
		}
		if older.data == nil || slices.ContainsFunc(names, func(name string) bool { return older.data[name] != have.data[name] }) {
			break
		}
		since = older.created
	}
	return since, nil
}

// readVersion returns one version, without data if it is gone.
func (s secret) readVersion(ctx context.Context, client *Client, version int) (content, error) {
	path := s.mount + "/data/" + s.path
	answer, err := client.get(ctx, wire.Call{Method: http.MethodGet, Path: path, Query: map[string]string{"version": strconv.Itoa(version)}})
	if err != nil || answer == nil {
		return content{}, err
	}
	return parseContent(path, answer.Data)
}

// parseContent reads an answer of KV version 2. Data is nil if the version is
// deleted.
func parseContent(path string, answer map[string]any) (content, error) {
	metadata, _ := answer["metadata"].(map[string]any)
	number, _ := metadata["version"].(json.Number)
	version, err := number.Int64()
	if err != nil {
		return content{}, fmt.Errorf("reading %s: version %q: %w", path, number, err)
	}
	text, _ := metadata["created_time"].(string)
	created, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return content{}, fmt.Errorf("reading %s: created_time: %w", path, err)
	}
	data, _ := answer["data"].(map[string]any)
	return content{data: data, version: int(version), created: created}, nil
}
