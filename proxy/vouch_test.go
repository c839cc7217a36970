package proxy_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/assertion"
)

const keySetPath = "/.well-known/sallyport/jwks.json"

// asserting has every route but "open" send assertions, signed by the key that is
// returned.
func asserting(tb testing.TB) (crypto.Signer, func(*proxy.Config)) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key, func(cfg *proxy.Config) {
		shown := cfg.Routes[0].TLS.Certificates[0]
		if cfg.Assertions, err = assertion.New(assertion.Config{
			Origin: "https://" + cfg.DoorHost, ClientCertificate: shown.Certificate[0], Current: assertion.Key{Signer: key},
		}); err != nil {
			tb.Fatal(err)
		}
		for i := range cfg.Routes {
			cfg.Routes[i].Assertion = cfg.Routes[i].Name != "open"
		}
	}
}

// asserted returns what an assertion says that the key has signed.
func asserted(tb testing.TB, values []string, key crypto.Signer) map[string]any {
	tb.Helper()
	if len(values) != 1 {
		tb.Fatalf("%d assertions, expected one", len(values))
	}
	pieces := strings.Split(values[0], ".")
	if len(pieces) != 3 {
		tb.Fatalf("%q is no JWT", values[0])
	}
	signature, err := base64.RawURLEncoding.DecodeString(pieces[2])
	public, ok := key.Public().(*ecdsa.PublicKey)
	digest := sha256.Sum256([]byte(pieces[0] + "." + pieces[1]))
	if err != nil || !ok || len(signature) != 64 || !ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		tb.Fatal("the signature does not verify")
	}
	text, err := base64.RawURLEncoding.DecodeString(pieces[1])
	var claims map[string]any
	if err != nil || json.Unmarshal(text, &claims) != nil {
		tb.Fatalf("claims %q", text)
	}
	return claims
}

func TestABackendGetsAnAssertionForItself(t *testing.T) {
	key, change := asserting(t)
	w := newWorld(t, change)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	before := map[string]string{}
	for _, host := range []string{headersHost, notesHost, headersHost} {
		b.signIn(w.origin(host)+"/", "alice")
		got, _ := w.backend.seen()
		claims := asserted(t, got.Header["X-Sallyport-Assertion"], key)
		route, _, _ := strings.Cut(host, ".")
		if claims["aud"] != "sallyport:route:"+route || claims["sub"] != got.Header.Get("X-Forwarded-User") || claims["iss"] != "https://"+doorHost || claims["email"] != "alice@example.com" {
			t.Errorf("%s is told %v", host, claims)
		}
		sum := sha256.Sum256(got.TLS.PeerCertificates[0].Raw)
		if bound, _ := claims["cnf"].(map[string]any); bound["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum[:]) {
			t.Errorf("%s: the assertion is bound to %v, which is not the certificate of the connection", host, bound)
		}
		if sid, _ := claims["sid"].(string); sid == "" || !strings.Contains(w.log.text(), `"sallyport.session.id":"`+sid+`"`) {
			t.Errorf("sid %q is not that of the access log", sid)
		}
		if jti, _ := claims["jti"].(string); before[host] != "" && before[host] != jti {
			t.Error("it was signed again for the next request")
		} else {
			before[host] = jti
		}
	}
}

func TestAnAssertionOfTheClientsReachesNobody(t *testing.T) {
	key, change := asserting(t)
	w := newWorld(t, change)
	b := w.browser()
	for host, want := range map[string]int{headersHost: 1, openHost: 0} { // open sends none
		b.signIn(w.origin(host)+"/", "alice")
		req := b.request(http.MethodGet, w.origin(host)+"/", nil)
		req.Header["X-Sallyport-Assertion"] = []string{"forged", "twice"}
		req.Header["x_sallyport.assertion"] = []string{"forged"}
		req.Header["Connection"] = []string{"X-Sallyport-Assertion"}
		b.do(req)
		got, _ := w.backend.seen()
		if values := got.Header["X-Sallyport-Assertion"]; len(values) != want {
			t.Errorf("%s: %q, expected %d", host, values, want)
		} else if want == 1 {
			asserted(t, values, key)
		}
		for name, values := range got.Header {
			if strings.Contains(strings.Join(values, " "), "forged") {
				t.Errorf("%s: the client's value arrives as %s", host, name)
			}
		}
	}
}

func TestAWebSocketIsVouchedFor(t *testing.T) {
	key, change := asserting(t)
	w := newWorld(t, change)
	w.backend.mux.HandleFunc("/ws", echo)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, _, err := b.dial(ctx, "wss"+w.origin(headersHost)[len("https"):]+"/ws", w.origin(headersHost))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	got, _ := w.backend.seen()
	if claims := asserted(t, got.Header["X-Sallyport-Assertion"], key); claims["sub"] != "alice@example.com" {
		t.Errorf("claims %v", claims)
	}
}

// With another client certificate come other connections and other assertions, in
// one step: no connection carries an assertion that is bound to another's certificate.
func TestAssertionsFollowTheClientCertificate(t *testing.T) {
	key, change := asserting(t)
	w := newWorld(t, change)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	seen := map[string]bool{}
	for range 3 {
		w.replace(func(cfg *proxy.Config) {
			dial := cfg.Routes[0].TLS.Clone()
			dial.Certificates[0] = w.ca.issue(x509.ExtKeyUsageClientAuth, "gateway.test")
			for i := range cfg.Routes {
				cfg.Routes[i].TLS = dial
			}
			var err error
			if cfg.Assertions, err = assertion.New(assertion.Config{
				Origin: "https://" + doorHost, ClientCertificate: dial.Certificates[0].Certificate[0], Current: assertion.Key{Signer: key},
			}); err != nil {
				t.Fatal(err)
			}
		})
		if got := b.navigate(w.origin(headersHost) + "/"); got.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", got.StatusCode, got.body)
		}
		got, _ := w.backend.seen()
		sum := sha256.Sum256(got.TLS.PeerCertificates[0].Raw)
		want := base64.RawURLEncoding.EncodeToString(sum[:])
		if bound, _ := asserted(t, got.Header["X-Sallyport-Assertion"], key)["cnf"].(map[string]any); bound["x5t#S256"] != want || seen[want] {
			t.Errorf("bound to %v on a connection with %s", bound, want)
		}
		seen[want] = true
	}
}

func TestTheDoorShowsTheKeysOfAssertions(t *testing.T) {
	key, change := asserting(t)
	w := newWorld(t, change)
	b := w.browser()
	got := b.navigate(w.origin(doorHost) + keySetPath)
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal([]byte(got.body), &set); err != nil || got.StatusCode != http.StatusOK || len(set.Keys) != 1 {
		t.Fatalf("status %d, %v: %s", got.StatusCode, err, got.body)
	}
	if id, _ := assertion.KeyID(key.Public()); set.Keys[0]["kid"] != id || set.Keys[0]["d"] != nil {
		t.Errorf("key %v", set.Keys[0])
	}
	for name, want := range map[string]string{
		"Content-Type": "application/jwk-set+json", "Cache-Control": "public, max-age=300", "X-Content-Type-Options": "nosniff", "Vary": "", "Set-Cookie": "",
	} {
		if got.Header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
		}
	}
	if record := w.lastRecord(1); record["sallyport.decision"] != "allow" || record["event.reason"] != "public" {
		t.Errorf("record %v", record)
	}
	if got := b.do(b.request(http.MethodPost, w.origin(doorHost)+keySetPath, nil)); got.StatusCode != http.StatusNotFound {
		t.Errorf("a POST is answered with %d", got.StatusCode)
	}
	// A tool's own host has them not: there the path is the tool's.
	if got := b.navigate(w.origin(headersHost) + keySetPath); got.StatusCode != http.StatusSeeOther {
		t.Errorf("the tool's host answers %d without a sign-on", got.StatusCode)
	}
	if got := newWorld(t, nil).browser(); got.navigate(got.w.origin(doorHost)+keySetPath).StatusCode != http.StatusNotFound {
		t.Error("a door without keys shows some")
	}
}

func TestARouteThatAssertsNeedsAKey(t *testing.T) {
	w := newWorld(t, nil)
	cfg := w.cfg
	cfg.Routes[0].Assertion = true
	if _, err := proxy.New(cfg); err == nil || !strings.Contains(err.Error(), "nothing to sign them") {
		t.Errorf("error %v", err)
	}
}
