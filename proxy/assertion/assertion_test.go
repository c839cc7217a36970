package assertion_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/assertion"
	"github.com/sallyport/sallyport/proxy/session"
)

const (
	origin      = "https://door.example.com"
	certificate = "the client certificate"
)

// countingSigner counts what it signs.
type countingSigner struct {
	crypto.Signer
	calls atomic.Int64
	fault error
}

func (s *countingSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.calls.Add(1)
	if s.fault != nil {
		return nil, s.fault
	}
	return s.Signer.Sign(random, digest, opts)
}

func newKey(tb testing.TB) *countingSigner {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return &countingSigner{Signer: key}
}

// certify returns a certificate for key that lives so long.
func certify(tb testing.TB, key crypto.Signer, life time.Duration) *x509.Certificate {
	tb.Helper()
	authority := newKey(tb)
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), authority.Signer)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

// issuing is an Issuer with routes by name.
type issuing struct {
	*assertion.Issuer
	routes map[string]*assertion.Route
}

func (i issuing) to(route string) *assertion.Route { return i.routes[route] }

func newIssuer(tb testing.TB, current assertion.Key, others ...assertion.Key) issuing {
	tb.Helper()
	issuer, err := assertion.New(assertion.Config{Origin: origin, ClientCertificate: []byte(certificate), Current: current, Others: others})
	if err != nil {
		tb.Fatal(err)
	}
	return issuing{issuer, map[string]*assertion.Route{"grafana": issuer.For("grafana", nil), "notes": issuer.For("notes", nil)}}
}

func alice() *session.State {
	now := time.Now()
	return &session.State{
		ID: "id-of-alice", User: "alice@example.com", Email: "alice@mail.example.com", Name: "Alice <Liddell>", Groups: []string{"engineers", "CN=a,b"},
		IdP: "https://idp.example.org", AuthnContext: "urn:mfa", AuthnAt: now.Add(-time.Hour).Unix(), Expires: now.Add(9 * time.Hour).Unix(), Seen: now.Unix(),
	}
}

// open splits an assertion and checks its signature.
func open(tb testing.TB, token string, key crypto.PublicKey) (header, claims map[string]any) {
	tb.Helper()
	pieces := strings.Split(token, ".")
	if len(pieces) != 3 {
		tb.Fatalf("%q has %d pieces", token, len(pieces))
	}
	var raw [3][]byte
	for i, piece := range pieces {
		var err error
		if raw[i], err = base64.RawURLEncoding.Strict().DecodeString(piece); err != nil {
			tb.Fatal(err)
		}
	}
	public, ok := key.(*ecdsa.PublicKey)
	if !ok || len(raw[2]) != 64 {
		tb.Fatalf("key %T, signature of %d octets", key, len(raw[2]))
	}
	digest := sha256.Sum256([]byte(pieces[0] + "." + pieces[1]))
	if !ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(raw[2][:32]), new(big.Int).SetBytes(raw[2][32:])) {
		tb.Fatal("the signature does not verify")
	}
	for i, into := range []*map[string]any{&header, &claims} {
		if err := json.Unmarshal(raw[i], into); err != nil {
			tb.Fatal(err)
		}
	}
	return header, claims
}

func assert(tb testing.TB, i issuing, route string, s *session.State) string {
	tb.Helper()
	token, err := i.to(route).Assert(s)
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

func TestAnAssertionSaysWhoAsksAndForWhom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, s := newKey(t), alice()
		header, claims := open(t, assert(t, newIssuer(t, assertion.Key{Signer: key}), "grafana", s), key.Public())
		id, err := assertion.KeyID(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]any{"alg": "ES256", "typ": "JWT", "kid": id}, header); diff != "" {
			t.Errorf("header (-want +got):\n%s", diff)
		}
		jti, _ := claims["jti"].(string)
		if len(jti) < 16 {
			t.Errorf("jti %q is short", jti)
		}
		sum := sha256.Sum256([]byte(certificate))
		now := float64(time.Now().Unix())
		want := map[string]any{
			"iss": origin, "aud": "sallyport:route:grafana", "sub": "alice@example.com", "email": "alice@mail.example.com", "name": "Alice <Liddell>",
			"groups": []any{"engineers", "CN=a,b"}, "sid": s.LogID(), "jti": jti, "iat": now, "nbf": now, "exp": now + 300, "acr": "urn:mfa",
			"auth_time": float64(s.AuthnAt), "idp": "https://idp.example.org",
			"cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])},
		}
		if diff := cmp.Diff(want, claims); diff != "" {
			t.Errorf("claims (-want +got):\n%s", diff)
		}
		if strings.Contains(assert(t, newIssuer(t, assertion.Key{Signer: key}), "grafana", s), s.ID) {
			t.Error("the session's id is told")
		}
	})
}

func TestAnAssertionEndsWithTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, s := newKey(t), alice()
		s.Expires = time.Now().Add(30 * time.Second).Unix()
		issuer := newIssuer(t, assertion.Key{Signer: key})
		_, claims := open(t, assert(t, issuer, "grafana", s), key.Public())
		if claims["exp"] != float64(s.Expires) {
			t.Errorf("exp %v, want %d", claims["exp"], s.Expires)
		}
		s.Groups = nil
		if _, claims := open(t, assert(t, issuer, "grafana", s), key.Public()); cmp.Diff([]any{}, claims["groups"]) != "" {
			t.Errorf("groups %v, want an empty list", claims["groups"])
		}
	})
}

func TestOneIsSignedForManyRequests(t *testing.T) {
	changes := map[string]func(*session.State){
		"the groups change":       func(s *session.State) { s.Groups = []string{"support"} },
		"a group is renamed":      func(s *session.State) { s.Groups = []string{"engineers", "CN=a"} },
		"the person steps up":     func(s *session.State) { s.AuthnContext, s.AuthnAt = "urn:hardware", s.AuthnAt+60 },
		"another person comes":    func(s *session.State) { s.User = "bob@example.com" },
		"the address changes":     func(s *session.State) { s.Email = "a@example.com" },
		"the name changes":        func(s *session.State) { s.Name = "Alice" },
		"another IdP vouches":     func(s *session.State) { s.IdP = "https://other.example.org" },
		"the session ends sooner": func(s *session.State) { s.Expires -= 60 },
		"it is another session":   func(s *session.State) { s.ID = "other" },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			key, s := newKey(t), alice()
			issuer := newIssuer(t, assertion.Key{Signer: key})
			first := assert(t, issuer, "grafana", s)
			later := *s
			later.Seen += 60
			if assert(t, issuer, "grafana", &later) != first || key.calls.Load() != 1 {
				t.Errorf("signed %d times for the same, want once", key.calls.Load())
			}
			change(&later)
			if assert(t, issuer, "grafana", &later) == first || key.calls.Load() != 2 {
				t.Errorf("the change is not told; signed %d times", key.calls.Load())
			}
		})
	}
}

func TestNoRouteSeesAnothersAssertion(t *testing.T) {
	key, s := newKey(t), alice()
	issuer := newIssuer(t, assertion.Key{Signer: key})
	for range 2 {
		for _, route := range []string{"grafana", "notes"} {
			if _, claims := open(t, assert(t, issuer, route, s), key.Public()); claims["aud"] != assertion.Audience(route) {
				t.Errorf("route %s gets an assertion for %v", route, claims["aud"])
			}
		}
	}
}

// TestARouteIsToldOfItsGroups: another release, of a gateway that takes the place of
// this one, finds nothing of the one before.
func TestARouteIsToldOfItsGroups(t *testing.T) {
	key, s := newKey(t), alice()
	issuer := newIssuer(t, assertion.Key{Signer: key})
	for want, release := range map[string]func([]string) []string{
		"engineers,CN=a,b": nil,
		"engineers":        func(groups []string) []string { return groups[:1] },
		"":                 func([]string) []string { return nil },
	} {
		route := issuer.For("grafana", release)
		for range 2 {
			token, err := route.Assert(s)
			if err != nil {
				t.Fatal(err)
			}
			_, claims := open(t, token, key.Public())
			var groups []string
			list, isList := claims["groups"].([]any)
			for _, group := range list {
				text, _ := group.(string)
				groups = append(groups, text)
			}
			if got := strings.Join(groups, ","); !isList || got != want {
				t.Errorf("groups %v, want %q", claims["groups"], want)
			}
		}
	}
	if key.calls.Load() != 3 {
		t.Errorf("signed %d times", key.calls.Load())
	}
}

// pass lets the bubble's clock run.
func pass(d time.Duration) { <-time.After(d) }

func TestAThirdOfTheLifeIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, s := newKey(t), alice()
		issuer := newIssuer(t, assertion.Key{Signer: key})
		first := assert(t, issuer, "grafana", s)
		pass(199 * time.Second)
		if assert(t, issuer, "grafana", s) != first {
			t.Error("it is signed again before two thirds of its life are over")
		}
		pass(2 * time.Second)
		if assert(t, issuer, "grafana", s) == first {
			t.Error("it serves for longer than two thirds of its life")
		}
		s.Expires = time.Now().Add(30 * time.Second).Unix()
		short := assert(t, issuer, "grafana", s)
		pass(21 * time.Second)
		if assert(t, issuer, "grafana", s) == short {
			t.Error("one that ends sooner serves for longer than two thirds of its life")
		}
	})
}

func TestManyRequestsAtOnceSignOnce(t *testing.T) {
	key, s := newKey(t), alice()
	issuer := newIssuer(t, assertion.Key{Signer: key})
	want := sync.OnceValue(func() string { return assert(t, issuer, "grafana", s) })
	var all sync.WaitGroup
	tokens := make([]string, 64)
	for i := range tokens {
		all.Go(func() { tokens[i], _ = issuer.to("grafana").Assert(s) })
	}
	all.Wait()
	for _, token := range tokens {
		if token != want() {
			t.Errorf("two assertions for the same")
		}
	}
	if n := key.calls.Load(); n != 1 {
		t.Errorf("signed %d times", n)
	}
}

func TestAFailureIsNotRemembered(t *testing.T) {
	key, s := newKey(t), alice()
	key.fault = errors.New("hardware is away")
	issuer := newIssuer(t, assertion.Key{Signer: key})
	if token, err := issuer.to("grafana").Assert(s); token != "" || !errors.Is(err, key.fault) {
		t.Errorf("token %q, error %v", token, err)
	}
	key.fault = nil
	assert(t, issuer, "grafana", s)
	s.Name = "J\xfcrgen"
	if token, err := issuer.to("grafana").Assert(s); token != "" || err == nil {
		t.Errorf("a name that would become another's: token %q, error %v", token, err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, s := newKey(t), alice()
		issuer := newIssuer(t, assertion.Key{Signer: key})
		s.Groups = []string{strings.Repeat("g", 20_000)} // to fill it sooner
		for i := range 2_000 {
			s.ID = strconv.Itoa(i)
			assert(t, issuer, "grafana", s)
		}
		entries, bytes := assertion.Remembered(issuer.Issuer)
		if bytes > assertion.MostBytes || entries < 500 || entries > 1_500 {
			t.Errorf("%d assertions in %d bytes, expected at most %d bytes", entries, bytes, assertion.MostBytes)
		}
		pass(assertion.Life)
		for i := range 200 { // every part signs one
			s.ID = "later" + strconv.Itoa(i)
			assert(t, issuer, "grafana", s)
		}
		if entries, _ := assertion.Remembered(issuer.Issuer); entries != 200 {
			t.Errorf("%d assertions are remembered, expected the 200 that serve", entries)
		}
	})
}

func TestForgettingLosesNothingButTime(t *testing.T) {
	key, s := newKey(t), alice()
	issuer := newIssuer(t, assertion.Key{Signer: key})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				issuer.Forget()
				if token, err := issuer.to("grafana").Assert(s); err != nil || token == "" {
					t.Errorf("token %q, %v", token, err)
				}
			}
		})
	}
	all.Wait()
	issuer.Forget()
	if entries, bytes := assertion.Remembered(issuer.Issuer); entries != 0 || bytes != 0 {
		t.Errorf("%d assertions in %d bytes are remembered", entries, bytes)
	}
}

func TestTheChainIsSentWhileItOutlivesTheAssertion(t *testing.T) {
	for life, want := range map[time.Duration]bool{time.Hour: true, 3 * time.Minute: false, -time.Minute: false} {
		t.Run(life.String(), func(t *testing.T) {
			key := newKey(t)
			leaf := certify(t, key, life)
			issuer := newIssuer(t, assertion.Key{Signer: key, Chain: []*x509.Certificate{leaf, certify(t, newKey(t), 2*time.Hour)}})
			header, _ := open(t, assert(t, issuer, "grafana", alice()), key.Public())
			chain, sent := header["x5c"].([]any)
			if sent != want || want && (len(chain) != 2 || chain[0] != base64.StdEncoding.EncodeToString(leaf.Raw)) {
				t.Errorf("x5c %v, want it sent: %v", chain, want)
			}
		})
	}
}

func TestTheKeySetShowsEveryKeyOnce(t *testing.T) {
	current, next, previous := newKey(t), newKey(t), newKey(t)
	leaf := certify(t, current, time.Hour)
	issuer := newIssuer(t, assertion.Key{Signer: current, Chain: []*x509.Certificate{leaf}},
		assertion.Key{Signer: next}, assertion.Key{Signer: previous}, assertion.Key{Signer: next})
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal(issuer.KeySet(), &set); err != nil || len(set.Keys) != 3 {
		t.Fatalf("%s: %v", issuer.KeySet(), err)
	}
	for i, key := range []*countingSigner{current, next, previous} {
		public, _ := key.Public().(*ecdsa.PublicKey)
		point, _ := public.Bytes()
		id, _ := assertion.KeyID(public)
		want := map[string]any{
			"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id,
			"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:]),
		}
		if i == 0 {
			want["x5c"] = []any{base64.StdEncoding.EncodeToString(leaf.Raw)}
		}
		if diff := cmp.Diff(want, set.Keys[i]); diff != "" {
			t.Errorf("key %d (-want +got):\n%s", i, diff)
		}
	}
}

// RFC 7638 has no example of an elliptic key; other implementations give this one.
func TestKeyIDIsTheThumbprint(t *testing.T) {
	decode := func(text string) *big.Int {
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		return new(big.Int).SetBytes(raw)
	}
	// The key of RFC 7515 appendix A.3.
	point := append([]byte{4}, append(decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU").FillBytes(make([]byte, 32)),
		decode("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0").FillBytes(make([]byte, 32))...)...)
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}
	id, err := assertion.KeyID(public)
	if want := "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"; err != nil || id != want {
		t.Errorf("kid %q, %v, want %q", id, err, want)
	}
}

func TestNewRefusesWhatCannotSign(t *testing.T) {
	good := assertion.Key{Signer: newKey(t)}
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	wide, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]assertion.Config{
		"no origin":                  {ClientCertificate: []byte{1}, Current: good},
		"no client certificate":      {Origin: origin, Current: good},
		"no key":                     {Origin: origin, ClientCertificate: []byte{1}},
		"an RSA key":                 {Origin: origin, ClientCertificate: []byte{1}, Current: assertion.Key{Signer: weak}},
		"another curve":              {Origin: origin, ClientCertificate: []byte{1}, Current: assertion.Key{Signer: wide}},
		"another key's certificate":  {Origin: origin, ClientCertificate: []byte{1}, Current: assertion.Key{Signer: newKey(t), Chain: []*x509.Certificate{certify(t, newKey(t), time.Hour)}}},
		"a bad key beside the first": {Origin: origin, ClientCertificate: []byte{1}, Current: good, Others: []assertion.Key{{}}},
	} {
		if _, err := assertion.New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestTheCachedPathAllocatesNothing(t *testing.T) {
	issuer, s := newIssuer(t, assertion.Key{Signer: newKey(t)}), alice()
	assert(t, issuer, "grafana", s)
	if n := testing.AllocsPerRun(1000, func() { _, _ = issuer.to("grafana").Assert(s) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkAssertCached(b *testing.B) {
	key := newKey(b)
	issuer, s := newIssuer(b, assertion.Key{Signer: key, Chain: []*x509.Certificate{certify(b, key, time.Hour)}}), alice()
	for range 20 {
		s.Groups = append(s.Groups, "a-group-of-the-company")
	}
	assert(b, issuer, "grafana", s)
	for i, group := range s.Groups { // as the next request has them: other text of the same letters
		s.Groups[i] = strings.Clone(group)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := issuer.to("grafana").Assert(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAssertSigned(b *testing.B) {
	key := newKey(b)
	issuer, s := newIssuer(b, assertion.Key{Signer: key, Chain: []*x509.Certificate{certify(b, key, time.Hour)}}), alice()
	b.ReportAllocs()
	for b.Loop() {
		s.AuthnAt++
		if _, err := issuer.to("grafana").Assert(s); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzAssert: what an identity provider says of somebody is told as it is, or not at
// all.
func FuzzAssert(f *testing.F) {
	f.Add("alice@example.com", "a@b", "Alice", "engineers", "urn:mfa")
	f.Add("j\u00fcrgen", "", "\x00\u2028</script>", "a\",\"admins", "\xff")
	key := newKey(f)
	issuer := newIssuer(f, assertion.Key{Signer: key})
	f.Fuzz(func(t *testing.T, user, email, name, group, acr string) {
		s := alice()
		s.User, s.Email, s.Name, s.Groups, s.AuthnContext = user, email, name, []string{group}, acr
		token, err := issuer.to("grafana").Assert(s)
		valid := utf8.ValidString(user) && utf8.ValidString(email) && utf8.ValidString(name) && utf8.ValidString(group) && utf8.ValidString(acr)
		if valid != (err == nil) || valid != (token != "") {
			t.Fatalf("token %q, error %v", token, err)
		}
		if !valid {
			return
		}
		_, claims := open(t, token, key.Public())
		text := func(claim string) string { value, _ := claims[claim].(string); return value }
		if text("sub") != user || text("email") != email || text("name") != name || text("acr") != acr {
			t.Errorf("claims %v", claims)
		}
		if diff := cmp.Diff([]any{group}, claims["groups"]); diff != "" || text("aud") != "sallyport:route:grafana" || text("iss") != origin {
			t.Errorf("claims %v", claims)
		}
	})
}
