package provision_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/vaultpki/provision"
)

// setting changes what is at a path as an operator would by hand: the rest stays.
func setting(t *testing.T, path string, change map[string]any) {
	t.Helper()
	data := settings(t, path)
	for name, value := range change {
		data[name] = value
	}
	if err := vault.Call(t.Context(), "POST", path, data, nil); err != nil {
		t.Fatal(err)
	}
}

// settings returns what is at a path.
func settings(t *testing.T, path string) map[string]any {
	t.Helper()
	var answer struct {
		Data map[string]any `json:"data"`
	}
	if err := vault.Call(t.Context(), "GET", path, nil, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Data
}

// hurryTo does the steps of a rotation until that of a name comes next, whatever
// they are due, and returns when that is due.
func hurryTo(t *testing.T, cfg provision.RotationConfig, name string) time.Time {
	t.Helper()
	r := newRotation(t, cfg)
	r.Hurry()
	for range 6 {
		p, err := r.Next(t.Context(), newClient(t))
		if err != nil {
			t.Fatal(err)
		}
		if p.Step.Name == name {
			return p.Step.Due
		}
		if err := r.Step(t.Context(), newClient(t), func(provision.Progress) {}); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("the step %s does not come", name)
	return time.Time{}
}

func TestAnAuthorityIsRetiredAfterTheLastLeafBelowIt(t *testing.T) {
	lower := func(t *testing.T, spec *provision.Spec) {
		spec.CertTTL = time.Hour
		if done := strings.Join(mustApply(t, *spec), "\n"); !strings.Contains(done, "max_ttl 48h0m0s -> 1h0m0s") {
			t.Fatalf("apply did %s", done)
		}
	}
	byHand := func(t *testing.T, spec *provision.Spec) {
		setting(t, spec.BackendMount+"/roles/sidecar-notes", map[string]any{"ttl": 60, "max_ttl": 60})
		setting(t, spec.BackendMount+"/roles/sallyport-gateway", map[string]any{"ttl": 60, "max_ttl": 60})
	}
	nothing := func(*testing.T, *provision.Spec) {}
	for name, test := range map[string]struct {
		prefix, what  string
		before, after func(*testing.T, *provision.Spec) // the switch
	}{
		"a root, and leaves live as long as ever":           {"retire1", provision.Root, nothing, nothing},
		"a root, and leaves live shorter before the switch": {"retire2", provision.Root, lower, nothing},
		"a root, and leaves live shorter after the switch":  {"retire3", provision.Root, nothing, lower},
		"an intermediate, shorter before the switch":        {"retire4", provision.Intermediate, lower, nothing},
		"an intermediate, shorter by hand after the switch": {"retire5", provision.Intermediate, nothing, byHand},
	} {
		t.Run(name, func(t *testing.T) {
			spec := specFor(test.prefix)
			spec.CertTTL = 48 * time.Hour
			mustApply(t, spec)
			old, err := signLeaf(t.Context(), spec.BackendMount)
			if err != nil {
				t.Fatal(err)
			}
			cfg := provision.RotationConfig{Spec: spec, What: test.what, Side: provision.Backend, Settle: time.Minute}
			test.before(t, &spec)
			hurryTo(t, cfg, "retire")
			test.after(t, &spec)
			due := hurryTo(t, cfg, "retire")
			if due.Before(old.cert.NotAfter) || due.After(old.cert.NotAfter.Add(time.Hour)) {
				t.Errorf("it is retired at %s, expected soon after the leaf's end at %s", due, old.cert.NotAfter)
			}
			hurryTo(t, cfg, "next")
			if roots, count, err := trust(t.Context(), spec.BackendMount); err != nil || count != 1 || (old.verify(roots) == nil) != (test.what == provision.Intermediate) {
				t.Errorf("then %d roots are trusted: %v", count, err)
			}
		})
	}
}

func TestARoleThatWouldNotFollowStopsARotation(t *testing.T) {
	spec := specFor("pinned")
	mustApply(t, spec)
	cfg := provision.RotationConfig{Spec: spec, What: provision.Intermediate, Side: provision.Backend}
	setting(t, "pinned-backend/roles/sidecar-notes", map[string]any{"issuer_ref": "intermediate-1"})
	if _, err := newRotation(t, cfg).Next(t.Context(), newClient(t)); err == nil || !strings.Contains(err.Error(), `role "sidecar-notes" signs with the issuer "intermediate-1"`) {
		t.Errorf("error %v, expected a refusal that names the role", err)
	}
	setting(t, "pinned-backend/roles/sidecar-notes", map[string]any{"issuer_ref": "default"})
	if _, err := newRotation(t, cfg).Next(t.Context(), newClient(t)); err != nil {
		t.Error(err)
	}
}

// An update of a role, and one of an issuer, resets in Vault what it does not
// name.
func TestSettingsOfTheOperatorAreKept(t *testing.T) {
	spec := specFor("kept")
	mustApply(t, spec)
	const path, root = "kept-edge/roles/sallyport-edge", "kept-edge/issuer/root-1"
	own := map[string]any{
		"issuer_ref": "intermediate-1", "use_csr_common_name": false, "cn_validations": []any{"hostname"}, "signature_bits": json.Number("512"),
		"not_before_duration": json.Number("1"), "country": []any{"DE"}, "policy_identifiers": []any{"1.3.6.1.4.1.1.2"},
	}
	setting(t, path, own)
	before := settings(t, path)
	setting(t, path, map[string]any{
		"max_ttl": 172800, "ttl": 172800, "allowed_user_ids": []string{"*"}, "allowed_serial_numbers": []string{"*"},
		"ext_key_usage": []string{"ClientAuth"}, "allowed_uri_sans_template": true,
	})
	urls := []any{"https://pki.example.com/root.pem"}
	setting(t, root, map[string]any{"issuing_certificates": urls, "usage": "read-only"})
	want := []string{"~ pki role " + path + ": allowed_serial_numbers [*] -> [], allowed_uri_sans_template true -> false, allowed_user_ids [*] -> [], " +
		"ext_key_usage [ClientAuth] -> [], max_ttl 48h0m0s -> 24h0m0s, ttl 48h0m0s -> 24h0m0s"}
	if diff := cmp.Diff(want, mustApply(t, spec)); diff != "" {
		t.Errorf("apply (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, settings(t, path)); diff != "" {
		t.Errorf("the role (-before +after):\n%s", diff)
	}
	var name string
	var list struct {
		Data struct {
			Info map[string]struct {
				Name string `json:"issuer_name"`
			} `json:"key_info"`
		} `json:"data"`
	}
	if err := vault.Call(t.Context(), "LIST", "kept-edge/issuers", nil, &list); err != nil {
		t.Fatal(err)
	}
	for _, issuer := range list.Data.Info {
		if strings.HasPrefix(issuer.Name, "root-1.leaves-") {
			name = issuer.Name
		}
	}
	after := settings(t, "kept-edge/issuer/"+name)
	if diff := cmp.Diff(urls, after["issuing_certificates"]); diff != "" || after["usage"] != "read-only" {
		t.Errorf("%s has usage %v and other URLs (-want +got):\n%s", name, after["usage"], diff)
	}
}

// Vault fails to list, or to show, what is removed at the same time.
func TestIssuersAreReadAgainWhileOneIsRemoved(t *testing.T) {
	spec := specFor("vanish")
	mustApply(t, spec)
	for name, test := range map[string]struct {
		path, message string
		times         int64
		works         bool
	}{
		"listed no more":   {"/issuers", "1 error occurred: * pki issuer id 7 does not exist", 2, true},
		"shown no more":    {"/json", "unable to find PKI issuer for reference: 7", 2, true},
		"never to be seen": {"/json", "unable to find PKI issuer for reference: 7", 1000, false},
		"another fault":    {"/issuers", "internal error", 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			var faults atomic.Int64
			proxy := newProxy(t)
			front := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, test.path) && faults.Add(1) <= test.times {
					w.WriteHeader(http.StatusInternalServerError)
					_, _ = io.WriteString(w, `{"errors":["`+test.message+`"]}`)
					return
				}
				proxy.ServeHTTP(w, r)
			}))
			defer front.Close()
			if _, err := provision.Plan(t.Context(), clientOf(t, front), desired(t, spec)); (err == nil) != test.works {
				t.Errorf("planning: %v", err)
			}
		})
	}
}
