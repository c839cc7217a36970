package provision

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Names of the first key and issuer of each kind; a rotation makes the second.
const (
	firstRoot         = "root-1"
	firstIntermediate = "intermediate-1"
)

// backdate is how much before now a certificate of an authority begins, so that
// clocks which are a little slow accept it. It is asked for, not assumed: when a
// certificate was made is reckoned from it.
const backdate = 30 * time.Second

// maxIssuers is more than any rotation needs; each costs a call.
const maxIssuers = 50

// authority is one side's PKI: a mount whose intermediate signs leaves, and the
// mount of the root above it, whose key never leaves Vault. What everybody
// trusts of the side is each self-signed certificate among the issuers of
// mount; so the root's is among them, without its key.
type authority struct {
	mount string
	Authority
}

// issuer is one of a PKI mount.
type issuer struct {
	id, name  string
	keyID     string // empty if the mount has no key for it
	keyName   string
	isDefault bool
	cert      *x509.Certificate
}

// numbered is the name of a key or an issuer that we made: its kind, which one of
// its kind it is, and what was noted of it. An operator's own are often numbered
// by the year, and must not be taken for ours.
var numbered = regexp.MustCompile(`^(root|intermediate)-([1-9][0-9]{0,2})(\.[a-z]+-[0-9TZ]+)*$`)

// generation returns the number in a name, 0 if the name is not ours.
func generation(name string) int {
	parts := numbered.FindStringSubmatch(name)
	if parts == nil {
		return 0
	}
	n, err := strconv.Atoi(parts[2])
	if err != nil {
		return 0
	}
	return n
}

// generation is that of the key, or of the issuer if the key is elsewhere.
func (i issuer) generation() int { return cmp.Or(generation(i.keyName), generation(i.name)) }

// made is when it was signed.
func (i issuer) made() time.Time { return i.cert.NotBefore.Add(backdate) }

// isRoot says whether it signed itself.
func (i issuer) isRoot() bool { return i.cert.CheckSignatureFrom(i.cert) == nil }

// signedBy says whether root signed it.
func (i issuer) signedBy(root issuer) bool {
	return bytes.Equal(i.cert.RawIssuer, root.cert.RawSubject) && i.cert.CheckSignatureFrom(root.cert) == nil
}

// same says whether both are of one certificate.
func (i issuer) same(other issuer) bool { return i.cert.Equal(other.cert) }

// pem returns the certificate.
func (i issuer) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw}))
}

// Vault does not show the issuers of a mount from which one is just removed.
const (
	readings    = 5
	readAgainIn = 100 * time.Millisecond
)

// issuers returns those of a mount, the oldest first; none if the mount is not
// there.
func (c *Client) issuers(ctx context.Context, mount string) ([]issuer, error) {
	for reading := 1; ; reading++ {
		found, err := c.readIssuers(ctx, mount)
		if !vanished(err) || reading == readings {
			return found, err
		}
		if err := pause(ctx, readAgainIn); err != nil {
			return nil, err
		}
	}
}

// vanished says whether Vault failed because an issuer or a key that it was about
// to show is no longer there.
func vanished(err error) bool {
	var status *wire.StatusError
	return errors.As(err, &status) && slices.ContainsFunc(status.Messages, func(message string) bool {
		return strings.Contains(message, "does not exist") || strings.Contains(message, "unable to find PKI issuer")
	})
}

func (c *Client) readIssuers(ctx context.Context, mount string) ([]issuer, error) {
	infos, err := c.list(ctx, mount+"/issuers")
	if err != nil {
		return nil, err
	}
	if len(infos) > maxIssuers {
		return nil, fmt.Errorf("reading %s/issuers: there are %d, expected at most %d", mount, len(infos), maxIssuers)
	}
	keys, err := c.list(ctx, mount+"/keys")
	if err != nil {
		return nil, err
	}
	var found []issuer
	for _, id := range sortedKeys(infos) {
		i := issuer{id: id}
		i.name, _ = infos[id]["issuer_name"].(string)
		i.keyID, _ = infos[id]["key_id"].(string)
		i.keyName, _ = keys[i.keyID]["key_name"].(string)
		i.isDefault, _ = infos[id]["is_default"].(bool)
		secret, err := c.read(ctx, mount+"/issuer/"+id+"/json")
		if err != nil {
			return nil, err
		}
		if secret == nil {
			continue // removed meanwhile
		}
		text, _ := secret.Data["certificate"].(string)
		if i.cert, err = parseCertificate(text); err != nil {
			return nil, fmt.Errorf("reading issuer %s of %s: %w", id, mount, err)
		}
		found = append(found, i)
	}
	slices.SortStableFunc(found, func(a, b issuer) int {
		return cmp.Or(a.cert.NotBefore.Compare(b.cert.NotBefore), cmp.Compare(a.generation(), b.generation()))
	})
	return found, nil
}

// parseCertificate reads one certificate in PEM.
func parseCertificate(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("parsing a certificate: expected PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parsing a certificate: %w", err)
	}
	return cert, nil
}

// sortedKeys returns the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// find returns the first of issuers that is like.
func find(issuers []issuer, like func(issuer) bool) (issuer, bool) {
	if at := slices.IndexFunc(issuers, like); at >= 0 {
		return issuers[at], true
	}
	return issuer{}, false
}

// signs says whether an issuer is the one that signs leaves.
func signs(i issuer) bool { return i.isDefault && i.keyID != "" }

// rootMount is the mount of an authority's root.
type rootMount struct{ authority }

// plan makes the mount only if the authority needs a root: one that is there
// keeps what it has.
func (m rootMount) plan(ctx context.Context, client *Client) (*Change, error) {
	issuers, err := client.issuers(ctx, m.mount)
	if _, settled := find(issuers, signs); err != nil || settled {
		return nil, err
	}
	return m.asMount().plan(ctx, client)
}

func (a authority) asMount() mount {
	return mount{path: a.RootMount, kind: "pki", maxTTL: a.Root.Life}
}

// root is the root of an authority.
type root struct{ authority }

// plan makes a root only where there is none and one is needed.
func (r root) plan(ctx context.Context, client *Client) (*Change, error) {
	issuers, err := client.issuers(ctx, r.mount)
	if _, settled := find(issuers, signs); err != nil || settled {
		return nil, err
	}
	roots, err := client.issuers(ctx, r.RootMount)
	if err != nil {
		return nil, err
	}
	if _, ready := find(roots, signs); ready {
		return nil, nil
	}
	if len(roots) > 0 {
		return nil, fmt.Errorf("checking the root of %s: it has issuers, but none with a key that is the default; choose another mount, or set it", r.RootMount)
	}
	return &Change{
		Create: true, Object: "root of " + r.RootMount, Details: r.Root.details(),
		apply: func(ctx context.Context, client *Client) error { return r.generate(ctx, client, firstRoot) },
	}, nil
}

// details describes a certificate that is to be made.
func (c Certificate) details() []string {
	return []string{strconv.Quote(c.Name), c.Key, fmt.Sprintf("%d days", int(c.Life.Hours())/24)}
}

// generate makes a root of that name in Vault, in one call.
func (a authority) generate(ctx context.Context, client *Client, name string) error {
	key := keyTypes[a.Root.Key]
	return client.write(ctx, a.RootMount+"/root/generate/internal", map[string]any{
		"common_name": a.Root.Name, "issuer_name": name, "key_name": name,
		"key_type": key.kind, "key_bits": key.bits, "ttl": a.Root.Life.String(), "not_before_duration": backdate.String(),
		// Below it one intermediate, and below that nothing but leaves.
		"max_path_length": 1, "exclude_cn_from_sans": true,
	})
}

// intermediate is what signs an authority's leaves.
type intermediate struct{ authority }

// plan makes an intermediate where nothing signs yet, and sees to it that the
// root above one of ours is published beside it.
func (i intermediate) plan(ctx context.Context, client *Client) (*Change, error) {
	object := "intermediate of " + i.mount
	issuers, err := client.issuers(ctx, i.mount)
	if err != nil {
		return nil, err
	}
	current, settled := find(issuers, signs)
	if !settled {
		return &Change{
			Create: true, Object: object, Details: append(i.Intermediate.details(), "signed by "+i.RootMount), apply: i.create,
		}, nil
	}
	if _, trusted := find(issuers, func(above issuer) bool { return above.isRoot() && current.signedBy(above) }); !trusted {
		roots, err := client.issuers(ctx, i.RootMount)
		above, ours := find(roots, current.signedBy)
		if err != nil || !ours {
			return nil, err
		}
		return &Change{Object: object, Details: []string{"publishes its root " + above.name}, apply: func(ctx context.Context, client *Client) error {
			return i.publish(ctx, client, above)
		}}, nil
	}
	if current.name == "" && generation(current.keyName) > 0 {
		return &Change{Object: object, Details: []string{"is named " + current.keyName}, apply: func(ctx context.Context, client *Client) error {
			return i.name(ctx, client, current, current.keyName)
		}}, nil
	}
	return nil, nil
}

// create makes the first intermediate, and everything that a killed attempt left
// undone.
func (i intermediate) create(ctx context.Context, client *Client) error {
	roots, err := client.issuers(ctx, i.RootMount)
	if err != nil {
		return err
	}
	above, ready := find(roots, signs)
	if !ready {
		return fmt.Errorf("signing the intermediate of %s: %s has no root with a key", i.mount, i.RootMount)
	}
	made, err := i.sign(ctx, client, firstIntermediate, above)
	if err != nil {
		return err
	}
	return i.use(ctx, client, made)
}

// use makes an issuer the one that signs.
func (a authority) use(ctx context.Context, client *Client, i issuer) error {
	return client.write(ctx, a.mount+"/config/issuers", map[string]any{"default": i.id})
}

// sign makes an intermediate below a root of the root mount: a key in the mount,
// a certificate from the root, and both joined, named alike. A key of that name
// that a killed attempt left is taken up.
func (a authority) sign(ctx context.Context, client *Client, name string, above issuer) (issuer, error) {
	csr, err := a.request(ctx, client, name)
	if err != nil {
		return issuer{}, err
	}
	now, err := client.now(ctx)
	if err != nil {
		return issuer{}, err
	}
	// A root that ends sooner takes the intermediate along.
	life := min(a.Intermediate.Life, above.cert.NotAfter.Sub(now)-time.Second).Truncate(time.Second)
	signed, err := client.ask(ctx, a.RootMount+"/issuer/"+above.id+"/sign-intermediate", map[string]any{
		"csr": csr, "common_name": a.Intermediate.Name, "ttl": life.String(), "not_before_duration": backdate.String(),
		"max_path_length": 0, "exclude_cn_from_sans": true, "format": "pem",
	})
	if err != nil {
		return issuer{}, err
	}
	text, _ := signed.Data["certificate"].(string)
	made := issuer{keyName: name}
	if made.cert, err = parseCertificate(text); err != nil {
		return issuer{}, fmt.Errorf("signing the intermediate of %s: %w", a.mount, err)
	}
	if !made.signedBy(above) {
		return issuer{}, fmt.Errorf("signing the intermediate of %s: vault's answer is not signed by %s of %s", a.mount, above.name, a.RootMount)
	}
	if err := client.write(ctx, a.mount+"/intermediate/set-signed", map[string]any{"certificate": made.pem() + above.pem()}); err != nil {
		return issuer{}, err
	}
	return a.nameImported(ctx, client, made, above)
}

// request returns a signing request by the key of that name, which is made if
// there is none.
func (a authority) request(ctx context.Context, client *Client, name string) (string, error) {
	keys, err := client.list(ctx, a.mount+"/keys")
	if err != nil {
		return "", err
	}
	key := keyTypes[a.Intermediate.Key]
	path := a.mount + "/intermediate/generate/internal"
	body := map[string]any{"common_name": a.Intermediate.Name, "exclude_cn_from_sans": true, "key_name": name, "key_type": key.kind, "key_bits": key.bits}
	for _, info := range keys {
		if info["key_name"] == name {
			path = a.mount + "/intermediate/generate/existing"
			body = map[string]any{"common_name": a.Intermediate.Name, "exclude_cn_from_sans": true, "key_ref": name}
		}
	}
	answer, err := client.ask(ctx, path, body)
	if err != nil {
		return "", err
	}
	csr, _ := answer.Data["csr"].(string)
	return csr, nil
}

// nameImported names an intermediate and the root above it, as they are now
// among the issuers of the mount, and returns the intermediate as it is there.
func (a authority) nameImported(ctx context.Context, client *Client, made, above issuer) (issuer, error) {
	issuers, err := client.issuers(ctx, a.mount)
	if err != nil {
		return issuer{}, err
	}
	there, found := find(issuers, made.same)
	if !found {
		return issuer{}, fmt.Errorf("importing the intermediate of %s: it is not among the issuers", a.mount)
	}
	if published, _ := find(issuers, above.same); published.id != "" && published.name == "" && above.name != "" {
		if err := a.name(ctx, client, published, above.name); err != nil {
			return issuer{}, err
		}
	}
	return there, a.name(ctx, client, there, made.keyName)
}

// publish puts a root of the root mount, without its key, among the issuers of
// the mount: from then on everybody trusts it.
func (a authority) publish(ctx context.Context, client *Client, above issuer) error {
	if err := client.write(ctx, a.mount+"/issuers/import/cert", map[string]any{"pem_bundle": above.pem()}); err != nil {
		return err
	}
	issuers, err := client.issuers(ctx, a.mount)
	if err != nil {
		return err
	}
	there, found := find(issuers, above.same)
	if !found {
		return fmt.Errorf("publishing the root of %s: it is not among the issuers", a.mount)
	}
	return a.note(ctx, client, there, above.name, "published")
}

// kept are the settings of an issuer that are not ours. An update sets what it
// does not name back to Vault's defaults.
var kept = []string{
	"manual_chain", "usage", "revocation_signature_algorithm", "enable_aia_url_templating",
	"issuing_certificates", "crl_distribution_points", "delta_crl_distribution_points", "ocsp_servers",
}

// name names an issuer of the mount. Near its own end it signs shorter lives
// rather than none.
func (a authority) name(ctx context.Context, client *Client, i issuer, name string) error {
	path := a.mount + "/issuer/" + i.id
	secret, err := client.read(ctx, path)
	if err != nil {
		return err
	}
	body := map[string]any{
		"issuer_name":             name,
		"leaf_not_after_behavior": "truncate", //nolint:misspell // Vault spells it so
	}
	for _, setting := range kept {
		if secret != nil && secret.Data[setting] != nil {
			body[setting] = secret.Data[setting]
		}
	}
	return client.write(ctx, path, body)
}

// noted is how a time stands in a name.
const noted = "20060102T150405Z"

// notes is what note has written at the end of a name.
var notes = regexp.MustCompile(`(\.[a-z]+-[0-9]{8}T[0-9]{6}Z)+$`)

// moment is Vault's time as it is noted: rounded up, so that a step which counts
// from it never comes too soon.
func (c *Client) moment(ctx context.Context) (time.Time, error) {
	now, err := c.now(ctx)
	return now.UTC().Truncate(time.Second).Add(time.Second), err
}

// note names an issuer with what happened to it just now: so the time is where
// whoever goes on finds it.
func (a authority) note(ctx context.Context, client *Client, i issuer, base, what string) error {
	now, err := client.moment(ctx)
	if err != nil {
		return err
	}
	return a.name(ctx, client, i, i.with(base, what, now).name)
}

// with returns the issuer as it is named with one note more, in place of an
// earlier one of the kind; its other notes stay.
func (i issuer) with(base, what string, at time.Time) issuer {
	for note := range strings.SplitSeq(notes.FindString(i.name), ".") {
		if note != "" && !strings.HasPrefix(note, what+"-") {
			base += "." + note
		}
	}
	i.name = base + "." + what + "-" + at.UTC().Format(noted)
	return i
}

// withLeaves is with for the time until when a leaf below the issuer may live: at
// most until its own end, and a later time that is noted already stays.
func (i issuer) withLeaves(until time.Time) issuer {
	until = earlier(until, i.cert.NotAfter)
	if before, dated := i.when("leaves"); dated && !until.After(before) {
		return i
	}
	return i.with(i.baseOr("issuer-"+i.id), "leaves", until)
}

// when returns what note wrote.
func (i issuer) when(what string) (time.Time, bool) {
	_, text, found := strings.Cut(i.name, "."+what+"-")
	text, _, _ = strings.Cut(text, ".")
	at, err := time.Parse(noted, text)
	return at, found && err == nil
}

// baseOr is the name without notes, that of the key, or fallback.
func (i issuer) baseOr(fallback string) string {
	return cmp.Or(notes.ReplaceAllString(i.name, ""), i.keyName, fallback)
}
