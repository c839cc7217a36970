package vaultpki_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/vaultpki"
)

// childVariable makes this test binary a process that logs in and does nothing
// else, so that it can be killed.
const childVariable = "SALLYPORT_TEST_CHILD"

// childConfig is what such a process is told.
type childConfig struct {
	Address, CAFile, Role, RoleID, WrappingTokenFile, HeirFile string
}

// runChild logs in and says how that ended.
func runChild(ctx context.Context, text string) int {
	var told childConfig
	if err := json.Unmarshal([]byte(text), &told); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	_, err := vaultpki.Login(ctx, vaultpki.Config{
		Server: vaultpki.Server{Address: told.Address, CAFile: told.CAFile},
		Method: vaultpki.AppRole{
			Role: told.Role, RoleID: told.RoleID, WrappingTokenFile: told.WrappingTokenFile,
			Heir: vaultpki.Heir{File: told.HeirFile},
		},
		Wait: 5 * time.Second,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, vaultpki.ReasonOf(err), err)
		return 1
	}
	return 0
}

// killedAt starts a process and kills it when it makes the nth call of path:
// before Vault gets the call, or after Vault has done it and before the answer
// is back.
func (r *heirRole) killedAt(t *testing.T, path string, nth int64, done bool) {
	t.Helper()
	front := newStandIn(t)
	method := r.cfg.Method.(vaultpki.AppRole)
	told, err := json.Marshal(childConfig{
		Address: front.URL, CAFile: front.CAFile, Role: r.name, RoleID: method.RoleID,
		WrappingTokenFile: method.WrappingTokenFile, HeirFile: r.file,
	})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env, child.Stderr = append(os.Environ(), childVariable+"="+string(told)), &out
	started := make(chan struct{})
	var calls atomic.Int64
	front.on(path, func(w http.ResponseWriter, req *http.Request, vault http.Handler) {
		if calls.Add(1) != nth {
			vault.ServeHTTP(w, req)
			return
		}
		if done {
			vault.ServeHTTP(httptest.NewRecorder(), req)
		}
		<-started
		_ = child.Process.Kill()
	})
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	close(started)
	if err := child.Wait(); err == nil || child.ProcessState.Exited() {
		t.Fatalf("the process was not killed at call %d of %s: %v %s", nth, path, err, out.String())
	}
}

// TestProcessKilledAtAnyMoment kills a start at each of its calls, and looks at
// what the next start makes of it.
func TestProcessKilledAtAnyMoment(t *testing.T) {
	const mintHeir = "mint"
	in := refusal{} // the next start gets in
	used := refusal{vaultpki.ReasonNoToken, "an earlier start of this process may have used the token", ""}
	midway := refusal{vaultpki.ReasonAmbiguous, "400", "introduction_ambiguous"}
	tests := []struct {
		path         string
		nth          int64
		done         bool
		introduction refusal // of the start after one that was introduced
		by           string  // what the start after one by an heir finds in its log
	}{
		{wrapLookup, 1, false, in, ""},
		{wrapLookup, 1, true, in, ""},
		{wrapUnwrap, 1, false, in, ""},
		{wrapUnwrap, 1, true, midway, "heir_half_used"},
		{approleLogin, 1, false, used, "heir_half_used"},
		{approleLogin, 1, true, used, "heir_half_used"},
		{lookupSelf, 1, false, used, "heir_half_used"},
		{mintHeir, 1, false, used, ""},
		{mintHeir, 1, true, used, ""},
		{mintHeir, 2, false, in, ""},
		{mintHeir, 2, true, in, ""},
	}
	for i, test := range tests {
		name := fmt.Sprintf("%s %d done %t", strings.ReplaceAll(test.path, "/", " "), test.nth, test.done)
		role := fmt.Sprintf("killed-%d", i)
		path := test.path
		if path == mintHeir {
			path = "auth/approle/role/" + role + "/secret-id"
		}
		t.Run(name+", introduced", func(t *testing.T) {
			r := newHeirRole(t, role, map[string]any{"token_period": "1h"})
			r.killedAt(t, path, test.nth, test.done)
			_, err := vaultpki.Login(t.Context(), r.cfg)
			if test.introduction == in {
				if err != nil {
					t.Errorf("next start: %v", err)
				}
				return
			}
			test.introduction.check(t, err, r.log)
		})
		if test.nth > 1 {
			continue // one heir is left from before: the second call is not made
		}
		t.Run(name+", by an heir", func(t *testing.T) {
			r := newHeirRole(t, role, map[string]any{"token_period": "1h"})
			r.login(t).Close()
			r.without(t)
			r.killedAt(t, path, test.nth, test.done)
			for range 2 { // and the one after that
				r.login(t).Close()
			}
			if strings.Contains(r.log.String(), "interception_alarm") {
				t.Errorf("a false alarm:\n%s", r.log.String())
			}
			if test.by != "" && !strings.Contains(r.log.String(), test.by) {
				t.Errorf("the log does not tell of %s:\n%s", test.by, r.log.String())
			}
			if kept := r.kept(t).Heirs; len(kept) != 2 || !kept[0].Claimed.IsZero() || !kept[1].Claimed.IsZero() {
				t.Errorf("kept: %+v", kept)
			}
		})
	}
}

// TestIntroductionThatStaysInItsFile: on a read-only mount the token cannot be
// emptied. The next start must not take its own use of it for a theft.
func TestIntroductionThatStaysInItsFile(t *testing.T) {
	r := newHeirRole(t, "kept-introduction", map[string]any{"token_period": "1h"})
	file := sealedFile(t, mint(t, r.name, time.Minute))
	r.cfg.Method = changed(r.cfg, func(m *vaultpki.AppRole) { m.WrappingTokenFile = file })
	r.login(t).Close()
	r.login(t).Close() // by the heir
	r.revokeHeirs(t)
	var log journal
	r.cfg.Log = log.logger()
	ends := r.kept(t).Heirs[0].Ends
	r.cfg.Now = func() time.Time { return ends.Add(time.Minute) } // so that the heirs are known to have ended
	_, err := vaultpki.Login(t.Context(), r.cfg)
	refusal{vaultpki.ReasonExpired, "an earlier start of this process used it", "introduction_expired"}.check(t, err, &log)
}

// accessorOf asks for the accessor of a wrapping token.
func accessorOf(t *testing.T, token string) string {
	t.Helper()
	var info struct {
		Data struct {
			Accessor string `json:"accessor"`
		} `json:"data"`
	}
	prepare(t, "POST", "auth/token/lookup", map[string]string{"token": token}, &info)
	return info.Data.Accessor
}
