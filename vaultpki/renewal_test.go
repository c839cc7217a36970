package vaultpki

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// toyAuthority signs in place of Vault, in a bubble whose hours pass in no time.
type toyAuthority struct {
	t    *testing.T
	root *x509.Certificate
	key  *ecdsa.PrivateKey

	mu       sync.Mutex // guards the rest
	life     time.Duration
	backdate time.Duration
	away     bool                   // nothing can be reached
	faults   map[string]error       // what is said to a request for a name
	issued   map[string]int         // by name
	asked    map[string][]time.Time // every call, by name
}

// IssuerKey implements certmagic.Issuer.
func (*toyAuthority) IssuerKey() string { return "vault-pki-role" }

var errAway = &wire.TransportError{Err: errors.New("connection refused")}

// Issue implements certmagic.Issuer.
func (a *toyAuthority) Issue(_ context.Context, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := nameOf(request)
	a.asked[name] = append(a.asked[name], time.Now())
	err := a.faults[name]
	if a.away {
		err = errAway
	}
	if err != nil {
		return nil, Classify("issuing", name, err)
	}
	a.issued[name]++
	leaf := sign(a.t, &x509.Certificate{
		DNSNames: request.DNSNames, NotBefore: time.Now().Add(-a.backdate), NotAfter: time.Now().Add(a.life),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.root, request.PublicKey, a.key)
	return &certmagic.IssuedCertificate{Certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})}, nil
}

// get is the roots' half of it.
func (a *toyAuthority) get(_ context.Context, method, _ string) (*api.Secret, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.away {
		return nil, &callError{errAway}
	}
	if method == "LIST" {
		return &api.Secret{Data: map[string]any{"keys": []any{"one"}}}, nil
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.Raw}))
	return &api.Secret{Data: map[string]any{"certificate": text}}, nil
}

func (a *toyAuthority) set(change func(a *toyAuthority)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(a)
}

// count returns how many certificates of a name were issued and asked for.
func (a *toyAuthority) count(name string) (issued, asked int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.issued[name], len(a.asked[name])
}

// inBubble runs test with certificates that a toy signs and that Run keeps.
func inBubble(t *testing.T, cfg CertificatesConfig, life time.Duration, test func(*testing.T, *toyAuthority, *Certificates)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		key := newKey(t)
		template := authorityTemplate("root")
		template.NotAfter = time.Now().AddDate(20, 0, 0)
		a := &toyAuthority{
			t: t, key: key, root: sign(t, template, template, &key.PublicKey, key), life: life,
			faults: map[string]error{}, issued: map[string]int{}, asked: map[string][]time.Time{},
		}
		cfg.Log = slog.New(slog.DiscardHandler)
		cfg.Client = &Client{patience: patience{log: cfg.Log}}
		cfg.Mount, cfg.Role, cfg.Usage = "pki", "role", ServerUsage
		c := newCertificates(t.Context(), cfg, &rootReader{mount: "pki", get: a.get}, trusting(t, a.root))
		c.magic.Issuers = []certmagic.Issuer{a}
		if err := c.SetNames(t.Context(), cfg.Names); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		test(t, a, c)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// pass lets time pass in a bubble.
func pass(d time.Duration) { <-time.After(d) }

func TestRenewalsFollowTheLifeThatWasGranted(t *testing.T) {
	const name = "a.example.com"
	tests := map[string]struct {
		asked, granted, backdate, watched time.Duration
		least, most                       int // certificates, the first included
	}{
		"as asked":                          {24 * time.Hour, 24 * time.Hour, 30 * time.Second, 24 * time.Hour, 2, 2},
		"a minute of a day (cert-manager)":  {24 * time.Hour, time.Minute, 30 * time.Second, time.Hour, 105, 121},
		"just under an hour (five ticks)":   {24 * time.Hour, 50 * time.Minute, 30 * time.Second, 24 * time.Hour, 51, 58},
		"ten seconds, dated back by thirty": {10 * time.Second, 10 * time.Second, 30 * time.Second, 5 * time.Minute, 50, 61},
		"five minutes":                      {5 * time.Minute, 5 * time.Minute, 0, time.Hour, 22, 25},
		"ten days":                          {24 * time.Hour, 240 * time.Hour, time.Hour, 288 * time.Hour, 3, 3},
	}
	for title, test := range tests {
		t.Run(title, func(t *testing.T) {
			cfg := CertificatesConfig{Names: []string{name}, TTL: test.asked}
			inBubble(t, cfg, test.granted, func(t *testing.T, a *toyAuthority, _ *Certificates) {
				a.set(func(a *toyAuthority) { a.backdate = test.backdate })
				pass(test.watched)
				if issued, asked := a.count(name); issued < test.least || issued > test.most || asked != issued {
					t.Errorf("%d certificates in %s by %d calls, expected %d to %d", issued, test.watched, asked, test.least, test.most)
				}
			})
		})
	}
}

func TestFailuresAreBoundedAndNeverSlowDownForHours(t *testing.T) {
	for title, fault := range map[string]error{
		"unreachable": errAway,
		"denied":      &wire.StatusError{Status: 403},
		"refused":     &wire.StatusError{Status: 400},
	} {
		t.Run(title, func(t *testing.T) {
			const name = "a.example.com"
			cfg := CertificatesConfig{Names: []string{name}, TTL: time.Hour}
			inBubble(t, cfg, time.Hour, func(t *testing.T, a *toyAuthority, c *Certificates) {
				a.set(func(a *toyAuthority) { a.faults[name] = fault })
				pass(12 * time.Hour)
				status := c.Status()[0]
				if status.Failure.Attempts == 0 || status.Failure.Cause == "" || status.Failures != status.Failure.Attempts {
					t.Errorf("status %+v, expected its failure", status)
				}
				if at := status.Failure.Since.Sub(status.Since); at < 30*time.Minute || at > 34*time.Minute {
					t.Errorf("failing since %s after it was issued, expected half an hour", at)
				}
				if time.Now().Before(status.NotAfter) {
					t.Fatal("the test needs an expired certificate")
				}
				a.set(func(a *toyAuthority) {
					calls := a.asked[name][1:]
					for i := 1; i < len(calls); i++ {
						if pause := calls[i].Sub(calls[i-1]); pause > 90*time.Second {
							t.Errorf("%s between attempts %d and %d", pause, i, i+1)
						}
					}
					if perMinute := float64(len(calls)) / (11.5 * 60); perMinute > 2 {
						t.Errorf("%.1f calls in a minute", perMinute)
					}
					a.faults[name] = nil
				})
				pass(2 * time.Minute)
				if now := c.Status()[0]; now.Serial == status.Serial || now.Failure != (Failure{}) {
					t.Errorf("two minutes after the fault is gone: %+v", now)
				}
			})
		})
	}
}

func TestOneNamesFailureHoldsUpNoOther(t *testing.T) {
	names := []string{"bad.example.com", "good.example.com", "fine.example.com"}
	inBubble(t, CertificatesConfig{Names: names, TTL: time.Hour}, time.Hour, func(t *testing.T, a *toyAuthority, c *Certificates) {
		a.set(func(a *toyAuthority) { a.faults[names[0]] = &wire.StatusError{Status: 400} })
		pass(5 * time.Hour)
		for _, status := range c.Status() {
			if ended := time.Now().After(status.NotAfter); ended != (status.Name == names[0]) {
				t.Errorf("%s is expired: %t", status.Name, ended)
			}
			if status.Name != names[0] && (status.Renewals < 9 || status.Renewals > 10) {
				t.Errorf("%s was renewed %d times in five hours, expected 9 or 10", status.Name, status.Renewals)
			}
		}
	})
}

func TestRenewalsAreTriedAtOnceWhenTheIssuerIsBack(t *testing.T) {
	names := []string{"a.example.com", "b.example.com", "c.example.com"}
	inBubble(t, CertificatesConfig{Names: names, TTL: 24 * time.Hour}, 24*time.Hour, func(t *testing.T, a *toyAuthority, c *Certificates) {
		a.set(func(a *toyAuthority) { a.away = true })
		pass(20 * time.Hour)
		a.set(func(a *toyAuthority) { a.away = false })
		pass(longestAbsencePause*3/2 + shortestAsk + returnSpread)
		for _, status := range c.Status() {
			if status.Renewals != 1 {
				t.Errorf("%s was renewed %d times, its next attempt is in %s", status.Name, status.Renewals, time.Until(status.Next))
			}
		}
	})
}

func TestNamesAreChangedWithoutTouchingTheOthers(t *testing.T) {
	names := []string{"a.example.com", "b.example.com"}
	inBubble(t, CertificatesConfig{Names: names, TTL: time.Hour}, time.Hour, func(t *testing.T, a *toyAuthority, c *Certificates) {
		before := c.Status()[1]
		for range 20 {
			if err := c.SetNames(t.Context(), []string{"c.example.com", "b.example.com"}); err != nil {
				t.Fatal(err)
			}
		}
		if now := c.Status(); len(now) != 2 || now[0].Name != "c.example.com" || now[1] != before {
			t.Errorf("status %+v", now)
		}
		pass(5 * time.Hour)
		for name, want := range map[string][2]int{"a.example.com": {1, 1}, "b.example.com": {9, 11}, "c.example.com": {9, 11}} {
			if issued, _ := a.count(name); issued < want[0] || issued > want[1] {
				t.Errorf("%s was issued %d times, expected %v", name, issued, want)
			}
		}
		a.set(func(a *toyAuthority) { a.faults["d.example.com"] = &wire.StatusError{Status: 400} })
		if err := c.SetNames(t.Context(), []string{"e.example.com", "d.example.com"}); err == nil {
			t.Error("a name that is not issued was accepted")
		}
		if got := c.names(); len(got) != 2 || got[0] != "c.example.com" || got[1] != "b.example.com" {
			t.Errorf("names after an error %q", got)
		}
		if c.certificate("e.example.com") != nil || c.certificate("a.example.com") != nil {
			t.Error("certificates that nobody wants are held")
		}
		if err := c.SetNames(t.Context(), []string{"a.example.com"}); err != nil {
			t.Fatal(err)
		}
		if issued, _ := a.count("a.example.com"); issued != 2 {
			t.Errorf("a name that came back was issued %d times, expected a new key and certificate", issued)
		}
	})
}

func TestWindowIsWaitedFor(t *testing.T) {
	const name = "a.example.com" // bubbles begin on Saturday, 2000-01-01, at midnight UTC
	nightly := Window{First: time.Sunday, Last: time.Saturday, From: 2 * time.Hour, To: 5 * time.Hour}
	inBubble(t, CertificatesConfig{Names: []string{name}, TTL: 240 * time.Hour, Window: nightly}, 240*time.Hour, func(t *testing.T, _ *toyAuthority, c *Certificates) {
		for renewals := range 2 {
			status := c.Status()[0]
			if hour := status.Next.UTC().Hour(); hour < 2 || hour >= 5 || time.Until(status.Next) < 120*time.Hour {
				t.Errorf("next renewal at %s, expected the window after half of the life", status.Next)
			}
			pass(time.Until(status.Next) + time.Second)
			if now := c.Status()[0]; now.Renewals != renewals+1 {
				t.Fatalf("%d renewals by %s", now.Renewals, time.Now())
			}
		}
		if err := c.Renew(t.Context(), name); err != nil {
			t.Fatalf("a renewal that is asked for does not wait: %v", err)
		}
	})
}

func TestRenewalTime(t *testing.T) {
	noon := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC) // a Wednesday
	nightly := Window{First: time.Sunday, Last: time.Saturday, From: 2 * time.Hour, To: 5 * time.Hour}
	weekend := Window{First: time.Saturday, Last: time.Sunday, From: 2 * time.Hour, To: 5 * time.Hour}
	tests := map[string]struct {
		backdate, life time.Duration
		window         Window
		spread         float64
		want           time.Duration
	}{
		"half":                            {0, time.Hour, Window{}, 0, 30 * time.Minute},
		"a little later":                  {0, time.Hour, Window{}, 1, 33 * time.Minute},
		"dated back":                      {30 * time.Second, 10 * time.Second, Window{}, 0, 5 * time.Second},
		"not yet valid here":              {-30 * time.Second, time.Minute, Window{}, 0, 45 * time.Second},
		"window after half":               {0, 70 * time.Hour, nightly, 0, 38 * time.Hour},
		"window in the last quarter":      {0, 16 * time.Hour, nightly, 0, 8 * time.Hour},
		"window that is open":             {0, 30 * time.Hour, nightly, 0, 15 * time.Hour},
		"weekend in time":                 {0, 120 * time.Hour, weekend, 0, 62 * time.Hour},
		"weekend too late":                {0, 80 * time.Hour, weekend, 0, 40 * time.Hour},
		"spread stays before the quarter": {0, 20 * time.Hour, Window{First: time.Sunday, Last: time.Saturday, From: 2*time.Hour + 50*time.Minute, To: 5 * time.Hour}, 1, 14*time.Hour + 55*time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			leaf := &x509.Certificate{NotBefore: noon.Add(-test.backdate), NotAfter: noon.Add(test.life)}
			if got := renewalTime(leaf, noon, test.window, test.spread).Sub(noon); got != test.want {
				t.Errorf("after %s, expected %s", got, test.want)
			}
		})
	}
}

func TestWindowOpensAndCloses(t *testing.T) {
	at := func(text string) time.Time {
		parsed, err := time.Parse("Mon 2006-01-02 15:04", text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	tests := map[string]struct {
		window            Window
		at, opens, closes string
	}{
		"later today":             {Window{0, 6, 14 * time.Hour, 15 * time.Hour}, "Wed 2026-11-25 12:00", "Wed 2026-11-25 14:00", "Wed 2026-11-25 15:00"},
		"open now":                {Window{0, 6, 11 * time.Hour, 15 * time.Hour}, "Wed 2026-11-25 12:00", "Wed 2026-11-25 12:00", "Wed 2026-11-25 15:00"},
		"just closed":             {Window{0, 6, 11 * time.Hour, 12 * time.Hour}, "Wed 2026-11-25 12:00", "Thu 2026-11-26 11:00", "Thu 2026-11-26 12:00"},
		"over midnight, begun":    {Window{0, 6, 22 * time.Hour, 2 * time.Hour}, "Wed 2026-11-25 01:00", "Wed 2026-11-25 01:00", "Wed 2026-11-25 02:00"},
		"over midnight, by day":   {Window{6, 6, 22 * time.Hour, 2 * time.Hour}, "Sun 2026-11-29 01:00", "Sun 2026-11-29 01:00", "Sun 2026-11-29 02:00"},
		"another day":             {Window{6, 0, 2 * time.Hour, 5 * time.Hour}, "Wed 2026-11-25 12:00", "Sat 2026-11-28 02:00", "Sat 2026-11-28 05:00"},
		"round the week's end":    {Window{5, 1, 2 * time.Hour, 5 * time.Hour}, "Sat 2026-11-28 06:00", "Sun 2026-11-29 02:00", "Sun 2026-11-29 05:00"},
		"the whole of a Tuesday":  {Window{2, 2, 0, 24 * time.Hour}, "Wed 2026-11-25 12:00", "Tue 2026-12-01 00:00", "Wed 2026-12-02 00:00"},
		"the last day of a month": {Window{1, 1, time.Hour, 2 * time.Hour}, "Mon 2026-11-30 03:00", "Mon 2026-12-07 01:00", "Mon 2026-12-07 02:00"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := test.window.check(); err != nil {
				t.Fatal(err)
			}
			opens, closes := test.window.next(at(test.at))
			if !opens.Equal(at(test.opens)) || !closes.Equal(at(test.closes)) {
				t.Errorf("open from %s to %s", opens, closes)
			}
		})
	}
	for name, window := range map[string]Window{
		"no length": {First: 1, Last: 2, From: time.Hour, To: time.Hour}, "no day": {First: -1, Last: 2, From: 1, To: 2},
		"no such day": {First: 1, Last: 7, From: 1, To: 2}, "before midnight": {First: 1, Last: 1, From: -1, To: 2},
		"too late": {First: 1, Last: 1, From: 1, To: 25 * time.Hour},
	} {
		if window.check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
