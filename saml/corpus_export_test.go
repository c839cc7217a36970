package saml

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var corpusDir = flag.String("corpus", "", "write every case of the corpus to this directory, as JSON")

// exported is a case as others read it: the door's own tests, which post it to the
// real endpoint, and those that give it to another service provider. Keys are of
// these tests, made anew in each run.
type exported struct {
	ID       string      `json:"id"`
	Name     string      `json:"name"`
	Response string      `json:"response"` // the form field, as it arrives
	Code     string      `json:"code"`     // of the refusal; empty: accepted
	Request  string      `json:"request"`  // ID of the request that this browser was given; may be empty
	Expect   Expectation `json:"expect"`   // of the response, besides
	Now      time.Time   `json:"now"`      // by the service provider's clock
	// Provider is the service provider that the case is for.
	Provider exportedProvider `json:"provider"`
}

// exportedProvider is a Config, and the metadata of the identity provider.
type exportedProvider struct {
	EntityID          string        `json:"entity_id"`
	ACSURL            string        `json:"acs_url"`
	Key               string        `json:"key"` // PEM, as all of these
	Certificate       string        `json:"certificate"`
	Decryption        [][2]string   `json:"decryption"` // key and certificate
	Metadata          string        `json:"metadata"`
	Attributes        Attributes    `json:"attributes"`
	ClockSkew         time.Duration `json:"clock_skew"`
	MaxAge            time.Duration `json:"max_age"`
	AuthnContext      AuthnContext  `json:"authn_context"`
	UserDomains       []string      `json:"user_domains"`
	PinnedKeys        []string      `json:"pinned_keys"`
	UnsafeUnsolicited bool          `json:"unsafe_unsolicited"`
}

// TestWriteCorpus is for other tests, which run it with -corpus; by itself it makes
// sure that every case can be written down.
func TestWriteCorpus(t *testing.T) {
	for _, a := range corpus() {
		data, err := json.Marshal(a.export(t))
		if err != nil {
			t.Fatalf("%s: %v", a.id, err)
		}
		if *corpusDir == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(*corpusDir, a.id+".json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// export builds the case as run does.
func (a attack) export(t *testing.T) exported {
	t.Helper()
	s := a.scene(t)
	return exported{
		ID: a.id, Name: a.name, Response: s.response, Code: a.want, Request: s.request, Expect: a.expect, Now: s.cfg.Now(),
		Provider: exportProvider(t, s.cfg),
	}
}

// exportProvider writes down who judges a case.
func exportProvider(t *testing.T, cfg Config) exportedProvider {
	t.Helper()
	out := exportedProvider{
		EntityID: cfg.EntityID, ACSURL: cfg.ACSURL, Key: keyPEM(t, cfg.Key), Certificate: certificatePEM(cfg.Certificate),
		Metadata: string(cfg.IdPMetadata), Attributes: cfg.Attributes, ClockSkew: cfg.ClockSkew, MaxAge: cfg.MaxAge,
		AuthnContext: cfg.AuthnContext, UserDomains: cfg.UserDomains, PinnedKeys: cfg.PinnedKeys, UnsafeUnsolicited: cfg.UnsafeUnsolicited,
	}
	for _, d := range cfg.Decryption {
		out.Decryption = append(out.Decryption, [2]string{keyPEM(t, d.Key), certificatePEM(d.Certificate)})
	}
	return out
}

func certificatePEM(cert *x509.Certificate) string { return string(pemOf("CERTIFICATE", cert.Raw)) }

func keyPEM(t testing.TB, key crypto.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pemOf("PRIVATE KEY", der))
}
