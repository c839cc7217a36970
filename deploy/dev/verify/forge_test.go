package verify

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/assertion"
)

// token is a JWT that is yet to be signed.
type token struct {
	header, claims map[string]any
	key            *ecdsa.PrivateKey
	by             func(text string) []byte // signs in place of key
	after          func(token string) string
}

// forge makes a token that is as the door's but for what change does.
func (d *door) forge(t *testing.T, change func(*token)) string {
	t.Helper()
	id, err := assertion.KeyID(d.current.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	f := &token{
		header: map[string]any{"alg": "ES256", "kid": id, "typ": "JWT", "x5c": chain(d.current.cert, d.authority.intermediate.cert)},
		claims: map[string]any{
			"iss": issuer, "aud": audience, "sub": person, "groups": []string{}, "sid": "s", "jti": "j", "iat": now, "nbf": now, "exp": now + 300, "auth_time": now,
			"cnf": map[string]string{"x5t#S256": thumbprint(clientCertificate)},
		},
		key: d.current.key, after: func(token string) string { return token },
	}
	change(f)
	text := encode(t, f.header) + "." + encode(t, f.claims)
	signature := f.by
	if signature == nil {
		signature = func(text string) []byte { return raw(t, f.key, text) }
	}
	return f.after(text + "." + base64.RawURLEncoding.EncodeToString(signature(text)))
}

func encode(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// raw is a signature as JWS has it, and der as X.509 does.
func raw(t *testing.T, key *ecdsa.PrivateKey, text string) []byte {
	t.Helper()
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

func der(t *testing.T, key *ecdsa.PrivateKey, text string) []byte {
	t.Helper()
	digest := sha256.Sum256([]byte(text))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

func chain(certificates ...*x509.Certificate) []string {
	var out []string
	for _, c := range certificates {
		out = append(out, base64.StdEncoding.EncodeToString(c.Raw))
	}
	return out
}

func thumbprint(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// macWith signs with a public key as if it were a shared secret.
func macWith(secret []byte) func(string) []byte {
	return func(text string) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(text))
		return mac.Sum(nil)
	}
}

// publicPEM is the door's public key as an attacker has it.
func (d *door) publicPEM(t *testing.T) []byte {
	t.Helper()
	info, err := x509.MarshalPKIXPublicKey(d.current.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: info})
}

// certified has somebody else sign with his own certificate.
func certified(by pair, more ...*x509.Certificate) func(*token) {
	return func(f *token) {
		f.key, f.header["x5c"] = by.key, chain(append([]*x509.Certificate{by.cert}, more...)...)
	}
}

// forgeries are tokens that must be refused, whichever way they are verified.
func (d *door) forgeries(t *testing.T) map[string]string {
	t.Helper()
	stranger, between := newAuthority(t), d.authority.intermediate
	own := leaf(t, stranger.intermediate, nil)
	named := func(name string, change func(*x509.Certificate)) pair {
		return leaf(t, between, func(c *x509.Certificate) {
			c.DNSNames = []string{name}
			if change != nil {
				change(c)
			}
		})
	}
	server := func(c *x509.Certificate) {
		c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	sidecar := named("notes.backend.sallyport.internal", server)
	out := map[string]string{}
	for what, change := range map[string]func(*token){
		"another audience":  func(f *token) { f.claims["aud"] = "sallyport:route:other" },
		"several audiences": func(f *token) { f.claims["aud"] = []string{"sallyport:route:other", audience} },
		"no audience":       func(f *token) { delete(f.claims, "aud") },
		"another issuer":    func(f *token) { f.claims["iss"] = issuer + ".evil.example" },
		"nobody":            func(f *token) { f.claims["sub"] = "" },
		"expired": func(f *token) {
			now := time.Now().Unix()
			f.claims["iat"], f.claims["nbf"], f.claims["exp"] = now-600, now-600, now-300
		},
		"of the future": func(f *token) {
			now := time.Now().Unix()
			f.claims["iat"], f.claims["nbf"], f.claims["exp"] = now+600, now+600, now+900
		},
		"without an end":                     func(f *token) { delete(f.claims, "exp") },
		"another key":                        func(f *token) { f.key = own.key },
		"another authority's key":            certified(own, stranger.intermediate.cert),
		"another authority's, root included": certified(own, stranger.intermediate.cert, stranger.root.cert),
		"a key in the header":                func(f *token) { f.key, f.header["jwk"] = own.key, json.RawMessage(jwkOf(t, own.key)) },
		"no algorithm":                       func(f *token) { f.header["alg"], f.by = "none", func(string) []byte { return nil } },
		"no algorithm, signed":               func(f *token) { f.header["alg"] = "none" },
		"HS256 by the public key":            func(f *token) { f.header["alg"], f.by = "HS256", macWith(d.publicPEM(t)) },
		"HS256 by the certificate":           func(f *token) { f.header["alg"], f.by = "HS256", macWith(d.current.cert.Raw) },
		"HS256 called ES256":                 func(f *token) { f.by = macWith(d.publicPEM(t)) },
		"ES512 by name":                      func(f *token) { f.header["alg"] = "ES512" },
		"a signature of zeros":               func(f *token) { f.by = func(string) []byte { return make([]byte, 64) } },
		"no signature":                       func(f *token) { f.by = func(string) []byte { return nil } },
		"a signature as DER":                 func(f *token) { f.by = func(text string) []byte { return der(t, d.current.key, text) } },
		"a header that is critical":          func(f *token) { f.header["crit"], f.header["exp"] = []string{"exp"}, 1 },
		"claims that were changed": func(f *token) {
			f.after = func(token string) string {
				parts := strings.Split(token, ".")
				f.claims["sub"] = "eve@example.com"
				return parts[0] + "." + encode(t, f.claims) + "." + parts[2]
			}
		},
		"certificates that were changed": func(f *token) {
			f.after = func(token string) string {
				f.header["x5c"] = chain(own.cert, stranger.intermediate.cert)
				return encode(t, f.header) + token[strings.IndexByte(token, '.'):]
			}
		},
		"a fourth part":               func(f *token) { f.after = func(token string) string { return token + ".e30" } },
		"no token":                    func(f *token) { f.after = func(string) string { return "" } },
		"a token of a megabyte":       func(f *token) { f.claims["pad"] = strings.Repeat("a", 1<<20) },
		"a sidecar that has its own":  certified(sidecar, between.cert),
		"a sidecar's as an authority": certified(leaf(t, sidecar, nil), sidecar.cert, between.cert),
	} {
		out[what] = d.forge(t, change)
	}
	return out
}

// misissued are certificates that the authority did sign, for something else: their
// keys are not at the door.
func (d *door) misissued(t *testing.T) map[string]string {
	t.Helper()
	between := d.authority.intermediate
	out := map[string]string{}
	for what, change := range map[string]func(*x509.Certificate){
		"a server's use": func(c *x509.Certificate) {
			c.UnknownExtKeyUsage, c.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		},
		"a server's use besides": func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
		"no use":                 func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil },
		"another name":           func(c *x509.Certificate) { c.DNSNames = []string{"other.sallyport.internal"} },
		"no name":                func(c *x509.Certificate) { c.DNSNames = nil },
		"an end that is past":    func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) },
		"a beginning to come":    func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) },
	} {
		out["a certificate with "+what] = d.forge(t, certified(leaf(t, between, change), between.cert))
	}
	out["no certificates"] = d.forge(t, func(f *token) { delete(f.header, "x5c") })
	out["a certificate that leads nowhere"] = d.forge(t, func(f *token) { f.header["x5c"] = chain(d.current.cert) })
	out["certificates in another order"] = d.forge(t, func(f *token) { f.header["x5c"] = chain(between.cert, d.current.cert) })
	out["no certificate at all"] = d.forge(t, func(f *token) { f.header["x5c"] = []string{"AAAA"} })
	out["a list that is none"] = d.forge(t, func(f *token) { f.header["x5c"] = "AAAA" })
	return out
}

func jwkOf(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return `{"kty":"EC","crv":"P-256","x":"` + encode(point[1:33]) + `","y":"` + encode(point[33:]) + `"}`
}
