package vaultpki_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/vaultpki"
)

func putKV(t *testing.T, path string, data map[string]any) {
	t.Helper()
	if err := vault.Call(t.Context(), "PUT", path, map[string]any{"data": data}, nil); err != nil {
		t.Fatal(err)
	}
}

func TestKVFieldsAreReadWithTheirVersion(t *testing.T) {
	client := login(t, gatewayRole)
	putKV(t, "secret/data/sallyport/gateway", map[string]any{"config": "first"})
	putKV(t, "secret/data/sallyport/gateway", map[string]any{"config": "second", "empty": "", "number": 7})
	kv, err := client.ReadKV(t.Context(), "secret", "sallyport/gateway")
	if err != nil {
		t.Fatal(err)
	}
	var current struct {
		Data struct {
			Metadata struct {
				Version int `json:"version"`
			} `json:"metadata"`
		} `json:"data"`
	}
	if err := vault.Call(t.Context(), "GET", "secret/data/sallyport/gateway", nil, &current); err != nil {
		t.Fatal(err)
	}
	if kv.Version != current.Data.Metadata.Version || kv.Mount != "secret" || kv.Path != "sallyport/gateway" {
		t.Errorf("read %v, expected version %d of secret/sallyport/gateway", kv, current.Data.Metadata.Version)
	}
	if value, err := kv.Field("config"); err != nil || value != "second" {
		t.Errorf("Field(config) = %q, %v", value, err)
	}
	if value, ok := kv.Optional("config"); !ok || value != "second" {
		t.Errorf("Optional(config) = %q, %t", value, ok)
	}
	for name, fault := range map[string]string{"absent": "is absent", "empty": "is empty", "number": "expected a string"} {
		if value, ok := kv.Optional(name); ok || value != "" {
			t.Errorf("Optional(%s) = %q, %t; expected nothing", name, value, ok)
		}
		_, err := kv.Field(name)
		if vaultpki.ReasonOf(err) != vaultpki.ReasonMissingField {
			t.Errorf("Field(%s): reason %s, expected missing_field", name, vaultpki.ReasonOf(err))
		}
		for _, want := range []string{fault, `"` + name + `"`, "secret/sallyport/gateway"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Field(%s): %v, expected it to say %s", name, err, want)
			}
		}
	}
}

func TestKVReadIsRefused(t *testing.T) {
	if err := vault.Call(t.Context(), "POST", "sys/mounts/old", map[string]any{"type": "kv", "options": map[string]string{"version": "1"}}, nil); err != nil {
		t.Fatal(err)
	}
	for path, body := range map[string]any{
		"old/data/legacy":             map[string]any{"value": "x"},
		"sys/policies/acl/kv-refused": map[string]any{"policy": `path "old/*" { capabilities = ["read"] } path "nowhere/*" { capabilities = ["read"] }`},
		"auth/approle/role/" + "kv-refused": map[string]any{
			"token_policies": []string{"kv-refused", gatewayRole}, "token_period": "1h", "secret_id_num_uses": 1,
		},
	} {
		if err := vault.Call(t.Context(), "PUT", path, body, nil); err != nil {
			t.Fatal(err)
		}
	}
	var id struct {
		Data map[string]any `json:"data"`
	}
	if err := vault.Call(t.Context(), "GET", "auth/approle/role/kv-refused/role-id", nil, &id); err != nil {
		t.Fatal(err)
	}
	roleIDs.Store("kv-refused", id.Data["role_id"])
	client := login(t, "kv-refused")

	putKV(t, "secret/data/sallyport/gateway", map[string]any{"config": "gone soon"})
	if err := vault.Call(t.Context(), "DELETE", "secret/data/sallyport/gateway", nil, nil); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		mount, path string
		reason      vaultpki.Reason
		text, hint  string
	}{
		"path of another process": {
			"secret", "sallyport/sidecar/notes", vaultpki.ReasonDenied,
			"permission denied", `path "secret/data/sallyport/sidecar/notes"`,
		},
		"deleted version":         {"secret", "sallyport/gateway", vaultpki.ReasonMissingSecret, "is deleted", "vault kv undelete -mount=secret -versions="},
		"no such mount":           {"nowhere", "x", vaultpki.ReasonMissingSecret, "no such secret", "vault kv put"},
		"mount of KV version 1":   {"old", "legacy", vaultpki.ReasonConfig, "no data and metadata", "KV version 2"},
		"path that climbs":        {"secret", "sallyport/../../sys/seal", vaultpki.ReasonConfig, "..", ""},
		"path with a query":       {"secret", "sallyport/saml?version=1", vaultpki.ReasonConfig, "unexpected character", ""},
		"mount with empty labels": {"secret//x", "sallyport/saml", vaultpki.ReasonConfig, "single slashes", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := client.ReadKV(t.Context(), test.mount, test.path)
			var e *vaultpki.Error
			if !errors.As(err, &e) {
				t.Fatalf("error is %T %v", err, err)
			}
			if e.Reason != test.reason || !strings.Contains(err.Error(), test.text) || !strings.Contains(e.Hint, test.hint) {
				t.Errorf("%s: %v (hint: %s); expected %s with %q and hint %q", e.Reason, err, e.Hint, test.reason, test.text, test.hint)
			}
		})
	}

	var metadata struct {
		Data struct {
			Version int `json:"current_version"`
		} `json:"data"`
	}
	if err := vault.Call(t.Context(), "GET", "secret/metadata/sallyport/gateway", nil, &metadata); err != nil {
		t.Fatal(err)
	}
	prepare(t, "PUT", "secret/destroy/sallyport/gateway", map[string]any{"versions": []int{metadata.Data.Version}}, nil)
	var e *vaultpki.Error
	_, err := client.ReadKV(t.Context(), "secret", "sallyport/gateway")
	if !errors.As(err, &e) || !strings.Contains(err.Error(), "is destroyed") || !strings.Contains(e.Hint, "vault kv rollback -mount=secret -version=N sallyport/gateway") {
		t.Errorf("of a destroyed version: %v, hint %+v", err, e)
	}
}

func TestKVShowsItsValuesInNoFormat(t *testing.T) {
	putKV(t, "secret/data/sallyport/gateway", map[string]any{"config": "canary-of-kv"})
	kv, err := login(t, gatewayRole).ReadKV(t.Context(), "secret", "sallyport/gateway")
	if err != nil {
		t.Fatal(err)
	}
	var log journal
	log.logger().Info("kv", "kv", kv, "pointer", &kv, "in", map[string]any{"kv": kv})
	raw, err := json.Marshal(map[string]any{"kv": kv})
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{log.String(), string(raw)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%T"} {
		texts = append(texts, fmt.Sprintf(verb, kv), fmt.Sprintf(verb, &kv), fmt.Sprintf(verb, []any{kv}))
	}
	for _, text := range texts {
		if strings.Contains(text, "canary") || strings.Contains(text, "63616e617279") {
			t.Errorf("the value is shown: %s", text)
		}
	}
	want := fmt.Sprintf("secret/sallyport/gateway version %d [redacted]", kv.Version)
	if diff := cmp.Diff(want, fmt.Sprint(kv)); diff != "" {
		t.Errorf("format (-want +got):\n%s", diff)
	}
}

func TestReadIsRepeatedWhileVaultIsAway(t *testing.T) {
	t.Parallel()
	const path = "secret/data/sallyport/session"
	tests := map[string]fault{
		"connection dropped":  dropBefore,
		"answer lost":         dropAfter,
		"bad gateway":         answer(502, "<html>"),
		"sealed":              answer(503, `{"errors":["Vault is sealed"]}`),
		"asked to wait":       answer(429, `{"errors":["rate limit"]}`),
		"standby":             answer(473, ``),
		"not yet replicated":  answer(412, `{"errors":["required index state not present"]}`),
		"answer is not JSON":  answer(200, `<html>`),
		"answer is too large": answer(200, `{"data":"`+strings.Repeat("x", 2<<20)+`"}`),
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			front := newStandIn(t)
			cfg := configFor(gatewayRole, tokenFile(t, mint(t, gatewayRole, time.Minute)))
			cfg.Address, cfg.CAFile = front.URL, front.CAFile
			client, err := vaultpki.Login(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			front.on(path, failTwice(f))
			kv, err := client.ReadKV(t.Context(), "secret", "sallyport/session")
			if err != nil || kv.Version < 1 {
				t.Errorf("read %v, %v", kv, err)
			}
			if n := front.called(path); n != 3 {
				t.Errorf("sent %d times, expected two failures and a success", n)
			}
			// Of itself; net/http may repeat a GET on a connection that was closed.
			before := front.called(path)
			front.on(path, failTwice(f))
			_, err = client.PeekKV(t.Context(), "secret", "sallyport/session")
			want := vaultpki.ReasonUnreachable
			if name == "sealed" {
				want = vaultpki.ReasonSealed
			}
			if n := front.called(path) - before; n > 2 || vaultpki.ReasonOf(err) != want {
				t.Errorf("a look asked %d times and ended with %v", n, err)
			}
		})
	}
}
