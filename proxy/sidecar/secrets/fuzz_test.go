package secrets_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
)

// answering is a Vault that says one thing to everything.
type answering struct{ answer *secrets.Answer }

func (a answering) Do(context.Context, secrets.Call) (*secrets.Answer, error) { return a.answer, nil }
func (a answering) Session() secrets.Session                                  { return secrets.Session{} }

// FuzzAnswer has Vault answer anything: it is rendered, or refused with an error that has
// nothing of it; nothing panics and nothing is lost of the state.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"path":"database/","type":"kv","options":{"version":"2"},"certificate":"x","expiration":1,"keys":["a",1]}`), int64(60), true)
	f.Add([]byte(`{"secret_id":"a","secret_id_ttl":-5,"rotation_period":1,"ttl":9223372036854775807,"path":""}`), int64(-1), false)
	f.Add([]byte(`{"path":5,"data":{"data":null},"ca_chain":[null]}`), int64(0), true)
	f.Fuzz(func(t *testing.T, text []byte, ttl int64, renewable bool) {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		var data map[string]any
		if decoder.Decode(&data) != nil {
			return
		}
		vault := answering{&secrets.Answer{Data: data, LeaseID: "lease", Lease: time.Duration(ttl), Renewable: renewable}}
		for _, template := range []string{
			`{{ with secret "database/creds/x" }}{{ .Data | toJSON }}{{ end }}`, `{{ range secrets "database/x" }}{{ . }}{{ end }}`,
			`{{ with pkiCert "pki/issue/x" "common_name=a" }}{{ .Cert }}{{ .Key }}{{ end }}`,
		} {
			s, err := secrets.New(t.Context(), secrets.Config{Vault: vault, App: &app{}, Stdin: template, Wait: time.Nanosecond})
			if err != nil {
				if len(err.Error()) > 4096 || strings.Contains(err.Error(), "-----BEGIN") {
					t.Errorf("the error has what Vault said: %q", err)
				}
				continue
			}
			if state := s.State(); state.Targets != 1 {
				t.Errorf("state %+v", state)
			}
			s.Close(t.Context())
		}
	})
}

// FuzzCheckTemplate judges any text: what is wrong stands on a line that there is.
func FuzzCheckTemplate(f *testing.F) {
	for _, seed := range []string{
		`{{ with secret "a" }}{{ .Data.x | sprig_quote }}{{ end }}`, "{{ if }}", "a\n{{ file \"x\" }}", "{{ define \"x\" }}\n{{ nope }}{{ end }}",
		"{{/*", "{{ range $i, $x := loop 3 }}{{ break }}{{ end }}", "{{ (((", "{{ sprig_none }}", "{{ $x }}", "{{ \"\n\" }}", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		err := secrets.CheckTemplate("t:1", text)
		var fault *secrets.Error
		if err != nil && !errors.As(err, &fault) {
			t.Fatalf("error %T", err)
		}
		if err != nil && (fault.Line < 0 || fault.Line > strings.Count(text, "\n")+1) {
			t.Errorf("line %d of %q: %v", fault.Line, text, err)
		}
	})
}
