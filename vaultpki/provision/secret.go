package provision

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"
)

// Bounds of what is generated.
const (
	spKeyBits       = 3072
	spCertLife      = 10 * year
	sessionKeyBytes = 32
)

// field is one field, or several that belong together, of a KV secret.
type field struct {
	names []string
	// generate makes the values, in the order of names, if all are absent.
	generate func() ([]string, error)
	// given, if not empty, is the value of the one name, and replaces another.
	given string
}

// secret is a KV version 2 secret with at least these fields. Others in it are
// kept.
type secret struct {
	mount, path string
	fields      []field
}

// secrets are those that can be generated, or are given.
func (s Spec) secrets() []object {
	var objects []object
	all := []secret{s.samlSecret(), s.sessionSecret(), s.assertionSecret()}
	if s.AuditPath != "" {
		all = append(all, s.auditSecret())
	}
	for _, kv := range all {
		if len(kv.fields) > 0 {
			objects = append(objects, kv)
		}
	}
	return objects
}

// samlSecret holds the service provider's key pair and the IdP's metadata.
func (s Spec) samlSecret() secret {
	var fields []field
	if !s.NoSPKey {
		fields = append(fields, field{
			names:    []string{"sp_private_key", "sp_public_cert"},
			generate: func() ([]string, error) { return newKeyPair(s.SPEntityID) },
		})
	}
	if len(s.IdPMetadata) > 0 {
		fields = append(fields, field{names: []string{metadataField}, given: string(s.IdPMetadata)})
	}
	for _, name := range slices.Sorted(maps.Keys(s.NamedIdPMetadata)) {
		fields = append(fields, field{names: []string{metadataField + "_" + name}, given: string(s.NamedIdPMetadata[name])})
	}
	return secret{mount: s.KVMount, path: s.SAMLPath, fields: fields}
}

// sessionSecret holds the key that seals session cookies.
func (s Spec) sessionSecret() secret {
	kv := secret{mount: s.KVMount, path: s.SessionPath}
	if !s.NoSessionKey {
		kv.fields = []field{{names: []string{"current"}, generate: newSessionKey}}
	}
	return kv
}

// assertionSecret holds the key that signs assertions.
func (s Spec) assertionSecret() secret {
	kv := secret{mount: s.KVMount, path: s.AssertionPath}
	if !s.NoAssertionKey {
		kv.fields = []field{{names: []string{"current"}, generate: newAssertionKey}}
	}
	return kv
}

// auditSecret holds the key that pseudonyms in the access log are made with.
func (s Spec) auditSecret() secret {
	return secret{mount: s.KVMount, path: s.AuditPath, fields: []field{{names: []string{"pseudonym_key"}, generate: newSessionKey}}}
}

// metadataField holds the metadata of the identity provider that has no name; those of
// others end with theirs.
const metadataField = "idp_metadata_xml"

// LacksMetadata returns which of these fields the SAML secret does not have, and where
// that is. It asks for metadata of identity providers, the one thing that nobody can
// generate; what want brings is not lacking.
func LacksMetadata(ctx context.Context, client *Client, want Spec, fields []string) (where string, lacking []string, err error) {
	want = want.withDefaults()
	have, err := want.samlSecret().readSettled(ctx, client)
	if err != nil {
		return "", nil, err
	}
	for _, name := range fields {
		text, _ := have.data[name].(string)
		_, brought := want.NamedIdPMetadata[strings.TrimPrefix(name, metadataField+"_")]
		brought = brought || (name == metadataField && len(want.IdPMetadata) > 0)
		if text == "" && !brought {
			lacking = append(lacking, name)
		}
	}
	return want.KVMount + "/" + want.SAMLPath, lacking, nil
}

// content is what a secret holds now.
type content struct {
	data    map[string]any
	version int // 0 if there is none: the value that check-and-set wants for "create"
	created time.Time
}

// read returns the latest version. A deleted one is an error: it may hold keys
// that are in use, and can be brought back until somebody writes over it.
func (s secret) read(ctx context.Context, client *Client) (content, error) {
	answer, err := client.read(ctx, s.mount+"/data/"+s.path)
	if err != nil || answer == nil {
		return content{}, err
	}
	have, err := parseContent(s.mount+"/"+s.path, answer.Data)
	if err != nil {
		return content{}, err
	}
	if have.data == nil {
		return content{}, fmt.Errorf("reading %s/%s: version %d is deleted: undelete it, or remove the metadata to start afresh", s.mount, s.path, have.version)
	}
	return have, nil
}

// plan lists the fields that are to be written; it generates nothing.
func (s secret) plan(ctx context.Context, client *Client) (*Change, error) {
	have, err := s.read(ctx, client)
	if err != nil {
		return nil, err
	}
	change := &Change{Create: have.data == nil, Object: "secret " + s.mount + "/" + s.path, apply: s.write}
	for _, f := range s.fields {
		detail, err := f.compare(have.data)
		if err != nil {
			return nil, fmt.Errorf("checking %s: %w", change.Object, err)
		}
		if detail != "" {
			change.Details = append(change.Details, detail)
		}
	}
	if len(change.Details) == 0 {
		return nil, nil
	}
	return change, nil
}

// compare says what must be done about the field, nothing if it is as it should be.
func (f field) compare(data map[string]any) (string, error) {
	var present []string
	for _, name := range f.names {
		if text, _ := data[name].(string); text != "" {
			present = append(present, name)
		}
	}
	all := strings.Join(f.names, " and ")
	switch {
	case f.given != "" && len(present) == 0:
		return all + " (given)", nil
	case f.given != "" && data[f.names[0]] != f.given:
		return all + " (replaced)", nil
	case f.given != "" || len(present) == len(f.names):
		return "", nil
	case len(present) > 0:
		// To fill in the other half would overwrite what is there.
		return "", fmt.Errorf("it has %s but not all of %s: restore or remove them by hand", present[0], all)
	}
	return all + " (generated)", nil
}

// write reads the secret again, fills in what is absent, and writes it back
// only if nobody changed it in between.
func (s secret) write(ctx context.Context, client *Client) error {
	have, err := s.readSettled(ctx, client)
	if err != nil {
		return err
	}
	data := maps.Clone(have.data)
	if data == nil {
		data = map[string]any{}
	}
	var hidden []string
	for _, f := range s.fields {
		todo, err := f.compare(data)
		if err != nil {
			return err
		}
		if todo == "" {
			continue
		}
		values := []string{f.given}
		if f.given == "" {
			if values, err = f.generate(); err != nil {
				return fmt.Errorf("generating %s: %w", strings.Join(f.names, " and "), err)
			}
		}
		for i, name := range f.names {
			data[name] = values[i]
		}
		hidden = slices.Concat(hidden, values)
	}
	return s.replace(ctx, client, have, data, hidden)
}

// readSettled reads the secret from a mount that may be seconds old: a fresh KV
// version 2 mount answers 400 until it has upgraded itself.
func (s secret) readSettled(ctx context.Context, client *Client) (content, error) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		have, err := s.read(ctx, client)
		if err == nil || !strings.Contains(err.Error(), "Upgrading") || time.Now().After(deadline) {
			return have, err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return content{}, err
		}
	}
}

// newKeyPair returns PEM of an RSA key (PKCS #8) and of a certificate that it
// signs itself: SAML peers compare the key, nobody builds a chain to it.
func newKeyPair(entityID string) ([]string, error) {
	key, err := rsa.GenerateKey(rand.Reader, spKeyBits)
	if err != nil {
		return nil, fmt.Errorf("generating an RSA key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("drawing a serial number: %w", err)
	}
	serial.SetBit(serial, 126, 1) // always of sixteen bytes
	name := entityID
	if len(name) > 64 { // the bound of a common name, RFC 5280 appendix A.1
		name = name[:64]
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(spCertLife),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		BasicConstraintsValid: true,
	}
	cert, certErr := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	private, keyErr := x509.MarshalPKCS8PrivateKey(key)
	if err := errors.Join(certErr, keyErr); err != nil {
		return nil, fmt.Errorf("signing the certificate: %w", err)
	}
	return []string{
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})),
	}, nil
}

// newSessionKey returns the base64 of random bytes.
func newSessionKey() ([]string, error) {
	key := make([]byte, sessionKeyBytes)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("drawing random bytes: %w", err)
	}
	return []string{base64.StdEncoding.EncodeToString(key)}, nil
}

// newAssertionKey returns PEM of an elliptic key on P-256 (PKCS #8).
func newAssertionKey() ([]string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating an elliptic key: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding an elliptic key: %w", err)
	}
	return []string{string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))}, nil
}
