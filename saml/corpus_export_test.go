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
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Response string    `json:"response"` // the form field, as it arrives
	Code     string    `json:"code"`     // of the refusal; empty: accepted
	Request  string    `json:"request"`  // ID of the request that this browser was given; may be empty
	Now      time.Time `json:"now"`      // by the service provider's clock
	// Provider is the service provider that the case is for.
	Provider exportedProvider `json:"provider"`
}

// exportedProvider is a Config without what cannot be written down.
type exportedProvider struct {
	Config          // keys and functions are nil
	KeyPEM          string
	CertificatePEM  string
	DecryptionPEM   [][2]string // key and certificate
	MetadataSigners string
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
	idp, cfg, request := a.scene(t)
	out := exported{
		ID: a.id, Name: a.name, Response: a.build(t, idp), Code: a.want, Request: request, Now: cfg.Now(),
		Provider: exportedProvider{
			Config: cfg, KeyPEM: keyPEM(t, cfg.Key), CertificatePEM: string(pemOf("CERTIFICATE", cfg.Certificate.Raw)),
		},
	}
	for _, d := range cfg.Decryption {
		out.Provider.DecryptionPEM = append(out.Provider.DecryptionPEM, [2]string{
			keyPEM(t, d.Key), string(pemOf("CERTIFICATE", d.Certificate.Raw)),
		})
	}
	if cfg.MetadataSigner != nil {
		out.Provider.MetadataSigners = string(pemOf("CERTIFICATE", cfg.MetadataSigner.Raw))
	}
	plain := &out.Provider.Config
	plain.Key, plain.Certificate, plain.Decryption, plain.MetadataSigner = nil, nil, nil, nil
	plain.Published, plain.Replay, plain.Now = nil, nil, nil
	return out
}

func keyPEM(t testing.TB, key crypto.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pemOf("PRIVATE KEY", der))
}
