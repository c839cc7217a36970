package vaultpki_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/vaulttest"
	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/introduce"
	"github.com/sallyport/sallyport/vaultpki/provision"
)

// What the shared Vault is provisioned with.
const (
	gatewayRole = "sallyport-gateway"
	sidecarRole = "sallyport-sidecar-notes"
	sidecarName = "notes.backend.sallyport.internal"
	clientName  = "gateway.sallyport.internal"
	doorHost    = "door.example.com"
	notesHost   = "notes.example.com"
)

// vault is the server of this package's tests, provisioned once. Tests that
// stop or seal it bring it back, and no test is parallel.
var vault *vaulttest.Server

// roleIDs holds the RoleID of each AppRole.
var roleIDs = map[string]string{}

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	ctx := context.Background()
	if told := os.Getenv(childVariable); told != "" {
		return runChild(ctx, told)
	}
	dir, err := os.MkdirTemp("", "vaultpki")
	if err == nil {
		defer os.RemoveAll(dir)
		vault, err = vaulttest.Start(ctx, vaulttest.Options{Dir: dir})
	}
	if err == nil {
		err = prepareVault(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Whatever lives must end with its Run or Close: certmagic's cache and jobs,
	// renewals, watches. Idle connections may outlive a Client for a minute.
	before := []goleak.Option{
		goleak.IgnoreCurrent(),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		// certmagic keeps one limiter per ACME account; pebble cannot be stopped.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"),
		goleak.IgnoreAnyFunction("github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks"),
	}
	code := m.Run()
	vault.Stop()
	if leak := goleak.Find(before...); code == 0 && leak != nil {
		fmt.Fprintln(os.Stderr, leak)
		return 1
	}
	return code
}

func prepareVault(ctx context.Context) error {
	client, err := provision.NewClient(provision.Config{Server: vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile}, Token: vault.RootToken})
	if err != nil {
		return err
	}
	desired, err := provision.New(provision.Spec{
		EdgeHosts: []string{doorHost, notesHost}, SPEntityID: "https://door.example.com/saml/metadata",
		Sidecars:    []provision.Sidecar{{Name: sidecarName}},
		IdPMetadata: []byte("<EntityDescriptor/>"),
	})
	if err != nil {
		return err
	}
	if _, err := provision.Apply(ctx, client, desired); err != nil {
		return err
	}
	for _, role := range []string{gatewayRole, sidecarRole} {
		if roleIDs[role], err = client.RoleID(ctx, "approle", role); err != nil {
			return err
		}
	}
	return errors.Join(prepareShortLives(ctx), prepareLies(ctx))
}

// prepareShortLives makes roles whose certificates and tokens last seconds:
// without the half minute that Vault dates certificates back.
func prepareShortLives(ctx context.Context) error {
	errs := []error{vault.Call(ctx, "POST", "pki-edge/roles/short", map[string]any{
		"allowed_domains": []string{"example.com"}, "allow_subdomains": true, "require_cn": false,
		"key_type": "ec", "key_bits": 256, "ttl": "1m", "max_ttl": "1m", "not_before_duration": "1s",
		"no_store": true, "server_flag": true, "client_flag": false,
	}, nil)}
	rules := `path "pki-edge/sign/short" { capabilities = ["update"] }
path "auth/token/renew-self" { capabilities = ["update"] }`
	errs = append(errs, vault.Call(ctx, "PUT", "sys/policies/acl/short", map[string]string{"policy": rules}, nil))
	for _, role := range []string{"lasting", "revoked", "capped"} {
		body := map[string]any{"token_policies": []string{"short"}, "token_period": "24s", "secret_id_num_uses": 1}
		switch role {
		case "revoked":
			body["token_period"] = "4s"
		case "capped":
			delete(body, "token_period")
			body["token_ttl"], body["token_max_ttl"] = "4s", "6s" // the second renewal is always cut short
		}
		errs = append(errs, vault.Call(ctx, "POST", "auth/approle/role/"+role, body, nil))
		var id struct {
			Data struct {
				RoleID string `json:"role_id"`
			} `json:"data"`
		}
		errs = append(errs, vault.Call(ctx, "GET", "auth/approle/role/"+role+"/role-id", nil, &id))
		roleIDs[role] = id.Data.RoleID
	}
	return errors.Join(errs...)
}

// mint returns a fresh wrapping token for role.
func mint(t testing.TB, role string, ttl time.Duration) string {
	t.Helper()
	wrapped, err := introduce.Mint(t.Context(), introduce.Config{
		Server: vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile}, Token: vault.RootToken, Minting: vaultpki.Minting{Role: role, WrapTTL: ttl},
	})
	if err != nil {
		t.Fatal(err)
	}
	return wrapped.Token
}

// tokenFile writes a token file as a secret mount would.
func tokenFile(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vault_wrapping_token")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// configFor returns a Config for role with the given token file.
func configFor(role, file string) vaultpki.Config {
	return vaultpki.Config{
		Server: vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile}, Wait: 20 * time.Second,
		Method: vaultpki.AppRole{Role: role, RoleID: roleIDs[role], WrappingTokenFile: file},
	}
}

// changed returns the Config's AppRole with a change.
func changed(cfg vaultpki.Config, change func(*vaultpki.AppRole)) vaultpki.Method {
	method := cfg.Method.(vaultpki.AppRole)
	change(&method)
	return method
}

// login introduces a fresh client of role.
func login(t testing.TB, role string) *vaultpki.Client {
	t.Helper()
	client, err := vaultpki.Login(t.Context(), configFor(role, tokenFile(t, mint(t, role, time.Minute))))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// tokenOf logs in with the HTTP API alone and returns the token, to find out
// what the role's policies allow.
func tokenOf(t *testing.T, role string) string {
	t.Helper()
	var secretID struct {
		Data struct {
			SecretID string `json:"secret_id"`
		} `json:"data"`
	}
	if err := vault.Call(t.Context(), "PUT", "auth/approle/role/"+role+"/secret-id", map[string]any{}, &secretID); err != nil {
		t.Fatal(err)
	}
	var auth struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		} `json:"auth"`
	}
	body := map[string]string{"role_id": roleIDs[role], "secret_id": secretID.Data.SecretID}
	if err := vault.Call(t.Context(), "PUT", "auth/approle/login", body, &auth); err != nil {
		t.Fatal(err)
	}
	return auth.Auth.ClientToken
}

// journal is a slog handler's output that can be read while it is written.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// entries returns the records whose message is msg.
func (j *journal) entries(t *testing.T, msg string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for line := range strings.Lines(j.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		if entry["msg"] == msg {
			found = append(found, entry)
		}
	}
	return found
}

// eventually polls until done returns true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting until %s", what)
		}
		select {
		case <-t.Context().Done():
			t.Fatal("test ended while waiting")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// inBackground runs f until the test ends, and checks that it then stops clean.
func inBackground(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("after a stop that was asked for: %v", err)
		}
	})
}

// fault handles one request in place of, before, or after Vault.
type fault func(w http.ResponseWriter, r *http.Request, vault http.Handler)

// standIn is an HTTPS server in front of the real Vault that breaks the calls
// it is told to.
type standIn struct {
	*httptest.Server
	CAFile string
	mu     sync.Mutex       // guards the rest
	faults map[string]fault // by the path below /v1/
	calls  map[string]int   // how often each path was called
}

func newStandIn(t *testing.T) *standIn {
	t.Helper()
	target, err := url.Parse(vault.Address)
	if err != nil {
		t.Fatal(err)
	}
	s := &standIn{faults: map[string]fault{}, calls: map[string]int{}}
	// Vault may reset a connection that it is asked to close, before its answer is
	// read; so connections are kept.
	transport := &http.Transport{TLSClientConfig: trustOf(t, vault.CAFile)}
	t.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: transport,
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/v1/")
		s.mu.Lock()
		s.calls[path]++
		f := s.faults[path]
		s.mu.Unlock()
		if f == nil {
			proxy.ServeHTTP(w, r)
			return
		}
		f(w, r, proxy)
	}))
	s.Server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.Server.StartTLS()
	t.Cleanup(s.Server.Close)
	s.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	writeCertificate(t, s.CAFile, s.Server.Certificate())
	return s
}

// on sets the fault for a path; nil removes it.
func (s *standIn) on(path string, f fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[path] = f
}

func (s *standIn) called(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[path]
}

// calledWith returns a path with all these parts that was called, and how often.
func (s *standIn) calledWith(parts ...string) (path string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, n := range s.calls {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(path, part) }) {
			return path, n
		}
	}
	return "", 0
}

// dropBefore closes the connection without asking Vault: failed.
func dropBefore(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

// dropAfter lets Vault do the call and loses its answer: failed but done.
func dropAfter(_ http.ResponseWriter, r *http.Request, vault http.Handler) {
	vault.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// answer replies with a status and a body of its own.
func answer(status int, body string) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// rewrite lets Vault answer and changes its JSON.
func rewrite(change func(answer map[string]any)) fault {
	return func(w http.ResponseWriter, r *http.Request, vault http.Handler) {
		recorder := httptest.NewRecorder()
		vault.ServeHTTP(recorder, r)
		var body map[string]any
		if err := json.Unmarshal(recorder.Body.Bytes(), &body); err == nil {
			change(body)
		}
		raw, err := json.Marshal(body)
		if err != nil {
			panic(err)
		}
		w.WriteHeader(recorder.Code)
		_, _ = w.Write(raw)
	}
}

// failTwice breaks the first two calls and lets the others through.
func failTwice(f fault) fault {
	var mu sync.Mutex
	failures := 0
	return func(w http.ResponseWriter, r *http.Request, vault http.Handler) {
		mu.Lock()
		failures++
		fail := failures <= 2
		mu.Unlock()
		if fail {
			f(w, r, vault)
			return
		}
		vault.ServeHTTP(w, r)
	}
}

// onceThen breaks the first call and lets the others through.
func onceThen(f fault) fault {
	var broken atomic.Bool
	return func(w http.ResponseWriter, r *http.Request, vault http.Handler) {
		if broken.CompareAndSwap(false, true) {
			f(w, r, vault)
			return
		}
		vault.ServeHTTP(w, r)
	}
}
