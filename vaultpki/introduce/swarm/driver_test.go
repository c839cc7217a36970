package swarm

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/internal/vaulttest"
	"github.com/sallyport/sallyport/vaultpki"
)

// shared is the Vault of this package's tests. It is started when it is first
// needed: a fuzz target's workers do without.
var shared struct {
	once  sync.Once
	vault *vaulttest.Server
	err   error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.vault != nil {
		shared.vault.Stop()
		os.RemoveAll(shared.vault.Dir)
	}
	os.Exit(code)
}

// vault returns a Vault with an AppRole "app" and a secret apps/db.
func vault(t *testing.T) *vaulttest.Server {
	t.Helper()
	shared.once.Do(func() { shared.vault, shared.err = startVault(context.Background()) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.vault
}

func startVault(ctx context.Context) (*vaulttest.Server, error) {
	dir, err := os.MkdirTemp("", "swarm")
	if err != nil {
		return nil, err
	}
	server, err := vaulttest.Start(ctx, vaulttest.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		server.Call(ctx, "POST", "sys/auth/approle", map[string]any{"type": "approle"}, nil),
		server.Call(ctx, "POST", "auth/approle/role/app", map[string]any{"secret_id_num_uses": 1, "token_ttl": "1h"}, nil),
		server.Call(ctx, "POST", "sys/mounts/secret", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}}, nil),
	)
	for err == nil { // the mount is upgraded to version 2 in the background
		secret := map[string]any{"user": "shop", "password": "c4nary", "port": 5432}
		if err = server.Call(ctx, "POST", "secret/data/apps/db", map[string]any{"data": secret}, nil); err == nil {
			break
		}
		if strings.Contains(err.Error(), "Upgrading") {
			err = nil
		}
	}
	return server, err
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

// stage is a driver with the grants of all these tests, and what is seen of it.
type stage struct {
	*Driver
	log    journal
	mu     sync.Mutex // guards counts
	counts map[string]int
}

// ask is whom the driver asks, unless a test brings its own.
func ask(t *testing.T, address, caFile string) Vault {
	t.Helper()
	client, err := vaultpki.WithToken(vaultpki.Server{Address: address, CAFile: caFile}, vault(t).RootToken)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func newStage(t *testing.T, v Vault) *stage {
	t.Helper()
	s := &stage{counts: map[string]int{}}
	shop := Services{Names: []string{"shop_*"}, Stacks: []string{"shop"}, Labels: map[string]string{"tier": "web"}}
	driver, err := NewDriver(DriverConfig{
		Vault: v,
		Roles: []RoleGrant{{Services: shop, Minting: vaultpki.Minting{Role: "app", WrapTTL: time.Minute}}, {Services: shop, Minting: vaultpki.Minting{Role: "absent"}}},
		KV: []KVGrant{
			{Services: shop, Mount: "secret", Path: "apps/db", Fields: []string{"password", "port"}, Wrapped: true},
			{Services: shop, Mount: "secret", Path: "apps/absent", Fields: []string{"password"}, Wrapped: true},
		},
		Observe: func(kind, result string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.counts[kind+" "+result]++
		},
		Log: slog.New(slog.NewJSONHandler(&s.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Driver = driver
	return s
}

// askFor is what the engine would ask for a task of an allowed service.
func askFor(task string, change ...func(*request)) request {
	r := request{
		SecretName: "shop_token", SecretLabels: map[string]string{LabelRole: "app"},
		ServiceID: "s1", ServiceName: "shop_web", TaskID: task, TaskName: "shop_web.1." + task,
		ServiceLabels: map[string]string{LabelRole: "app", labelStack: "shop", "tier": "web"},
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

// wanting changes the labels of the secret.
func wanting(pairs ...string) func(*request) {
	return func(r *request) {
		r.SecretLabels = map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			r.SecretLabels[pairs[i]] = pairs[i+1]
		}
	}
}

// get asks the driver as the engine does.
func (s *stage) get(t *testing.T, r request) (answer, int) {
	t.Helper()
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	recorder := httptest.NewRecorder()
	s.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/SecretProvider.GetSecret", bytes.NewReader(raw)))
	var a answer
	if err := json.Unmarshal(recorder.Body.Bytes(), &a); err != nil {
		t.Fatalf("answer %q: %v", recorder.Body.String(), err)
	}
	if !a.DoNotReuse {
		t.Error("the engine may reuse the answer for another task")
	}
	return a, recorder.Code
}

// value is get for what has to be handed out.
func (s *stage) value(t *testing.T, r request) string {
	t.Helper()
	a, code := s.get(t, r)
	if code != http.StatusOK || a.Err != "" || len(a.Value) == 0 {
		t.Fatalf("answer %d %q\n%s", code, a.Err, s.log.String())
	}
	return string(a.Value)
}

// unwrap redeems a wrapping token.
func unwrap(t *testing.T, token string) map[string]any {
	t.Helper()
	var out struct{ Data map[string]any }
	if err := vault(t).Call(t.Context(), "PUT", "sys/wrapping/unwrap", map[string]string{"token": token}, &out); err != nil {
		t.Fatal(err)
	}
	return out.Data
}

func TestEachTaskHasOneTokenOfItsOwn(t *testing.T) {
	s := newStage(t, ask(t, vault(t).Address, vault(t).CAFile))
	first := s.value(t, askFor("task1"))
	if again := s.value(t, askFor("task1")); again != first {
		t.Error("asked again for the same task, the driver made another token")
	}
	second := s.value(t, askFor("task2"))
	other := s.value(t, askFor("task1", func(r *request) { r.SecretName = "other_token" }))
	if first == second || first == other || second == other {
		t.Error("two tasks, or two secrets of one task, share a token")
	}
	for _, token := range []string{first, second, other} {
		if id, _ := unwrap(t, token)["secret_id"].(string); id == "" {
			t.Error("a token holds no SecretID")
		}
		if strings.Contains(s.log.String(), token) {
			t.Error("the log shows a token")
		}
	}
	if diff := cmp.Diff(map[string]int{"introduction issued": 3, "introduction repeated": 1}, s.counts); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
	if s.Remembered() != 3 {
		t.Errorf("%d tokens are remembered, expected 3", s.Remembered())
	}
}

func TestMetadataNamesTheTask(t *testing.T) {
	s := newStage(t, ask(t, vault(t).Address, vault(t).CAFile))
	secretID := unwrap(t, s.value(t, askFor("task3", func(r *request) { r.NodeID = "node1" })))["secret_id"]
	var looked struct {
		Data struct{ Metadata map[string]string }
	}
	if err := vault(t).Call(t.Context(), "POST", "auth/approle/role/app/secret-id/lookup", map[string]any{"secret_id": secretID}, &looked); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"secret": "shop_token", "service": "shop_web", "service_id": "s1", "stack": "shop", "task": "shop_web.1.task3", "task_id": "task3", "node_id": "node1",
	}
	if diff := cmp.Diff(want, looked.Data.Metadata); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
}

func TestNodeOfATask(t *testing.T) {
	for name, test := range map[string]struct{ node, task, want string }{
		"the request says it":        {"n1", "shop_web.1.t", "n1"},
		"a task of a global service": {"", "shop_web.abc123.t", "abc123"},
		"a replica":                  {"", "shop_web.12.t", ""},
		"another form":               {"", "t", ""},
	} {
		r := askFor("t", func(r *request) { r.NodeID, r.TaskName = test.node, test.task })
		if got := r.node(); got != test.want {
			t.Errorf("%s: node %q, expected %q", name, got, test.want)
		}
	}
}

// counted counts the calls to Vault, and holds them until gate is closed.
type counted struct {
	Vault
	gate  chan struct{}
	mints atomic.Int64
}

func (c *counted) Mint(ctx context.Context, m vaultpki.Minting) (vaultpki.Wrapped, error) {
	c.mints.Add(1)
	<-c.gate
	return c.Vault.Mint(ctx, m)
}

func TestRequestsForOneTaskShareOneCall(t *testing.T) {
	v := &counted{Vault: ask(t, vault(t).Address, vault(t).CAFile), gate: make(chan struct{})}
	s := newStage(t, v)
	const engines = 24
	values := make(chan string, engines)
	var began, ended sync.WaitGroup
	for range engines {
		began.Add(1)
		ended.Go(func() {
			began.Done()
			a, _ := s.get(t, askFor("shared"))
			values <- string(a.Value)
		})
	}
	began.Wait()
	close(v.gate)
	ended.Wait()
	close(values)
	distinct := map[string]bool{}
	for value := range values {
		distinct[value] = true
	}
	if len(distinct) != 1 || distinct[""] || v.mints.Load() != 1 {
		t.Errorf("%d requests led to %d calls and %d values", engines, v.mints.Load(), len(distinct))
	}
}

// TestOneServiceDoesNotHoldUpTheOthers fills a small memory as one that restarts
// over and over fills a large one.
func TestOneServiceDoesNotHoldUpTheOthers(t *testing.T) {
	s := newStage(t, ask(t, vault(t).Address, vault(t).CAFile))
	s.memory = newMemory(4, 2)
	first := s.value(t, askFor("a"))
	s.value(t, askFor("b"))
	if a, code := s.get(t, askFor("c")); code != http.StatusInternalServerError || a.Err != "sallyport: busy, try again" {
		t.Errorf("a third task: %d %+v", code, a)
	}
	s.value(t, askFor("d", func(r *request) { r.ServiceName, r.TaskName = "shop_api", "shop_api.1.d" }))
	if again := s.value(t, askFor("a")); again != first {
		t.Error("a task got another token than before")
	}
	if !strings.Contains(s.log.String(), "of this service alone") {
		t.Errorf("the log does not say whose tasks are too many:\n%s", s.log.String())
	}
}

// trustOf trusts the tests' Vault.
func trustOf(t *testing.T) *tls.Config {
	t.Helper()
	raw, err := os.ReadFile(vault(t).CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(raw)
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

// lossy is a Vault whose first answers get lost on the way.
func lossy(t *testing.T, losses int64) (v Vault, calls *atomic.Int64) {
	t.Helper()
	target, err := url.Parse(vault(t).Address)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, Transport: &http.Transport{TLSClientConfig: trustOf(t), DisableKeepAlives: true},
	}
	calls = &atomic.Int64{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) <= losses {
			proxy.ServeHTTP(httptest.NewRecorder(), r) // done, and nobody hears of it
			panic(http.ErrAbortHandler)
		}
		proxy.ServeHTTP(w, r)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return ask(t, server.URL, caFile), calls
}

func TestTokenWhoseAnswerWasLostIsMadeAnew(t *testing.T) {
	v, calls := lossy(t, 2)
	s := newStage(t, v)
	token := s.value(t, askFor("lost"))
	if calls.Load() != 3 {
		t.Errorf("%d calls, expected two that were lost and one", calls.Load())
	}
	if id, _ := unwrap(t, token)["secret_id"].(string); id == "" {
		t.Error("the token does not work")
	}
	if again := s.value(t, askFor("lost")); again != token || calls.Load() != 3 {
		t.Error("asked again, the driver made another token")
	}
}

func TestFailureIsNotRemembered(t *testing.T) {
	s := newStage(t, ask(t, vault(t).Address, vault(t).CAFile))
	absent := func(r *request) { r.SecretLabels[LabelRole], r.ServiceLabels[LabelRole] = "absent", "absent" }
	a, code := s.get(t, askFor("task4", absent))
	if code != http.StatusInternalServerError || a.Err != "sallyport: vault did not give it" || len(a.Value) > 0 {
		t.Errorf("answer %d %+v", code, a)
	}
	if s.Remembered() != 0 || !strings.Contains(s.log.String(), "auth/approle/role/absent/secret-id") {
		t.Errorf("%d remembered; log:\n%s", s.Remembered(), s.log.String())
	}
	if err := vault(t).Call(t.Context(), "POST", "auth/approle/role/absent", map[string]any{}, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vault(t).Call(context.Background(), "DELETE", "auth/approle/role/absent", nil, nil); err != nil {
			t.Error(err)
		}
	})
	s.value(t, askFor("task4", absent))
}

func TestSecretsOfKVAreHandedOut(t *testing.T) {
	s := newStage(t, ask(t, vault(t).Address, vault(t).CAFile))
	if got := s.value(t, askFor("task5", wanting(labelKVPath, "secret/apps/db", labelKVField, "password"))); got != "c4nary" {
		t.Errorf("field %q", got)
	}
	whole := wanting(labelKVPath, "secret/apps/db", labelWrap, "true", labelWrapTTL, "30s")
	first, second := s.value(t, askFor("task5", whole)), s.value(t, askFor("task6", whole))
	if first == second || s.value(t, askFor("task5", whole)) != first {
		t.Error("wrapped secrets are not one for each task")
	}
	data, _ := unwrap(t, first)["data"].(map[string]any)
	if data["password"] != "c4nary" || data["user"] != "shop" {
		t.Errorf("unwrapped %v", data)
	}
	for name, labels := range map[string]func(*request){
		"a field that is a number":    wanting(labelKVPath, "secret/apps/db", labelKVField, "port"),
		"a secret that is absent":     wanting(labelKVPath, "secret/apps/absent", labelKVField, "password"),
		"nothing there to be wrapped": wanting(labelKVPath, "secret/apps/absent", labelWrap, "true"),
	} {
		if a, code := s.get(t, askFor("task7", labels)); code != http.StatusInternalServerError || a.Err != "sallyport: vault did not give it" || len(a.Value) > 0 {
			t.Errorf("%s: answer %d %+v", name, code, a)
		}
	}
	if strings.Contains(s.log.String(), "c4nary") || strings.Contains(s.log.String(), "hvs.") {
		t.Errorf("the log shows a secret:\n%s", s.log.String())
	}
}

func TestHandlerKeepsToItsProtocol(t *testing.T) {
	s := newStage(t, &counted{})
	for name, test := range map[string]struct {
		method, path, body string
		code               int
		says               string
	}{
		"activation":     {"POST", "/Plugin.Activate", "", 200, `{"Implements":["secretprovider"]}`},
		"another path":   {"POST", "/VolumeDriver.Create", "{}", 404, "not found"},
		"another method": {"GET", "/SecretProvider.GetSecret", "", 405, "Method"},
		"no body":        {"POST", "/SecretProvider.GetSecret", "", 500, "the request is not acceptable"},
		"not JSON":       {"POST", "/SecretProvider.GetSecret", "c4nary", 500, "the request is not acceptable"},
		"a list":         {"POST", "/SecretProvider.GetSecret", "[]", 500, "the request is not acceptable"},
		"two values":     {"POST", "/SecretProvider.GetSecret", "{}{}", 500, "the request is not acceptable"},
		"too deep":       {"POST", "/SecretProvider.GetSecret", strings.Repeat("[", 100_000), 500, "the request is not acceptable"},
		"too large":      {"POST", "/SecretProvider.GetSecret", `{"x":"` + strings.Repeat("x", maxRequestBytes) + `"}`, 500, "the request is not acceptable"},
		"another type":   {"POST", "/SecretProvider.GetSecret", `{"TaskID":{"c4nary":1}}`, 500, "the request is not acceptable"},
	} {
		recorder := httptest.NewRecorder()
		s.Handler().ServeHTTP(recorder, httptest.NewRequest(test.method, test.path, strings.NewReader(test.body)))
		if recorder.Code != test.code || !strings.Contains(recorder.Body.String(), test.says) {
			t.Errorf("%s: answer %d %q, expected %d %q", name, recorder.Code, recorder.Body.String(), test.code, test.says)
		}
	}
	if strings.Contains(s.log.String(), "c4nary") {
		t.Error("the log quotes a request that is not understood")
	}
}

// TestRequestOfTheEngineIsRead takes a request as an engine sends it, with what
// this driver does not need.
func TestRequestOfTheEngineIsRead(t *testing.T) {
	got, err := readRequest(strings.NewReader(`{"SecretName":"shop_token","SecretLabels":{"sallyport.role":"app","traefik.rule":"Host(` + "`a`" + `)\nx"},
"ServiceHostname":"h","ServiceName":"shop_web","ServiceID":"s1","ServiceLabels":{"a":"b"},"TaskID":"t1","TaskName":"shop_web.1.t1",
"TaskImage":"registry/x@sha256:00","NodeID":"n1","ServiceEndpointSpec":{"Mode":1,"Ports":[{"Name":"x","TargetPort":1}]},"New":[1,{}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := request{
		SecretName: "shop_token", SecretLabels: map[string]string{"sallyport.role": "app", "traefik.rule": "Host(`a`)\nx"},
		ServiceName: "shop_web", ServiceID: "s1", ServiceLabels: map[string]string{"a": "b"}, TaskID: "t1", TaskName: "shop_web.1.t1", NodeID: "n1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}
