package vaultpki_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
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
	// wildHost stands for hosts below it, and not for ownHost, which has its own.
	wildHost = "*.apps.example.com"
	ownHost  = "own.apps.example.com"
)

// vault is the server of this package's tests, provisioned once. None of them
// stops or seals it: those that need that start another, see ownVault. Parallel
// are the tests that mostly wait; what they change in Vault is theirs alone.
var vault *vaulttest.Server

// roleIDs holds the RoleID of each AppRole, by its name.
var roleIDs sync.Map

func roleID(role string) string {
	id, _ := roleIDs.Load(role)
	text, _ := id.(string)
	return text
}

// waitTogether has more parallel tests at once than there are processors, unless
// the command line says how many: they wait for the clock.
func waitTogether() error {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", "12")
}

// onlyFuzzing reports whether nothing but a fuzz target is to run, or nothing at all. None
// of them needs a Vault, and each of their workers, which are processes of their own, would
// start one.
func onlyFuzzing() bool {
	flag.Parse()
	if flag.Lookup("test.list").Value.String() != "" {
		return true
	}
	return flag.Lookup("test.fuzz").Value.String() != "" && flag.Lookup("test.run").Value.String() == "^$"
}

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	ctx := context.Background()
	if told := os.Getenv(childVariable); told != "" {
		return runChild(ctx, told)
	}
	if onlyFuzzing() {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "vaultpki")
	err = errors.Join(err, waitTogether(), quickenACME())
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
		EdgeHosts: []string{doorHost, notesHost, wildHost, ownHost}, SPEntityID: "https://door.example.com/saml/metadata",
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
		id, err := client.RoleID(ctx, "approle", role)
		if err != nil {
			return err
		}
		roleIDs.Store(role, id)
	}
	return prepareLies(ctx)
}

// ownVault starts a server of the test's own, to be stopped or sealed, with one
// AppRole, and returns the Config of a process that is introduced to it.
func ownVault(t *testing.T, rules string, settings map[string]any) (*vaulttest.Server, vaultpki.Config) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // it is stopped after the test
	server, err := vaulttest.Start(ctx, vaulttest.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	const role = "app"
	if err := server.Call(ctx, "POST", "sys/auth/approle", map[string]string{"type": "approle"}, nil); err != nil {
		t.Fatal(err)
	}
	id := makeRole(t, server, role, rules, settings)
	return server, vaultpki.Config{
		Server: vaultpki.Server{Address: server.Address, CAFile: server.CAFile}, Wait: 20 * time.Second,
		Method: vaultpki.AppRole{Role: role, RoleID: id, WrappingTokenFile: tokenFile(t, mintAt(t, server, role, 10*time.Minute))},
	}
}

// mint returns a fresh wrapping token for role.
func mint(t testing.TB, role string, ttl time.Duration) string {
	t.Helper()
	return mintAt(t, vault, role, ttl)
}

func mintAt(t testing.TB, server *vaulttest.Server, role string, ttl time.Duration) string {
	t.Helper()
	wrapped, err := introduce.Mint(t.Context(), introduce.Config{
		Server: vaultpki.Server{Address: server.Address, CAFile: server.CAFile}, Token: server.RootToken,
		Minting: vaultpki.Minting{Role: role, WrapTTL: ttl},
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
		Method: vaultpki.AppRole{Role: role, RoleID: roleID(role), WrappingTokenFile: file},
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
	body := map[string]string{"role_id": roleID(role), "secret_id": secretID.Data.SecretID}
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
