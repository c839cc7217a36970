package vaultpki_test

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/vaultpki"
)

// redirect sends a call to another host.
func redirect(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	w.Header().Set("Location", "https://vault.example.net/v1/elsewhere")
	w.WriteHeader(http.StatusTemporaryRedirect)
}

// limited is Vault's rate limit.
func limited(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusTooManyRequests)
	_, _ = w.Write([]byte(`{"errors":["request path \"x\": rate limit quota exceeded"]}`))
}

// silent holds a call until the caller gives up.
func silent(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	_, _ = io.Copy(io.Discard, r.Body) // so that the end of the connection is noticed
	<-r.Context().Done()
}

// commonFaults break any call: failed, and failed but done.
var commonFaults = map[string]fault{
	"failed":           dropBefore,
	"failed but done":  dropAfter,
	"400":              answer(400, `{"errors":["bad request"]}`),
	"403":              answer(403, `{"errors":["permission denied"]}`),
	"404":              answer(404, `{"errors":[]}`),
	"429, Retry-After": limited,
	"500":              answer(500, `{"errors":["internal error"]}`),
	"503, sealed":      answer(503, `{"errors":["Vault is sealed"]}`),
	"garbage":          answer(200, "<html>\x00\x1b"),
	"huge":             answer(200, `{"data":"`+strings.Repeat("x", 2<<20)+`"}`),
	"redirect":         redirect,
}

// outcome is what becomes of one fault.
type outcome struct {
	reason vaultpki.Reason // ReasonUnknown: the login succeeds
	calls  int             // of the path; 0: more than one, as it is repeated
}

// TestFaultsOfALogin breaks each call of a login in each way. What may be
// repeated is, what must not be is sent once, and afterwards there is a known way
// back.
func TestFaultsOfALogin(t *testing.T) {
	repeated := outcome{vaultpki.ReasonUnreachable, 0}
	lost, refused, alarm := outcome{vaultpki.ReasonAmbiguous, 1}, outcome{vaultpki.ReasonLoginRefused, 1}, outcome{vaultpki.ReasonIntercepted, 1}
	fine := outcome{vaultpki.ReasonUnknown, 1}
	type row struct{ lookup, unwrap, login, lookupSelf, mint outcome }
	tests := map[string]row{
		"failed":           {repeated, lost, lost, fine, fine},
		"failed but done":  {repeated, lost, lost, fine, fine},
		"400":              {alarm, alarm, refused, fine, fine},
		"403":              {alarm, alarm, refused, fine, fine},
		"404":              {outcome{vaultpki.ReasonConfig, 1}, lost, refused, fine, fine},
		"429, Retry-After": {repeated, outcome{vaultpki.ReasonUnreachable, 1}, repeated, fine, fine},
		"500":              {repeated, lost, lost, fine, fine},
		"503, sealed":      {outcome{vaultpki.ReasonSealed, 0}, outcome{vaultpki.ReasonSealed, 1}, outcome{vaultpki.ReasonSealed, 0}, fine, fine},
		"garbage":          {repeated, lost, lost, fine, fine},
		"huge":             {repeated, lost, lost, fine, fine},
		"redirect":         {repeated, lost, lost, fine, fine},
	}
	r := newHeirRole(t, "fault-table", map[string]any{"token_period": "1h"})
	mintPath := "auth/approle/role/" + r.name + "/secret-id"
	for name, row := range tests {
		for path, want := range map[string]outcome{
			wrapLookup: row.lookup, wrapUnwrap: row.unwrap, approleLogin: row.login, lookupSelf: row.lookupSelf, mintPath: row.mint,
		} {
			t.Run(path+" "+name, func(t *testing.T) {
				front := newStandIn(t)
				token := mint(t, r.name, time.Minute)
				front.on(path, commonFaults[name])
				cfg := configFor(r.name, tokenFile(t, token))
				var log journal
				cfg.Address, cfg.CAFile, cfg.Log, cfg.Wait = front.URL, front.CAFile, log.logger(), 300*time.Millisecond
				cfg.Method = changed(cfg, func(m *vaultpki.AppRole) { m.Heir.File = memoryDir(t) + "/heir" })
				client, err := vaultpki.Login(t.Context(), cfg)
				if vaultpki.ReasonOf(err) != want.reason || (err == nil) != (want.reason == vaultpki.ReasonUnknown) {
					t.Errorf("reason %s, %v; expected %s", vaultpki.ReasonOf(err), err, want.reason)
				}
				// net/http repeats a GET on a connection that was closed.
				if n := front.called(path); want.calls == 0 && n < 2 || want.calls > 0 && n != want.calls && path != lookupSelf {
					t.Errorf("sent %d times, expected %d (0: again and again)", n, want.calls)
				}
				if strings.Contains(log.String(), "hvs.") || err != nil && strings.Contains(err.Error(), "hvs.") {
					t.Errorf("a token is shown: %v\n%s", err, log.String())
				}
				if err == nil {
					client.Close()
				}
				front.on(path, nil)
				checkWayBack(t, cfg, err, path)
			})
		}
	}
}

// checkWayBack starts once more, now that nothing is broken.
func checkWayBack(t *testing.T, cfg vaultpki.Config, failed error, path string) {
	t.Helper()
	var log journal
	cfg.Log, cfg.Wait = log.logger(), 20*time.Second
	client, err := vaultpki.Login(t.Context(), cfg)
	if err == nil {
		client.Close()
	}
	switch {
	case failed == nil && strings.HasSuffix(path, "/secret-id"): // no heir was minted
		refusal{vaultpki.ReasonNoToken, "an earlier start", ""}.check(t, err, &log)
	case failed == nil || path == wrapLookup: // by the heir; by the introduction, which is untouched
		if err != nil {
			t.Errorf("the next start: %v", err)
		}
	case path == wrapUnwrap && err != nil: // what it claimed may be spent
		refusal{vaultpki.ReasonAmbiguous, "400", "introduction_ambiguous"}.check(t, err, &log)
	case path == approleLogin:
		refusal{vaultpki.ReasonNoToken, "an earlier start", ""}.check(t, err, &log)
	}
}

// TestFaultsOfARenewal breaks renew-self for a while. The token lives on, by a
// later renewal or, where Vault refuses one for good, by another login.
func TestFaultsOfARenewal(t *testing.T) {
	t.Parallel()
	const renew = "auth/token/renew-self"
	refusing := map[string]bool{"400": true, "403": true, "404": true}
	faults := map[string]fault{"silent": silent}
	for name, f := range commonFaults {
		faults[name] = f
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			front := newStandIn(t)
			life := "8s"
			if name == "silent" {
				life = "12s" // a quarter of it is lost with the silence
			}
			r := newHeirRole(t, "fault-renewal-"+strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), ",", ""), map[string]any{"token_period": life})
			r.cfg.Address, r.cfg.CAFile = front.URL, front.CAFile
			client := r.login(t)
			front.on(renew, f)
			inBackground(t, client.Run)
			begin := client.TokenExpiry()
			if refusing[name] {
				eventually(t, "it has logged in again", func() bool { return front.called(approleLogin) == 2 })
			} else {
				eventually(t, "the renewal was tried", func() bool { return front.called(renew) > 0 })
			}
			front.on(renew, nil)
			eventually(t, "the token lives longer", func() bool { return client.TokenExpiry().After(begin) && !client.Status().Lost })
			if refusing[name] {
				return
			}
			if n := front.called(approleLogin); n != 1 {
				t.Errorf("%d logins, expected the token to be renewed:\n%s", n, r.log.String())
			}
		})
	}
}

// TestAmbiguousHeirFallsBackToTheSpare loses the one-time calls of the first heir.
func TestAmbiguousHeirFallsBackToTheSpare(t *testing.T) {
	for name, f := range map[string]fault{"failed": dropBefore, "failed but done": dropAfter, "garbage": answer(200, "<html>")} {
		for _, path := range []string{wrapUnwrap, approleLogin} {
			t.Run(path+" "+name, func(t *testing.T) {
				front := newStandIn(t)
				r := newHeirRole(t, "spare", map[string]any{"token_period": "1h"})
				r.cfg.Address, r.cfg.CAFile = front.URL, front.CAFile
				r.login(t).Close()
				r.without(t)
				first := front.called(path)
				front.on(path, onceThen(f))
				r.login(t)
				if n := front.called(path) - first; n != 2 {
					t.Errorf("%s was sent %d times, expected once for each heir", path, n)
				}
				if n := strings.Count(r.log.String(), `"event":"introduction_ambiguous"`); n != 1 {
					t.Errorf("%d events, expected one:\n%s", n, r.log.String())
				}
			})
		}
	}
}

// TestLoginGoesRoundTheNodes has a node that is gone, one that is sealed, and one
// that works; and a node that loses the answer to a one-time call, which no other
// node may then be asked.
func TestLoginGoesRoundTheNodes(t *testing.T) {
	front := newStandIn(t)
	trust := tokenFile(t, read(t, front.CAFile)+read(t, vault.CAFile))
	login := func(t *testing.T) (*journal, error) {
		log := new(journal)
		cfg := configFor(gatewayRole, tokenFile(t, mint(t, gatewayRole, time.Minute)))
		cfg.Address, cfg.CAFile, cfg.Log = "https://127.0.0.1:1,"+front.URL+","+vault.Address, trust, log.logger()
		client, err := vaultpki.Login(t.Context(), cfg)
		if err == nil {
			client.Close()
		}
		return log, err
	}
	front.on(wrapLookup, answer(503, `{"errors":["Vault is sealed"]}`))
	if log, err := login(t); err != nil || len(log.entries(t, "waiting for vault")) != 0 {
		t.Errorf("%v\n%s", err, log.String())
	}
	if n := front.called(wrapUnwrap); n != 0 {
		t.Errorf("the sealed node was asked to unwrap %d times", n)
	}
	front.on(wrapLookup, nil)
	front.on(wrapUnwrap, dropAfter)
	log, err := login(t)
	refusal{vaultpki.ReasonAmbiguous, "EOF", "introduction_ambiguous"}.check(t, err, log)
	if n := front.called(wrapUnwrap); n != 1 {
		t.Errorf("the node was asked to unwrap %d times", n)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
