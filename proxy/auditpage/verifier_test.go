package auditpage

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/verify"
	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
)

// feeding is a Sink that hands lines on without a goroutine of its own.
type feeding struct{ *Recent }

func (f feeding) Name() string { return "audit_page" }
func (f feeding) Close() error { return nil }
func (f feeding) Write(_ context.Context, b *accesslog.Batch) error {
	f.Add(string(b.Lines))
	return nil
}

// sealed writes a log with that many records beside its first, whose file it names.
func sealed(t *testing.T, records int) (name string, m *Recent, more func(records int)) {
	t.Helper()
	name, m, log := sealedLog(t, records)
	return name, m, func(records int) { write(t, log, records) }
}

func sealedLog(t *testing.T, records int) (name string, m *Recent, log *accesslog.Log) {
	t.Helper()
	name, m = filepath.Join(t.TempDir(), "access.log"), NewRecent(DefaultMemory)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	log = accesslog.Prepare(accesslog.Config{Service: "sallyport-gateway", Sinks: []accesslog.Sink{accesslog.NewOutput("output", struct{ *os.File }{f}), feeding{m}}})
	write(t, log, records)
	return name, m, log
}

// write writes records of requests.
func write(t *testing.T, log *accesslog.Log, records int) {
	t.Helper()
	for range records {
		r := accesslog.Record{Time: time.Now(), Action: accesslog.ActionAccess, Decision: accesslog.DecisionAllow, Path: "/x"}
		if err := log.Write(&r); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestVerifierFindsWhatWasChanged(t *testing.T) {
	lines := func(text []byte) [][]byte { return bytes.SplitAfter(text, []byte("\n")) }
	tests := map[string]struct {
		change func(text []byte) []byte
		want   string // the kind of the first finding; empty for none
	}{
		"nothing":           {func(text []byte) []byte { return text }, ""},
		"a record edited":   {func(text []byte) []byte { return bytes.Replace(text, []byte(`"/x"`), []byte(`"/y"`), 1) }, string(verify.Edited)},
		"a record removed":  {func(text []byte) []byte { l := lines(text); return bytes.Join(append(l[:5:5], l[6:]...), nil) }, string(verify.Removed)},
		"a line inserted":   {func(text []byte) []byte { return append([]byte("nonsense\n"), text...) }, string(verify.Inserted)},
		"the end cut off":   {func(text []byte) []byte { return bytes.Join(lines(text)[:8], nil) }, string(verify.Truncated)},
		"everything gone":   {func([]byte) []byte { return nil }, string(verify.Truncated)},
		"the end half gone": {func(text []byte) []byte { return text[:len(text)-20] }, string(verify.Truncated)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file, m, _ := sealed(t, 20)
			var log bytes.Buffer
			v := NewVerifier(VerifierConfig{File: file, Recent: m, Log: slog.New(slog.NewTextHandler(&log, nil))})
			if s := v.Status(); !s.On || !s.Since.IsZero() {
				t.Errorf("before the first: %+v", s)
			}
			v.verify(t.Context())
			if s := v.Status(); len(s.Findings) > 0 || s.Records != 21 || s.Files != 1 || s.Fault != nil {
				t.Fatalf("of a whole log: %+v", s)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, test.change(text), 0o600); err != nil {
				t.Fatal(err)
			}
			v.verify(t.Context())
			s := v.Status()
			switch {
			case test.want == "" && len(s.Findings) > 0:
				t.Errorf("findings %+v", s.Findings)
			case test.want != "" && (len(s.Findings) == 0 || s.Findings[0].Kind != test.want || !strings.Contains(log.String(), "log_not_whole")):
				t.Errorf("findings %+v, logged %s", s.Findings, &log)
			}
		})
	}
}

// TestVerifierKnowsWhatIsSigned, of what is written after it has looked as well.
func TestVerifierKnowsWhatIsSigned(t *testing.T) {
	file, m, more := sealed(t, 3)
	v := NewVerifier(VerifierConfig{File: file, Recent: m, Log: slog.New(slog.DiscardHandler)})
	v.verify(t.Context())
	more(6)
	s := v.Status()
	if len(s.Chains) != 1 || !s.Chains[0].Current || s.Chains[0].First != 1 || s.Chains[0].Last != 10 || s.Chains[0].Uncovered() != 10 {
		t.Fatalf("chains %+v", s.Chains)
	}
	head, err := checkpoint.ParseHead([]byte(`{"instance":"` + s.Chains[0].Instance + `","sequence":8,"hash":"` + strings.Repeat("A", 43) + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	made := checkpoint.Checkpoint{Head: head, Time: noon, Key: "transit/transit/sallyport-access-log/v2", Signature: []byte("x")}
	m.Add(`{"@timestamp":"2026-11-26T12:00:00.000000Z","event.action":"checkpoint","sallyport.log.checkpoint":` + string(made.AppendJSON(nil)) +
		`,"sallyport.log.instance":"` + s.Chains[0].Instance + `","sallyport.log.sequence":11,"sallyport.log.previous":"` + strings.Repeat("A", 43) + "\"}\n")
	got := v.Status().Chains[0]
	if got.Signed != 8 || got.Uncovered() != 3 || got.Signer != made.Key || !got.SignedAt.Equal(noon) {
		t.Errorf("chain %+v", got)
	}
}

// TestVerifierVerifiesSignatures, if it has the keys, and says so if it has not.
func TestVerifierVerifiesSignatures(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	const id = "transit/transit/log/v1"
	given := func(key ed25519.PublicKey, err error) func(context.Context) (checkpoint.Keys, error) {
		return func(context.Context) (checkpoint.Keys, error) { return checkpoint.Keys{id: key}, err }
	}
	tests := map[string]struct {
		keys       func(context.Context) (checkpoint.Keys, error)
		signatures bool
		verified   uint64
		findings   int
		says       string
	}{
		"with Vault's key":          {given(public, nil), true, 4, 0, "verified up to 4"},
		"with another one":          {given(other, nil), true, 0, 1, "forged_checkpoint"},
		"with one that is not read": {given(nil, errors.New("denied")), false, 0, 0, "The chain alone was verified here"},
		"without":                   {nil, false, 0, 0, "not verified here"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file, m, log := sealedLog(t, 3)
			head := log.Head()
			parsed, err := checkpoint.HeadOf(head.Instance, head.Sequence, head.Hash)
			if err != nil {
				t.Fatal(err)
			}
			c := &checkpoint.Checkpoint{Head: parsed, Time: time.Now().UTC().Truncate(time.Microsecond), Key: id}
			c.Signature = ed25519.Sign(private, c.Message())
			if _, err := log.WriteCheckpoint(c.AppendJSON(nil)); err != nil {
				t.Fatal(err)
			}
			if err := log.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			v := NewVerifier(VerifierConfig{File: file, Recent: m, Log: slog.New(slog.DiscardHandler)})
			v.Use(test.keys)
			v.verify(t.Context())
			s := v.Status()
			if s.Signatures != test.signatures || len(s.Findings) != test.findings || len(s.Chains) != 1 || s.Chains[0].Verified != test.verified {
				t.Errorf("status %+v", s)
			}
			p, err := New(Config{Base: "/.sallyport/audit", Home: "/", Store: m, Recent: m, Verified: v.Status})
			if err != nil {
				t.Fatal(err)
			}
			if w, _ := get(t.Context(), p, pathVerification, ""); !strings.Contains(w.Body.String(), test.says) {
				t.Errorf("expected %q in\n%s", test.says, w.Body.String())
			}
		})
	}
}

func TestVerifierWithoutItsFile(t *testing.T) {
	var log bytes.Buffer
	v := NewVerifier(VerifierConfig{File: filepath.Join(t.TempDir(), "access.log"), Recent: NewRecent(DefaultMemory), Log: slog.New(slog.NewTextHandler(&log, nil))})
	v.verify(t.Context())
	v.verify(t.Context())
	if s := v.Status(); !errors.Is(s.Fault, os.ErrNotExist) || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("fault %v, logged %s", s.Fault, &log)
	}
}

// TestVerifierTakesItsTime: it rests nine times as long as it works.
func TestVerifierTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rest := pace(t.Context())
		for _, worked := range []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Minute} {
			<-time.After(worked)
			began := time.Now()
			rest()
			if got, want := time.Since(began), min(9*worked, verifyRestMost); got != want {
				t.Errorf("after %v it rests %v, want %v", worked, got, want)
			}
		}
	})
}
