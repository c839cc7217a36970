package main

import (
	"bytes"
	"context"
	"go/ast"
	"go/token"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/accesslog"
)

// TestEveryRecordedLineIsWritten: what is listened for is a message that some package logs.
func TestEveryRecordedLineIsWritten(t *testing.T) {
	written := map[string]bool{}
	for _, p := range listPackages(t, repositoryRoot(t)) {
		files, err := parseFiles(p)
		if err != nil {
			t.Fatal(err)
		}
		for name, file := range files {
			if strings.HasSuffix(name, "recordedevents.go") {
				continue
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if text, err := strconv.Unquote(lit.Value); err == nil {
						written[text] = true
					}
				}
				return true
			})
		}
	}
	for message := range eventsOfLog {
		if !written[message] {
			t.Errorf("nobody logs %q", message)
		}
	}
}

// TestLinesBecomeRecords compares whole records.
func TestLinesBecomeRecords(t *testing.T) {
	at := time.Date(2026, 11, 22, 20, 29, 1, 0, time.UTC)
	head := func(category, kind, action, outcome string) string {
		return `"ecs.version":"8.17.0","event.kind":"` + kind + `","event.category":` + category + `,"event.action":"` + action + `","event.outcome":"` + outcome + `","service.name":"sallyport-gateway"`
	}
	const configuration, machine, process = `["configuration"],"event.type":["change"]`, `["authentication","iam"],"event.type":["info"]`, `["process"],"event.type":["end"]`
	tests := []struct {
		name, message string
		level         slog.Level
		args          []any
		want          string
	}{
		{"an introduction", "wrapping token found", slog.LevelInfo, []any{"auth_method", "approle", "file", "/run/token", "token_hash", "5d41402abc4b"},
			head(machine, "event", "introduction", "success") + `,"event.reason":"found","sallyport.vault.auth_method":"approle","sallyport.introduction.source":"/run/token","sallyport.introduction.hash":"5d41402abc4b"`},
		{"an interception", "wrapping token is not known to vault: it was used by somebody else, or expired", slog.LevelError,
			[]any{"auth_method", "approle", "event", "interception_alarm", "file", "/run/token", "token_hash", "5d41402abc4b", "what_to_do", "hurry"},
			head(machine, "alert", "introduction_alarm", "failure") + `,"event.reason":"interception_alarm","sallyport.vault.auth_method":"approle","sallyport.introduction.source":"/run/token","sallyport.introduction.hash":"5d41402abc4b"`},
		{"a login", "logged in", slog.LevelInfo, []any{"auth_method", "approle", "accessor_hash", "x", "policies", []string{"sallyport-gateway"}, "token_ttl", "1h"},
			head(`["authentication","iam"],"event.type":["start"]`, "event", "vault_login", "success") + `,"event.reason":"start","sallyport.vault.auth_method":"approle","sallyport.vault.accessor":"hmac-sha256:8d2e","sallyport.vault.policies":["sallyport-gateway"]`},
		{"a revoked token", "vault token is lost", slog.LevelError, []any{"auth_method", "approle", "event", "token_lost", "cause", "permission denied", "revoked", true},
			head(`["authentication","iam"],"event.type":["end"]`, "event", "vault_token_lost", "failure") + `,"event.reason":"token_revoked","sallyport.vault.auth_method":"approle","error.message":"permission denied"`},
		{"a certificate", "certificate renewed", slog.LevelInfo, []any{"name", "gateway.internal", "serial", "1f:07", "not_before", at, "not_after", at.Add(time.Hour), "next_renewal", at},
			head(configuration, "event", "certificate_change", "success") + `,"event.reason":"renewed","sallyport.object.kind":"certificate","sallyport.certificate.name":"gateway.internal","sallyport.certificate.serial":"1f:07","sallyport.certificate.not_after":"2026-11-22T21:29:01.000000Z"`},
		{"an expired certificate", "certificate has expired", slog.LevelError, []any{"name", "a", "serial", "1f"},
			head(configuration, "event", "certificate_change", "failure") + `,"event.reason":"expired","sallyport.object.kind":"certificate","sallyport.certificate.name":"a","sallyport.certificate.serial":"1f"`},
		{"other roots", "trusted roots changed", slog.LevelInfo, []any{"added", []string{"b"}, "removed", []string{"a"}},
			head(configuration, "event", "certificate_change", "success") + `,"event.reason":"changed","sallyport.object.kind":"trusted_roots","sallyport.object.version":"[b]","sallyport.object.version_before":"[a]"`},
		{"the first configuration", "configuration loaded", slog.LevelInfo, []any{"source", "/etc/gateway.yaml"},
			head(configuration, "event", "config_change", "success") + `,"event.reason":"loaded","sallyport.object.kind":"configuration","sallyport.object.name":"/etc/gateway.yaml"`},
		{"another configuration", "new version in use", slog.LevelInfo, []any{"source", "secret/sallyport/gateway", "version", "4", "before", "3", "what", "configuration", "sections", []string{"limits"}},
			head(configuration, "event", "config_change", "success") + `,"event.reason":"changed","sallyport.object.kind":"configuration","sallyport.object.name":"secret/sallyport/gateway","sallyport.object.version":"4","sallyport.object.version_before":"3","sallyport.object.sections":["limits"]`},
		{"a configuration that is of no use", "new version refused, the one before stays in use", slog.LevelError,
			[]any{"source", "secret/sallyport/gateway", "event", "version_refused", "version", "5", "in_use", "4", "what", "configuration", "cause", "listen.https changes", "what_to_do", "restart"},
			head(configuration, "event", "config_change", "failure") + `,"event.reason":"version_refused","sallyport.object.kind":"configuration","sallyport.object.name":"secret/sallyport/gateway","sallyport.object.version":"5","sallyport.object.version_before":"4","error.message":"listen.https changes"`},
		{"the first keys", "session keys read", slog.LevelInfo, []any{"path", "secret/sallyport/session", "version", 7},
			head(configuration, "event", "key_change", "success") + `,"event.reason":"loaded","sallyport.object.kind":"session_keys","sallyport.object.name":"secret/sallyport/session","sallyport.object.version":"7"`},
		{"other keys", "new version in use", slog.LevelInfo, []any{"source", "secret/sallyport/session", "version", "8", "before", "7", "what", "session_keys"},
			head(configuration, "event", "key_change", "success") + `,"event.reason":"changed","sallyport.object.kind":"session_keys","sallyport.object.name":"secret/sallyport/session","sallyport.object.version":"8","sallyport.object.version_before":"7"`},
		{"an identity provider that is out", "identity provider is out, nobody signs in there", slog.LevelError, []any{"event", "idp_out", "idp", "corp", "cause", "no metadata"},
			head(configuration, "event", "key_change", "failure") + `,"event.reason":"idp_out","sallyport.object.kind":"idp_metadata","sallyport.object.name":"corp","error.message":"no metadata"`},
		{"an operator's wish", "renewal of certificates asked for", slog.LevelInfo, []any{"name", "all", "remote", "127.0.0.1:4711"},
			head(`["configuration"],"event.type":["info"]`, "event", "operator_request", "success") + `,"event.reason":"renewal","client.address":"127.0.0.1","sallyport.object.kind":"certificate","sallyport.object.name":"all"`},
		{"SIGHUP", "looking for new versions", slog.LevelInfo, nil,
			head(`["configuration"],"event.type":["info"]`, "event", "operator_request", "success") + `,"event.reason":"reload"`},
		{"the start", "serving", slog.LevelInfo, []any{"https", ":8443"}, head(`["process"],"event.type":["start"]`, "event", "process_start", "success") + `,"event.reason":"serving"`},
		{"a stop that is asked for", "stopping", slog.LevelInfo, nil, head(process, "event", "process_stop", "success") + `,"event.reason":"stopping"`},
		{"a bad end", "stopped", slog.LevelInfo, []any{"clean", false}, head(process, "event", "process_stop", "failure") + `,"event.reason":"stopped"`},
		{"anything else", "vault token renewed", slog.LevelInfo, nil, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			log := newRecordedLogger(io.Discard, "gateway").With("vault_addr", "https://vault")
			line := slog.NewRecord(at, test.level, test.message, 0)
			line.Add(test.args...)
			if err := log.Handler().Handle(t.Context(), line); err != nil {
				t.Fatal(err)
			}
			access := accesslog.New(&out, "sallyport-gateway")
			eventsOf(log).attach(t.Context(), access, hashedAccessor)
			if err := access.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := ""
			if test.want != "" {
				want = `{"@timestamp":"2026-11-22T20:29:01.000000Z",` + test.want + "}\n"
			}
			if diff := cmp.Diff(want, unsealed(out.String())); diff != "" {
				t.Errorf("record (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLaterLoginsAreToldOfWithTheirAccessor(t *testing.T) {
	var out lockedBuffer
	log := newRecordedLogger(io.Discard, "gateway")
	log.Info("logged in", "auth_method", "approle")
	events := eventsOf(log)
	events.attach(t.Context(), accesslog.New(&out, "gateway"), unknownAccessor)
	log.Info("logged in", "auth_method", "approle")
	if strings.Contains(out.String(), `"again"`) {
		t.Fatal("the second login did not wait for its accessor")
	}
	asked := make(chan struct{})
	ctx := t.Context()
	go func() {
		_ = events.run(ctx, func(ctx context.Context) string { close(asked); return hashedAccessor(ctx) })
	}()
	<-asked
	for deadline := time.Now().Add(patience); !strings.Contains(out.String(), `"event.reason":"again","sallyport.vault.auth_method":"approle","sallyport.vault.accessor":"hmac-sha256:8d2e"`); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("records: %s", out.String())
		}
	}
}

// A login that nobody has completed when the process stops, and one after that, are recorded
// as they are.
func TestNoLoginIsForgottenAtTheEnd(t *testing.T) {
	for range 50 {
		var out lockedBuffer
		log := newRecordedLogger(io.Discard, "gateway")
		access := accesslog.New(&out, "gateway")
		events := eventsOf(log)
		events.attach(t.Context(), access, unknownAccessor)
		log.Info("logged in", "auth_method", "approle")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = events.run(ctx, unknownAccessor)
		log.Info("logged in", "auth_method", "approle")
		if err := access.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(out.String(), `"vault_login"`); n != 2 {
			t.Fatalf("%d records of two logins: %s", n, out.String())
		}
	}
}

func TestAConfigurationIsToldOfOnce(t *testing.T) {
	var out bytes.Buffer
	log := newRecordedLogger(io.Discard, "gateway")
	access := accesslog.New(&out, "gateway")
	eventsOf(log).attach(t.Context(), access, unknownAccessor)
	logConfig(log, "gateway.yaml", nil)
	log.Info("serving")
	logConfig(log, "gateway.yaml", nil)
	log.Info("new version in use", "what", objectConfiguration)
	if err := access.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "config_change"); n != 2 {
		t.Errorf("%d records, want one of the start and one of the change:\n%s", n, out.String())
	}
}

// unsealed is a line without its seal.
func unsealed(line string) string {
	if text, _, sealed := strings.Cut(line, `,"sallyport.log.instance"`); sealed {
		return text + "}\n"
	}
	return line
}

// lockedBuffer is a buffer that one writes and another reads.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func hashedAccessor(context.Context) string { return "hmac-sha256:8d2e" }

func TestChangedSections(t *testing.T) {
	load := func(text string) *config.Gateway {
		t.Helper()
		cfg, err := config.LoadGateway("x", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	const a, b = "  - {name: a, host: a.example.com, backend: {url: 'https://a:1'}}\n", "  - {name: b, host: b.example.com, backend: {url: 'https://b:1'}}\n"
	const door = "door: {host: door.example.com}\n"
	tests := []struct {
		name, before, after string
		want                []string
	}{
		{"nothing", door, door, nil},
		{"limits and a session", door, door + "session: {idle: 2h}\nlimits: {requests: 300}\n", []string{"limits", "session"}},
		{"a new route", door + "routes:\n" + a, door + "routes:\n" + a + b, []string{"routes.b"}},
		{"a route that is gone", door + "routes:\n" + a + b, door + "routes:\n" + b, []string{"routes.a"}},
		{"the order of routes", door + "routes:\n" + a + b, door + "routes:\n" + b + a, []string{"routes"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, changedSections(load(test.before), load(test.after))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
