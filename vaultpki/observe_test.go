package vaultpki

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

func TestCallsHaveAWordForWhatTheyAskFor(t *testing.T) {
	tests := map[string]struct {
		call wire.Call
		want string
	}{
		"login by AppRole":         {wire.Call{Method: http.MethodPut, Path: "auth/approle/login"}, "login"},
		"login at a nested mount":  {wire.Call{Method: http.MethodPut, Path: "auth/team/jwt/login"}, "login"},
		"renewal":                  {wire.Call{Method: http.MethodPut, Path: "auth/token/renew-self"}, "renew"},
		"lookup":                   {wire.Call{Method: http.MethodGet, Path: lookupSelfPath}, "lookup"},
		"lookup of a wrapping":     {wire.Call{Method: http.MethodPut, Path: "sys/wrapping/lookup"}, "unwrap"},
		"unwrapping":               {wire.Call{Method: http.MethodPut, Path: "sys/wrapping/unwrap"}, "unwrap"},
		"minting an heir":          {wire.Call{Method: http.MethodPut, Path: "auth/approle/role/gateway/secret-id", WrapTTL: time.Hour}, "wrap"},
		"reading a secret":         {wire.Call{Method: http.MethodGet, Path: "secret/data/sallyport/saml"}, "read"},
		"a secret named like auth": {wire.Call{Method: http.MethodGet, Path: "secret/data/auth/x/login"}, "read"},
		"a secret named like sign": {wire.Call{Method: http.MethodGet, Path: "secret/data/x/sign/y"}, "read"},
		"wrapping a secret":        {wire.Call{Method: http.MethodGet, Path: "secret/data/x", WrapTTL: time.Minute}, "wrap"},
		"writing a secret":         {wire.Call{Method: http.MethodPut, Path: "secret/data/x"}, "write"},
		"listing secrets":          {wire.Call{Method: "LIST", Path: "secret/metadata/x"}, "list"},
		"deleting a secret":        {wire.Call{Method: http.MethodDelete, Path: "secret/metadata/x"}, "delete"},
		"signing a certificate":    {wire.Call{Method: http.MethodPut, Path: "pki-edge/sign/gateway"}, "sign"},
		"signing with transit":     {wire.Call{Method: http.MethodPut, Path: "transit/sign/sallyport"}, "sign"},
		"authorities":              {wire.Call{Method: "LIST", Path: "pki-edge/issuers"}, "authorities"},
		"one authority":            {wire.Call{Method: http.MethodGet, Path: "pki-edge/issuer/1234"}, "authorities"},
		"authorities of old":       {wire.Call{Method: http.MethodGet, Path: "pki-edge/cert/ca_chain"}, "authorities"},
		"revoking a certificate":   {wire.Call{Method: http.MethodPut, Path: "pki-edge/revoke"}, "revoke"},
		"revoking a token":         {wire.Call{Method: http.MethodPut, Path: "auth/token/revoke-accessor"}, "revoke"},
		"what may be done":         {wire.Call{Method: http.MethodPut, Path: "sys/capabilities-self"}, "capabilities"},
		"anything else":            {wire.Call{Method: http.MethodGet, Path: "sys/health"}, "other"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := opOf(test.call); got != test.want || !slices.Contains(ObservedOps, got) {
				t.Errorf("%q, expected %q, one of %q", got, test.want, ObservedOps)
			}
		})
	}
}

func TestCallsHaveAWordForHowTheyEnded(t *testing.T) {
	answered := func(status int, messages ...string) error {
		return &wire.StatusError{Status: status, Messages: messages, FromVault: true}
	}
	tests := map[string]struct {
		err  error
		want string
	}{
		"an answer":            {nil, "success"},
		"permission denied":    {answered(403, "permission denied"), "denied"},
		"no such secret":       {answered(404), "absent"},
		"sealed":               {answered(503, "Vault is sealed"), "sealed"},
		"away behind a proxy":  {answered(503), "fault"},
		"internal error":       {answered(500, "internal error"), "fault"},
		"a redirect":           {answered(307), "fault"},
		"a standby":            {answered(473), "fault"},
		"too many requests":    {answered(429), "busy"},
		"not replicated yet":   {answered(412), "busy"},
		"bad request":          {answered(400, "bad"), "refused"},
		"no connection":        {&wire.TransportError{Err: errors.New("connection refused")}, "unreachable"},
		"somebody else's name": {&wire.TransportError{Err: x509.HostnameError{}}, "untrusted"},
		"nobody waits":         {&wire.TransportError{Err: context.Canceled}, "cancelled"},
		"no answer in time":    {&wire.TransportError{Err: context.DeadlineExceeded}, "unreachable"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := resultOf(test.err); got != test.want || !slices.Contains(ObservedResults, got) {
				t.Errorf("%q, expected %q, one of %q", got, test.want, ObservedResults)
			}
		})
	}
}

// TestLoginIsObserved shows that what is observed begins with the login, and that the
// hostile path of a secret is no word of it.
func TestLoginIsObserved(t *testing.T) {
	vault := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Path == "/v1/secret/data/alice" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"errors":["permission denied"]}`))
			return
		}
		_, _ = w.Write([]byte(`{"auth":{"client_token":"t","accessor":"a","lease_duration":3600,"renewable":true},"data":{"ttl":3600}}`))
	}))
	defer vault.Close()
	var mu sync.Mutex
	var seen []Observation
	client, err := Login(t.Context(), Config{
		Server: Server{Address: vault.URL, UnsafeHTTP: true},
		Method: AppRole{Role: "gateway", RoleID: "id", UnsafeSecretID: "a-secret-of-many-characters"},
		Observe: func(o Observation) {
			mu.Lock()
			defer mu.Unlock()
			if o.Took <= 0 {
				t.Errorf("%s took %v", o.Op, o.Took)
			}
			o.Took = 0
			seen = append(seen, o)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	_, _ = client.readOnce(t.Context(), "secret/data/alice")
	mu.Lock()
	defer mu.Unlock()
	want := []Observation{{Op: "login", Result: "success"}, {Op: "lookup", Result: "success"}, {Op: "read", Result: "denied"}}
	if diff := cmp.Diff(want, seen[:min(len(want), len(seen))]); diff != "" {
		t.Errorf("observations (-want +got):\n%s", diff)
	}
}
