package secrets_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/vaulttest"
	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/introduce"
)

// vault is the server of this package's tests. None of them stops it but those that start
// their own.
var vault *vaulttest.Server

// appPolicy is what the application's sidecar may do in the tests' Vault.
const appPolicy = `
path "secret/data/app/*" { capabilities = ["read", "create", "update"] }
path "secret/metadata/app/*" { capabilities = ["read", "list"] }
path "old/app/*" { capabilities = ["read", "list"] }
path "pki/issue/app" { capabilities = ["update"] }
path "leased/issue/app" { capabilities = ["update"] }
path "transit/decrypt/app" { capabilities = ["update"] }
path "transit/encrypt/app" { capabilities = ["update"] }
path "auth/token/create" { capabilities = ["create", "update", "sudo"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
path "sys/leases/renew" { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }
`

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	if dir := os.Getenv(killVariable); dir != "" {
		renderForEver(dir)
		return 1
	}
	if dir := os.Getenv(stepVariable); dir != "" {
		return liveToStep(dir)
	}
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" || flag.Lookup("test.list").Value.String() != "" {
		return m.Run() // no target needs a Vault
	}
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "secrets")
	if err == nil {
		defer os.RemoveAll(dir)
		vault, err = vaulttest.Start(ctx, vaulttest.Options{Dir: dir})
	}
	if err == nil {
		err = prepareVault(ctx, vault)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	before := []goleak.Option{
		goleak.IgnoreCurrent(),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
	}
	code := m.Run()
	vault.Stop()
	if leak := goleak.Find(before...); code == 0 && leak != nil {
		fmt.Fprintln(os.Stderr, leak)
		return 1
	}
	return code
}

// prepareVault mounts what the tests read.
func prepareVault(ctx context.Context, server *vaulttest.Server) error {
	type object = map[string]any
	for _, call := range []struct {
		path string
		body object
	}{
		{"sys/mounts/secret", object{"type": "kv", "options": object{"version": "2"}}},
		{"sys/mounts/old", object{"type": "kv", "options": object{"version": "1"}}},
		{"sys/mounts/transit", object{"type": "transit"}},
		{"transit/keys/app", object{}},
		{"sys/mounts/pki", object{"type": "pki"}},
		{"sys/mounts/leased", object{"type": "pki"}},
		{"pki/root/generate/internal", object{"common_name": "root", "key_type": "ec"}},
		{"leased/root/generate/internal", object{"common_name": "root", "key_type": "ec"}},
		{"pki/roles/app", object{"allow_any_name": true, "key_type": "ec", "key_bits": 256, "enforce_hostnames": false, "max_ttl": "24h"}},
		{"leased/roles/app", object{"allow_any_name": true, "key_type": "ec", "key_bits": 256, "enforce_hostnames": false, "max_ttl": "24h", "generate_lease": true}},
		{"sys/auth/approle", object{"type": "approle"}},
		{"sys/policies/acl/app", object{"policy": appPolicy}},
		{"auth/approle/role/app", object{"token_policies": "app", "token_ttl": "1h", "secret_id_num_uses": 1}},
	} {
		if err := server.Call(ctx, "POST", call.path, call.body, nil); err != nil {
			return err
		}
	}
	return nil
}

// write writes a secret of KV version 2, for the tests that change one.
func write(t *testing.T, path string, fields map[string]string) {
	t.Helper()
	if err := vault.Call(t.Context(), "POST", "secret/data/"+path, map[string]any{"data": fields}, nil); err != nil {
		t.Fatal(err)
	}
}

// login opens a session of the application's sidecar, which Run would keep alive.
func login(t *testing.T, server *vaulttest.Server, role string) *vaultpki.Client {
	t.Helper()
	var id struct {
		Data struct {
			RoleID string `json:"role_id"`
		} `json:"data"`
	}
	if err := server.Call(t.Context(), "GET", "auth/approle/role/"+role+"/role-id", nil, &id); err != nil {
		t.Fatal(err)
	}
	place := vaultpki.Server{Address: server.Address, CAFile: server.CAFile}
	wrapped, err := introduce.Mint(t.Context(), introduce.Config{Server: place, Token: server.RootToken, Minting: vaultpki.Minting{Role: role, WrapTTL: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(wrapped.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := vaultpki.Login(t.Context(), vaultpki.Config{
		Server: place, Method: vaultpki.AppRole{Role: role, RoleID: id.Data.RoleID, WrappingTokenFile: file}, Wait: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// session has secrets read in a client's session, as the command does.
type session struct{ client *vaultpki.Client }

func (s session) Do(ctx context.Context, call secrets.Call) (*secrets.Answer, error) {
	query := map[string]string{}
	for name := range call.Query {
		query[name] = call.Query.Get(name)
	}
	answer, err := s.client.Ask(ctx, vaultpki.Ask{Method: call.Method, Path: call.Path, Query: query, Body: call.Body, Token: call.Token, Urgent: call.Urgent})
	if err != nil {
		kinds := map[vaultpki.Reason]secrets.Kind{
			vaultpki.ReasonDenied: secrets.Denied, vaultpki.ReasonMissingSecret: secrets.Absent, vaultpki.ReasonConfig: secrets.Refused,
		}
		return nil, &secrets.CallError{Kind: kinds[vaultpki.ReasonOf(err)], Err: errors.Unwrap(err)}
	}
	if answer == nil {
		return nil, nil
	}
	return &secrets.Answer{
		RequestID: answer.RequestID, Data: answer.Data, LeaseID: answer.LeaseID, Lease: answer.Lease,
		Renewable: answer.Renewable, Auth: (*secrets.Auth)(answer.Auth),
	}, nil
}

func (s session) Session() secrets.Session {
	turned, back := s.client.Turned(), s.client.Back()
	status := s.client.Status()
	return secrets.Session{Since: status.Since, Expires: status.Expires, Turned: turned, Back: back}
}

// memory is a folder of the test's own on a tmpfs.
func memory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "secrets")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// journal is a log that can be read while it is written.
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

// await waits for something that happens by itself, and fails the test if it does not.
func await(t testing.TB, what string, happened func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !happened() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for: %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// content reads a file that must be there.
func content(t testing.TB, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// running runs s until the test ends, or the returned function is called.
func running(t *testing.T, s *secrets.Secrets) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// app remembers what it was told.
type app struct {
	mu   sync.Mutex
	told []string
	fail error
	env  []string
}

func (a *app) tell(what string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told = append(a.told, what)
	return a.fail
}

func (a *app) Signal(signal os.Signal) error { return a.tell(signal.String()) }

func (a *app) Restart(_ context.Context, env []string, stdin []byte) error {
	a.mu.Lock()
	a.env = env
	a.mu.Unlock()
	return a.tell("restart " + string(stdin))
}

func (a *app) heard() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string{}, a.told...)
}

func (a *app) count(what string) int { return strings.Count(strings.Join(a.heard(), "\n"), what) }
