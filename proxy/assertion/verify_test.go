package assertion_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/assertion"
)

// verifying is a door and whoever verifies what it signs.
type verifying struct {
	issuing
	key      *countingSigner
	leaf     *x509.Certificate
	verifier *assertion.Verifier
	judged   atomic.Int64 // chains
	untrust  atomic.Bool  // the authority
}

func newVerifying(tb testing.TB) *verifying {
	tb.Helper()
	v := &verifying{key: newKey(tb)}
	v.leaf = certify(tb, v.key, time.Hour)
	v.issuing = newIssuer(tb, assertion.Key{Signer: v.key, Chain: []*x509.Certificate{v.leaf}})
	var err error
	v.verifier, err = assertion.NewVerifier(assertion.VerifierConfig{
		Issuer: origin, Audiences: []string{assertion.Audience("notes"), assertion.Audience("grafana")},
		Chain: func(chain []*x509.Certificate) error {
			v.judged.Add(1)
			if v.untrust.Load() || !chain[0].Equal(v.leaf) {
				return errors.New("another authority's")
			}
			return nil
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

func (v *verifying) assertAlice(tb testing.TB, route string) string {
	tb.Helper()
	token, err := v.to(route).Assert(alice())
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

func TestVerifierReadsWhatTheIssuerWrites(t *testing.T) {
	v := newVerifying(t)
	claims, err := v.verifier.Verify(v.assertAlice(t, "grafana"), []byte(certificate))
	if err != nil {
		t.Fatal(err)
	}
	who := alice()
	want := &assertion.Claims{Subject: who.User, Email: who.Email, Name: who.Name, Groups: who.Groups, ID: claims.ID}
	if diff := cmp.Diff(want, claims); diff != "" || claims.ID == "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

// TestVerifierRemembersForAMoment: the next requests with the same assertion cost no
// signature; another peer, another authority and its end are noticed all the same.
func TestVerifierRemembersForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVerifying(t)
		token := v.assertAlice(t, "notes")
		verify := func(step string, peer string, judged int64, fault string) {
			t.Helper()
			_, err := v.verifier.Verify(token, []byte(peer))
			if fault == "" && err != nil || fault != "" && (err == nil || !strings.Contains(err.Error(), fault)) {
				t.Errorf("%s: %v, expected %q", step, err, fault)
			}
			if got := v.judged.Load(); got != judged {
				t.Errorf("%s: %d chains were judged, want %d", step, got, judged)
			}
		}
		verify("first", certificate, 1, "")
		for range 10 {
			verify("again", certificate, 1, "")
		}
		verify("another peer", "another certificate", 2, "another client certificate")
		verify("another peer again", "another certificate", 3, "another client certificate")
		v.untrust.Store(true)
		verify("a moment after the authority went", certificate, 3, "")
		<-time.After(assertion.RememberFor)
		verify("after that", certificate, 4, "another authority's")
		v.untrust.Store(false)
		verify("trusted again", certificate, 5, "")
		<-time.After(assertion.Life)
		verify("within the skew of clocks", certificate, 6, "")
		<-time.After(time.Minute)
		verify("at its end", certificate, 7, "has ended")
	})
}

func TestWhatAVerifierRemembersIsBounded(t *testing.T) {
	v := newVerifying(t)
	for i := range 3 * assertion.MostVerdicts {
		assertion.Remember(v.verifier, i)
	}
	if got := assertion.Verdicts(v.verifier); got > assertion.MostVerdicts {
		t.Errorf("%d verdicts are remembered, want at most %d", got, assertion.MostVerdicts)
	}
}

// forged is a token that is yet to be signed.
type forged struct {
	header, claims map[string]any
	key            *ecdsa.PrivateKey
	after          func(token string) string
}

// forge makes an assertion as the door's but for what change does.
func (v *verifying) forge(tb testing.TB, change func(*forged)) string {
	tb.Helper()
	now := time.Now().Unix()
	sum := sha256.Sum256([]byte(certificate))
	key, ok := v.key.Signer.(*ecdsa.PrivateKey)
	if !ok {
		tb.Fatalf("key %T", v.key.Signer)
	}
	f := &forged{
		header: map[string]any{"alg": "ES256", "typ": "JWT", "x5c": []string{base64.StdEncoding.EncodeToString(v.leaf.Raw)}},
		claims: map[string]any{
			"iss": origin, "aud": "sallyport:route:notes", "sub": "alice", "groups": []string{}, "jti": "j", "iat": now, "nbf": now, "exp": now + 300,
			"cnf": map[string]string{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])},
		},
		key: key, after: func(token string) string { return token },
	}
	change(f)
	var parts []string
	for _, part := range []any{f.header, f.claims} {
		text, err := json.Marshal(part)
		if err != nil {
			tb.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(text))
	}
	text := strings.Join(parts, ".")
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, f.key, digest[:])
	if err != nil {
		tb.Fatal(err)
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return f.after(text + "." + base64.RawURLEncoding.EncodeToString(signature))
}

func TestVerifierRefusesEverythingElse(t *testing.T) {
	v := newVerifying(t)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.verifier.Verify(v.forge(t, func(*forged) {}), []byte(certificate)); err != nil {
		t.Fatalf("what the others are made of: %v", err)
	}
	now := time.Now().Unix()
	claim := func(name string, value any) func(*forged) { return func(f *forged) { f.claims[name] = value } }
	head := func(name string, value any) func(*forged) { return func(f *forged) { f.header[name] = value } }
	after := func(change func(string) string) func(*forged) { return func(f *forged) { f.after = change } }
	for name, test := range map[string]struct {
		change func(*forged)
		fault  string
	}{
		"another key":                {func(f *forged) { f.key = other }, "signature is another's"},
		"no algorithm":               {head("alg", "none"), "not signed with ES256"},
		"HS256":                      {head("alg", "HS256"), "not signed with ES256"},
		"something critical":         {head("crit", []string{"exp"}), "critical"},
		"no certificates":            {head("x5c", []string{}), "no certificates"},
		"certificates without end":   {head("x5c", make([]string, 6)), "6 certificates"},
		"a certificate that is none": {head("x5c", []string{"AAAA"}), "certificate 0"},
		"text for a certificate":     {head("x5c", []string{"?"}), "not base64"},
		"a list that is none":        {head("x5c", "AAAA"), "not what a gateway writes"},
		"another issuer":             {claim("iss", origin+".example"), "another issuer"},
		"another audience":           {claim("aud", "sallyport:route:wiki"), "another audience"},
		"several audiences":          {claim("aud", []string{"sallyport:route:notes"}), "not what a gateway writes"},
		"nobody":                     {claim("sub", ""), "nobody"},
		"no end":                     {claim("exp", 0), "does not end within"},
		"an end that is far":         {claim("exp", now+3600), "does not end within"},
		"past":                       {func(f *forged) { f.claims["iat"], f.claims["nbf"], f.claims["exp"] = now-600, now-600, now-301 }, "has ended"},
		"future":                     {func(f *forged) { f.claims["iat"], f.claims["nbf"], f.claims["exp"] = now+120, now+120, now+300 }, "begins at"},
		"not before":                 {claim("nbf", now+120), "begins at"},
		"another peer's":             {claim("cnf", map[string]string{"x5t#S256": base64.RawURLEncoding.EncodeToString(make([]byte, 32))}), "another client certificate"},
		"nobody's":                   {claim("cnf", nil), "another client certificate"},
		"empty":                      {after(func(string) string { return "" }), "three parts"},
		"two parts":                  {after(func(s string) string { return s[:strings.LastIndexByte(s, '.')] }), "three parts"},
		"four parts":                 {after(func(s string) string { return s + ".e30" }), "three parts"},
		"no signature":               {after(func(s string) string { return s[:strings.LastIndexByte(s, '.')+1] }), "64 octets"},
		"a line break":               {after(func(s string) string { return s[:len(s)-4] + "\n" + s[len(s)-4:] }), "three parts"},
		"padding":                    {after(func(s string) string { return s + "=" }), "64 octets"},
		"too much":                   {claim("pad", strings.Repeat("a", 1<<20)), "bytes"},
		"claims that were changed": {after(func(s string) string {
			parts := strings.Split(s, ".")
			return parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"eve"}`)) + "." + parts[2]
		}), "signature is another's"},
	} {
		t.Run(name, func(t *testing.T) {
			claims, err := v.verifier.Verify(v.forge(t, test.change), []byte(certificate))
			if err == nil || !strings.Contains(err.Error(), test.fault) || claims != nil {
				t.Errorf("%+v, %v; expected a refusal with %q", claims, err, test.fault)
			}
			if err != nil && strings.Contains(err.Error(), "alice") {
				t.Errorf("the refusal names a person: %v", err)
			}
		})
	}
}

func TestNewVerifierNeedsAnIssuerAndAnAuthority(t *testing.T) {
	for _, cfg := range []assertion.VerifierConfig{{}, {Issuer: origin}, {Chain: func([]*x509.Certificate) error { return nil }}} {
		if _, err := assertion.NewVerifier(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
	believesNone, err := assertion.NewVerifier(assertion.VerifierConfig{Issuer: origin, Chain: func([]*x509.Certificate) error { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := believesNone.Verify(newVerifying(t).assertAlice(t, "notes"), []byte(certificate)); err == nil {
		t.Error("without an audience everything is believed")
	}
}

// FuzzVerify: nothing but what the door has signed is believed, whatever is made of it.
func FuzzVerify(f *testing.F) {
	v := newVerifying(f)
	good := v.assertAlice(f, "notes")
	for _, seed := range []string{good, "", "..", "a.b.c", good + ".", strings.ToUpper(good)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		claims, err := v.verifier.Verify(token, []byte(certificate))
		if (err == nil) != (claims != nil) {
			t.Fatalf("%v, %v", claims, err)
		}
		if err == nil && token != good {
			t.Errorf("%q is believed", token)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	v := newVerifying(b)
	token := v.assertAlice(b, "notes")
	b.Run("remembered", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.verifier.Verify(token, []byte(certificate)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			assertion.ForgetVerdicts(v.verifier)
			if _, err := v.verifier.Verify(token, []byte(certificate)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
