package vaultpki_test

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/vaulttest"
	"github.com/sallyport/sallyport/vaultpki"
)

// These tests have Vault's own Kubernetes auth method, as a plugin, judge tokens.
// What it asks is a stand-in: no Kubernetes can be had in a test. Of the cluster's
// API the method uses one call, and the stand-in answers it as the cluster does.

// reviewerToken is what the method shows the cluster, to be allowed to ask.
const reviewerToken = "reviewer-of-tokens"

// account is a service account.
type account struct{ namespace, name, uid string }

// theGateway is the account that the role in Vault is for.
var theGateway = account{"tools", "gateway", "5f0d7b0e-uid"}

// apiServer stands in for the API server of a Kubernetes cluster: it issues
// tokens, and says which of them are good.
type apiServer struct {
	*httptest.Server
	signer   *issuer
	mu       sync.Mutex         // guards the rest
	issued   map[string]account // by token; without those that were revoked
	reviewed []string           // tokens, in the order in which they were asked about
	fault    http.HandlerFunc   // answers in place of all of this; nil for none
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	a := &apiServer{signer: newSigner(t), issued: map[string]account{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /apis/authentication.k8s.io/v1/tokenreviews", a.review)
	a.Server = httptest.NewUnstartedServer(mux)
	a.Server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	a.Server.StartTLS()
	t.Cleanup(a.Server.Close)
	return a
}

// review answers a TokenReview.
func (a *apiServer) review(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var asked struct {
		Spec struct {
			Token     string   `json:"token"`
			Audiences []string `json:"audiences"`
		} `json:"spec"`
	}
	switch err := json.NewDecoder(r.Body).Decode(&asked); {
	case a.fault != nil:
		a.fault(w, r)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case r.Header.Get("Authorization") != "Bearer "+reviewerToken:
		http.Error(w, "the reviewer is not known", http.StatusUnauthorized)
		return
	}
	a.reviewed = append(a.reviewed, asked.Spec.Token)
	status := map[string]any{"authenticated": false, "error": "[invalid bearer token, Token has been invalidated]"}
	if of, ok := a.issued[asked.Spec.Token]; ok && slices.Contains(asked.Spec.Audiences, "vault") {
		status = map[string]any{"authenticated": true, "audiences": []string{"vault"}, "user": map[string]any{
			"username": "system:serviceaccount:" + of.namespace + ":" + of.name, "uid": of.uid,
			"groups": []string{"system:serviceaccounts", "system:serviceaccounts:" + of.namespace, "system:authenticated"},
		}}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status})
}

// issue returns a token as the kubelet mounts it into the pods of an account.
func (a *apiServer) issue(t *testing.T, of account, audience string) string {
	t.Helper()
	token := a.signer.signClaims(t, map[string]any{
		"iss": "https://kubernetes.default.svc.cluster.local", "sub": "system:serviceaccount:" + of.namespace + ":" + of.name,
		"aud": []string{audience}, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		"kubernetes.io": map[string]any{
			"namespace": of.namespace, "serviceaccount": map[string]string{"name": of.name, "uid": of.uid},
			"pod": map[string]string{"name": of.name + "-0", "uid": "a-pod"},
		},
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.issued[token] = of
	return token
}

// revoke does what the deletion of a pod does to its token.
func (a *apiServer) revoke(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.issued, token)
}

// fail has the API answer with f until it is nil.
func (a *apiServer) fail(f http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fault = f
}

// asked returns the tokens that were asked about, each once.
func (a *apiServer) asked() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Compact(slices.Clone(a.reviewed))
}

// kubernetes is a Vault with the auth method, and the cluster that it asks.
type kubernetes struct {
	vault *vaulttest.Server
	api   *apiServer
	file  string // where a pod finds its token
	log   journal
}

// newKubernetes starts a Vault of the test's own: another server needs no plugins.
func newKubernetes(t *testing.T) *kubernetes {
	t.Helper()
	plugin, err := vaulttest.Plugin(vaulttest.KubernetesPlugin)
	if err != nil {
		t.Fatal(err)
	}
	k := &kubernetes{api: newAPIServer(t), file: filepath.Join(t.TempDir(), "token")}
	if k.vault, err = vaulttest.Start(t.Context(), vaulttest.Options{Dir: t.TempDir(), PluginDir: filepath.Dir(plugin)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.vault.Stop)
	if err := k.vault.Register(t.Context(), "auth", "kubernetes", plugin); err != nil {
		t.Fatal(err)
	}
	k.prepare(t, "POST", "sys/auth/kubernetes", map[string]string{"type": "kubernetes"})
	k.prepare(t, "PUT", "sys/policies/acl/own-token", map[string]string{"policy": `path "auth/token/renew-self" { capabilities = ["update"] }`})
	k.prepare(t, "POST", "auth/kubernetes/config", map[string]any{
		"kubernetes_host": k.api.URL, "token_reviewer_jwt": reviewerToken, "disable_local_ca_jwt": true,
		"kubernetes_ca_cert": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.api.Certificate().Raw})),
	})
	k.prepare(t, "POST", "auth/kubernetes/role/gateway", map[string]any{
		"bound_service_account_names": []string{theGateway.name}, "bound_service_account_namespaces": []string{theGateway.namespace},
		"audience": "vault", "token_policies": []string{"own-token"}, "token_ttl": "3s", "token_max_ttl": "4s", "token_no_default_policy": true,
	})
	return k
}

func (k *kubernetes) prepare(t *testing.T, method, path string, body any) {
	t.Helper()
	if err := k.vault.Call(t.Context(), method, path, body, nil); err != nil {
		t.Fatal(err)
	}
}

// login logs in as a pod of the role does whose token is in the file.
func (k *kubernetes) login(t *testing.T, role string) (*vaultpki.Client, error) {
	t.Helper()
	return vaultpki.Login(t.Context(), vaultpki.Config{
		Server: vaultpki.Server{Address: k.vault.Address, CAFile: k.vault.CAFile},
		Method: vaultpki.JWT{Kubernetes: true, Role: role, File: k.file}, Log: k.log.logger(), Wait: 5 * time.Second,
	})
}

// TestKubernetesLogsInAgainWithTheRotatedToken: the token of the file is replaced
// in time, and once too late, after the cluster has called it invalid.
func TestKubernetesLogsInAgainWithTheRotatedToken(t *testing.T) {
	t.Parallel()
	k := newKubernetes(t)
	first := k.api.issue(t, theGateway, "vault")
	putFile(t, k.file, first)
	client, err := k.login(t, "gateway")
	if err != nil {
		t.Fatal(err)
	}
	if s := client.Status(); s.Method != "kubernetes" || !s.ComesBack || s.TTL != 3*time.Second {
		t.Errorf("status %+v", s)
	}
	second := k.api.issue(t, theGateway, "vault")
	putFile(t, k.file, second)
	k.api.revoke(first)
	inBackground(t, client.Run)
	eventually(t, "it has logged in again after the longest life of its token", func() bool { return len(k.log.entries(t, "logged in")) == 2 })

	k.api.revoke(second)
	refused := func() int {
		return len(k.log.entries(t, "renewing the vault token did not succeed")) + len(k.log.entries(t, "logging in again did not succeed"))
	}
	eventually(t, "it was refused", func() bool { return refused() > 0 })
	third := k.api.issue(t, theGateway, "vault")
	putFile(t, k.file, third)
	eventually(t, "it has logged in with the next token", func() bool { return len(k.log.entries(t, "logged in")) == 3 && !client.Status().Lost })

	if got := k.api.asked(); !slices.Equal(got, []string{first, second, third}) {
		t.Errorf("the cluster was asked about %d tokens, expected the three of the file in their order", len(got))
	}
	if n := len(k.log.entries(t, "vault token renewed")); n == 0 {
		t.Error("the token was never renewed: each renewal was a login")
	}
	if strings.Contains(k.log.String(), "eyJ") || strings.Contains(k.log.String(), "hvs.") {
		t.Errorf("the log shows a token:\n%s", k.log.String())
	}
}

func TestKubernetesIsRefused(t *testing.T) {
	t.Parallel()
	k := newKubernetes(t)
	good, deleted := k.api.issue(t, theGateway, "vault"), k.api.issue(t, theGateway, "vault")
	k.api.revoke(deleted)
	putFile(t, k.file, good)
	if _, err := k.login(t, "gateway"); err != nil {
		t.Fatal(err) // what follows would be refused for another reason than it says
	}
	const denied = "permission denied" // all that Vault says of the cluster's answer
	for name, test := range map[string]struct {
		role, token string
		fault       http.HandlerFunc
		want        string
	}{
		"another account":      {"gateway", k.api.issue(t, account{"tools", "notes", "u"}, "vault"), nil, "service account name not authorized"},
		"another namespace":    {"gateway", k.api.issue(t, account{"default", "gateway", "u"}, "vault"), nil, "namespace not authorized"},
		"another audience":     {"gateway", k.api.issue(t, theGateway, "https://kubernetes.default.svc"), nil, "invalid audience"},
		"an unknown role":      {"nosuch", good, nil, `invalid role name "nosuch"`},
		"a pod that is gone":   {"gateway", deleted, nil, denied},
		"another cluster":      {"gateway", newAPIServer(t).issue(t, theGateway, "vault"), nil, denied},
		"no right to ask":      {"gateway", good, status(http.StatusForbidden), denied},
		"a cluster in trouble": {"gateway", good, status(http.StatusServiceUnavailable), denied},
	} {
		t.Run(name, func(t *testing.T) {
			k.api.fail(test.fault)
			putFile(t, k.file, test.token)
			_, err := k.login(t, test.role)
			refusal{vaultpki.ReasonLoginRefused, test.want, ""}.check(t, err, &k.log)
			if refused := (*vaultpki.Error)(nil); errors.As(err, &refused) && !strings.Contains(refused.Hint, "service accounts, namespaces and audience") {
				t.Errorf("hint %q", refused.Hint)
			}
			if strings.Contains(k.log.String()+err.Error(), "eyJ") {
				t.Errorf("a token is shown: %v\n%s", err, k.log.String())
			}
		})
	}
}

// status answers with nothing but an HTTP status.
func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}
