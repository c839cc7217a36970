package vaultpki_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/vaultpki"
)

func TestIntroductionLogsInAndTellsEachStep(t *testing.T) {
	var log journal
	token := mint(t, gatewayRole, time.Minute)
	cfg := configFor(gatewayRole, tokenFile(t, token+"\n"))
	cfg.Log = log.logger()
	client, err := vaultpki.Login(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(client.TokenExpiry()); left < 23*time.Hour || left > 24*time.Hour {
		t.Errorf("token ends in %s, expected the period of 24 h", left)
	}
	for _, step := range []string{"wrapping token found", "wrapping token checked", "secret id unwrapped", "logged in"} {
		if len(log.entries(t, step)) != 1 {
			t.Errorf("log has %d lines %q, expected 1", len(log.entries(t, step)), step)
		}
	}
	loggedIn := log.entries(t, "logged in")[0]
	if diff := cmp.Diff([]any{gatewayRole}, loggedIn["policies"]); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	if strings.Contains(log.String(), token) || strings.Contains(log.String(), "hvs.") {
		t.Errorf("the log shows a token:\n%s", log.String())
	}
	if raw, err := os.ReadFile(cfg.Method.(vaultpki.AppRole).WrappingTokenFile); err != nil || len(raw) != 0 {
		t.Errorf("token file after use: %q, %v; expected it empty", raw, err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s %d", client, client, client, client, client); strings.Contains(text, "hvs.") {
		t.Errorf("a format shows the token: %s", text)
	}
	log.logger().Info("client", "client", client)
	if strings.Contains(log.String(), "hvs.") {
		t.Error("slog shows the client's token")
	}
}

func TestTokenFileThatCannotBeBlankedIsNoFault(t *testing.T) {
	var log journal
	cfg := configFor(gatewayRole, sealedFile(t, mint(t, gatewayRole, time.Minute)))
	cfg.Log = log.logger()
	if _, err := vaultpki.Login(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"wrapping token file is readable by everyone", "wrapping token file stays as it is"} {
		if len(log.entries(t, want)) != 1 {
			t.Errorf("log lacks %q:\n%s", want, log.String())
		}
	}
}

// sealedFile returns a file that not even root can change, as on a read-only
// secret mount, and that everyone can read.
func sealedFile(t *testing.T, content string) string {
	t.Helper()
	fd, err := unix.MemfdCreate("token", unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "token")
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_WRITE); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd)
}

// refusal is what a failed introduction must look like.
type refusal struct {
	reason vaultpki.Reason
	text   string // in the error
	event  string // in the log; "" for none
}

func (want refusal) check(t *testing.T, err error, log *journal) {
	t.Helper()
	var got *vaultpki.Error
	if !errors.As(err, &got) {
		t.Fatalf("error is %T %v, expected *vaultpki.Error", err, err)
	}
	if got.Reason != want.reason || !strings.Contains(err.Error(), want.text) {
		t.Errorf("refused with %s: %v; expected %s with %q", got.Reason, err, want.reason, want.text)
	}
	if got.Hint == "" && want.reason != vaultpki.ReasonConfig {
		t.Errorf("no hint with: %v", err)
	}
	for _, event := range []string{"interception_alarm", "introduction_forged", "introduction_ambiguous"} {
		if logged := strings.Contains(log.String(), `"event":"`+event+`"`); logged != (event == want.event) {
			t.Errorf("event %s logged: %t, expected event %q", event, logged, want.event)
		}
	}
	if strings.Contains(log.String()+err.Error()+got.Hint, "hvs.") {
		t.Errorf("a token is shown:\n%s\n%v", log.String(), err)
	}
}

// What may be an oversight is named before the alarm: people make more of them
// than thieves do. It stays a refusal.
func TestARefusalNamesTheOversightThatItMayBe(t *testing.T) {
	for name, test := range map[string]struct {
		role string
		ttl  time.Duration
		want string
	}{
		"another role's": {sidecarRole, time.Minute, "this introduces " + sidecarRole + ": was the wrong file delivered? If not, "},
		"a long life":    {gatewayRole, 2 * time.Hour, "start the process with --max-wrap-ttl 2h0m0s; if not, "},
	} {
		t.Run(name, func(t *testing.T) {
			var log journal
			cfg := configFor(gatewayRole, tokenFile(t, mint(t, test.role, test.ttl)))
			cfg.Log = log.logger()
			_, err := vaultpki.Login(t.Context(), cfg)
			var e *vaultpki.Error
			if !errors.As(err, &e) || e.Reason != vaultpki.ReasonForged || !strings.Contains(e.Hint, test.want) || !strings.Contains(log.String(), test.want) {
				t.Errorf("refused with %v, hint %+v, log:\n%s", err, e, log.String())
			}
		})
	}
}

func TestIntroductionIsRefused(t *testing.T) {
	minted := func(t *testing.T, role string, ttl time.Duration) vaultpki.Config {
		return configFor(gatewayRole, tokenFile(t, mint(t, role, ttl)))
	}
	tests := map[string]struct {
		config func(t *testing.T) vaultpki.Config
		want   refusal
	}{
		"no token file": {
			func(t *testing.T) vaultpki.Config { return configFor(gatewayRole, t.TempDir()+"/absent") },
			refusal{vaultpki.ReasonNoToken, "no such file", ""},
		},
		"empty token file": {
			func(t *testing.T) vaultpki.Config { return configFor(gatewayRole, tokenFile(t, "\n")) },
			refusal{vaultpki.ReasonNoToken, "empty", ""},
		},
		"garbage in the token file": {
			func(t *testing.T) vaultpki.Config {
				return configFor(gatewayRole, tokenFile(t, "hvs.<script>alert(1)</script>"))
			},
			refusal{vaultpki.ReasonNoToken, "expected a token", ""},
		},
		"directory in place of the token file": {
			func(t *testing.T) vaultpki.Config { return configFor(gatewayRole, t.TempDir()) },
			refusal{vaultpki.ReasonNoToken, "regular file", ""},
		},
		"token that never existed": {
			func(t *testing.T) vaultpki.Config {
				return configFor(gatewayRole, tokenFile(t, "hvs.CAESIJ0000000000000000000000000000000000000000000"))
			},
			refusal{vaultpki.ReasonIntercepted, "400", "interception_alarm"},
		},
		"token that was used": {
			func(t *testing.T) vaultpki.Config {
				token := mint(t, gatewayRole, time.Minute)
				thief := configFor(gatewayRole, tokenFile(t, token))
				if _, err := vaultpki.Login(t.Context(), thief); err != nil {
					t.Fatal(err)
				}
				return configFor(gatewayRole, tokenFile(t, token))
			},
			refusal{vaultpki.ReasonIntercepted, "400", "interception_alarm"},
		},
		"token that expired": {
			func(t *testing.T) vaultpki.Config {
				token := mint(t, gatewayRole, time.Second)
				eventually(t, "the token has expired", func() bool {
					return vault.Call(t.Context(), "PUT", "sys/wrapping/lookup", map[string]string{"token": token}, nil) != nil
				})
				return configFor(gatewayRole, tokenFile(t, token))
			},
			refusal{vaultpki.ReasonIntercepted, "400", "interception_alarm"},
		},
		"token made by sys/wrapping/wrap": {
			func(t *testing.T) vaultpki.Config {
				return configFor(gatewayRole, tokenFile(t, wrapAnything(t, `{"secret_id":"forged"}`)))
			},
			refusal{vaultpki.ReasonForged, `"sys/wrapping/wrap"`, "introduction_forged"},
		},
		"token for another role": {
			func(t *testing.T) vaultpki.Config { return minted(t, sidecarRole, time.Minute) },
			refusal{vaultpki.ReasonForged, sidecarRole, "introduction_forged"},
		},
		"token that lives too long": {
			func(t *testing.T) vaultpki.Config { return minted(t, gatewayRole, 2*time.Hour) },
			refusal{vaultpki.ReasonForged, "creation TTL 2h0m0s", "introduction_forged"},
		},
		"token of the future": {
			func(t *testing.T) vaultpki.Config {
				cfg := minted(t, gatewayRole, time.Minute)
				cfg.Now = func() time.Time { return time.Now().Add(-5 * time.Minute) }
				return cfg
			},
			refusal{vaultpki.ReasonForged, "in the future, compare the clocks", "introduction_forged"},
		},
		"token older than its life": {
			func(t *testing.T) vaultpki.Config {
				cfg := minted(t, gatewayRole, time.Minute)
				cfg.Now = func() time.Time { return time.Now().Add(5 * time.Minute) }
				return cfg
			},
			refusal{vaultpki.ReasonForged, "longer than its TTL", "introduction_forged"},
		},
		"wrong RoleID": {
			func(t *testing.T) vaultpki.Config {
				cfg := minted(t, gatewayRole, time.Minute)
				cfg.Method = changed(cfg, func(m *vaultpki.AppRole) { m.RoleID = roleID(sidecarRole) })
				return cfg
			},
			refusal{vaultpki.ReasonLoginRefused, "auth/approle/login", ""},
		},
		"certificate of another authority": {
			func(t *testing.T) vaultpki.Config {
				cfg := minted(t, gatewayRole, time.Minute)
				cfg.CAFile = newStandIn(t).CAFile
				return cfg
			},
			refusal{vaultpki.ReasonUnreachable, "certificate", ""},
		},
		"nobody at the address": {
			func(t *testing.T) vaultpki.Config {
				cfg := minted(t, gatewayRole, time.Minute)
				cfg.Address, cfg.Wait = "https://127.0.0.1:1", 50*time.Millisecond
				return cfg
			},
			refusal{vaultpki.ReasonUnreachable, "connection refused", ""},
		},
		"plain http": {
			func(t *testing.T) vaultpki.Config {
				cfg := minted(t, gatewayRole, time.Minute)
				cfg.Address = strings.Replace(vault.Address, "https", "http", 1)
				return cfg
			},
			refusal{vaultpki.ReasonConfig, "plain http", ""},
		},
		"nothing configured": {
			func(*testing.T) vaultpki.Config { return vaultpki.Config{Method: vaultpki.AppRole{}} },
			refusal{vaultpki.ReasonConfig, "role id: none given", ""},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var log journal
			cfg := test.config(t)
			cfg.Log = log.logger()
			_, err := vaultpki.Login(t.Context(), cfg)
			test.want.check(t, err, &log)
		})
	}
}

// wrapAnything does what anybody with any token may do.
func wrapAnything(t *testing.T, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, vault.Address+"/v1/sys/wrapping/wrap", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", vault.RootToken)
	req.Header.Set("X-Vault-Wrap-TTL", "60s")
	return wrapTokenOf(t, req)
}

func TestOneTimeCallsAreSentOnceWhateverHappens(t *testing.T) {
	const unwrap, login = "sys/wrapping/unwrap", "auth/approle/login"
	tests := map[string]struct {
		path  string
		fault fault
		want  refusal
	}{
		"unwrap fails": {unwrap, dropBefore, refusal{vaultpki.ReasonAmbiguous, "EOF", "introduction_ambiguous"}},
		"unwrap is done, its answer lost": {
			unwrap, dropAfter, refusal{vaultpki.ReasonAmbiguous, "EOF", "introduction_ambiguous"},
		},
		"unwrap answered by a proxy's 502": {
			unwrap, answer(502, "<html>"), refusal{vaultpki.ReasonAmbiguous, "502", "introduction_ambiguous"},
		},
		"unwrap answered by a proxy's 503": {
			unwrap, answer(503, "<html>"), refusal{vaultpki.ReasonAmbiguous, "503", "introduction_ambiguous"},
		},
		"unwrap refused by a proxy's page": {
			unwrap, answer(403, "<html>"), refusal{vaultpki.ReasonAmbiguous, "403", "introduction_ambiguous"},
		},
		"lookup refused by a proxy's page": {
			"sys/wrapping/lookup", answer(400, "<html>"), refusal{vaultpki.ReasonConfig, "400", ""},
		},
		"unwrap at a vault that was just sealed": {
			unwrap, answer(503, `{"errors":["Vault is sealed"]}`), refusal{vaultpki.ReasonSealed, "sealed", ""},
		},
		"unwrap by somebody else between our lookup and our unwrap": {
			unwrap, func(w http.ResponseWriter, r *http.Request, vault http.Handler) {
				thief := r.Clone(r.Context())
				vault.ServeHTTP(discard{header: http.Header{}}, thief)
				vault.ServeHTTP(w, r)
			}, refusal{vaultpki.ReasonIntercepted, "400", "interception_alarm"},
		},
		"unwrap without a SecretID inside": {
			unwrap, answer(200, `{"data":{"secret_id":null}}`), refusal{vaultpki.ReasonForged, "no secret_id", "introduction_forged"},
		},
		"unwrap larger than any answer": {
			unwrap, answer(200, `{"data":"`+strings.Repeat("x", 70<<10)+`"}`), refusal{vaultpki.ReasonAmbiguous, "larger than 65536 bytes", "introduction_ambiguous"},
		},
		"unwrap redirected": {
			unwrap, func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
				http.Redirect(w, r, vault.Address+"/v1/sys/wrapping/unwrap", http.StatusTemporaryRedirect)
			}, refusal{vaultpki.ReasonAmbiguous, "redirect", "introduction_ambiguous"},
		},
		"login fails": {login, dropBefore, refusal{vaultpki.ReasonAmbiguous, "EOF", "introduction_ambiguous"}},
		"login is done, its answer lost": {
			login, dropAfter, refusal{vaultpki.ReasonAmbiguous, "EOF", "introduction_ambiguous"},
		},
		"login without a token in the answer": {
			login, answer(200, `{"auth":{"client_token":""}}`), refusal{vaultpki.ReasonLoginRefused, "no token", ""},
		},
		"login with a token that never ends": {
			login, rewrite(func(body map[string]any) { body["auth"].(map[string]any)["lease_duration"] = 0 }),
			refusal{vaultpki.ReasonLoginRefused, "TTL 0", ""},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var log journal
			front := newStandIn(t)
			front.on(test.path, test.fault)
			cfg := configFor(gatewayRole, tokenFile(t, mint(t, gatewayRole, time.Minute)))
			cfg.Address, cfg.CAFile, cfg.Log = front.URL, front.CAFile, log.logger()
			_, err := vaultpki.Login(t.Context(), cfg)
			test.want.check(t, err, &log)
			if n := front.called(test.path); n != 1 {
				t.Errorf("%s was sent %d times", test.path, n)
			}
		})
	}
}

// discard is a ResponseWriter to nowhere.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// TestOneTimeCallsUseNoIdleConnection: one that the other side is just closing
// would leave it open whether the call arrived.
func TestOneTimeCallsUseNoIdleConnection(t *testing.T) {
	front := newStandIn(t)
	from := map[string]string{}
	for _, path := range []string{"sys/wrapping/lookup", "sys/wrapping/unwrap", "auth/approle/login"} {
		front.on(path, func(w http.ResponseWriter, r *http.Request, vault http.Handler) {
			from[r.RemoteAddr] = path // the calls come one after the other
			vault.ServeHTTP(w, r)
		})
	}
	cfg := configFor(gatewayRole, tokenFile(t, mint(t, gatewayRole, time.Minute)))
	cfg.Address, cfg.CAFile = front.URL, front.CAFile
	if _, err := vaultpki.Login(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if len(from) != 3 {
		t.Errorf("calls by connection: %v, expected three connections", from)
	}
}

func TestSealedVaultIsWaitedFor(t *testing.T) {
	t.Parallel()
	var log journal
	server, cfg := ownVault(t, ownToken, nil)
	cfg.Log = log.logger()
	if err := server.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := vaultpki.Login(context.WithoutCancel(t.Context()), cfg)
		done <- err
	}()
	eventually(t, "the log says what is waited for", func() bool {
		return len(log.entries(t, "waiting for vault")) > 0
	})
	if err := server.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatalf("after the unsealing: %v", err)
	}
	waiting := log.entries(t, "waiting for vault")[0]
	if cause, _ := waiting["cause"].(string); !strings.Contains(cause, "sealed") {
		t.Errorf("cause is %q, expected it to say sealed", cause)
	}
	if len(log.entries(t, "vault answers")) != 1 {
		t.Error("the end of the waiting was not told")
	}
}

func TestSealedVaultEndsTheWaitWithAHintAndLeavesTheTokenUsable(t *testing.T) {
	t.Parallel()
	var log journal
	server, cfg := ownVault(t, ownToken, nil)
	cfg.Log, cfg.Wait = log.logger(), 300*time.Millisecond
	if err := server.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := vaultpki.Login(t.Context(), cfg)
	if err := server.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	refusal{vaultpki.ReasonSealed, "sealed", ""}.check(t, err, &log)
	if _, err := vaultpki.Login(t.Context(), cfg); err != nil {
		t.Errorf("second start with the same token: %v", err)
	}
}

func TestStopWhileWaitingEndsTheLogin(t *testing.T) {
	var log journal
	cfg := configFor(gatewayRole, tokenFile(t, "hvs.0000000000000000000000"))
	cfg.Address, cfg.Log, cfg.Wait = "https://127.0.0.1:1", log.logger(), time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := vaultpki.Login(ctx, cfg)
		done <- err
	}()
	eventually(t, "the login waits", func() bool { return len(log.entries(t, "waiting for vault")) > 0 })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, expected it to wrap context.Canceled", err)
	}
}
