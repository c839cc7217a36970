package vaultpki_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/vaultpki"
)

// serverOfTests is where the tests' Vault is.
func serverOfTests() vaultpki.Server {
	return vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile}
}

// ownTokenPolicy lets a token be renewed and looked up.
func ownTokenPolicy(t *testing.T) {
	t.Helper()
	prepare(t, "PUT", "sys/policies/acl/own-token", map[string]string{
		"policy": ownToken + `path "secret/data/sallyport/saml" { capabilities = ["read"] }`,
	}, nil)
}

// issuer signs JWTs.
type issuer struct{ key *ecdsa.PrivateKey }

func newSigner(t *testing.T) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{key}
}

// newIssuer is one that Vault trusts.
func newIssuer(t *testing.T, mount string) *issuer {
	t.Helper()
	i := newSigner(t)
	der, err := x509.MarshalPKIXPublicKey(i.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	ownTokenPolicy(t)
	prepare(t, "POST", "sys/auth/"+mount, map[string]string{"type": "jwt"}, nil)
	t.Cleanup(func() { _ = vault.Call(context.Background(), "DELETE", "sys/auth/"+mount, nil, nil) })
	prepare(t, "POST", "auth/"+mount+"/config", map[string]any{
		"jwt_validation_pubkeys": []string{string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))},
		"default_role":           "app",
	}, nil)
	prepare(t, "POST", "auth/"+mount+"/role/app", map[string]any{
		"role_type": "jwt", "bound_audiences": []string{"vault"}, "user_claim": "sub", "token_policies": []string{"own-token"},
		"token_ttl": "4s", "token_max_ttl": "6s", "token_no_default_policy": true,
	}, nil)
	return i
}

// sign returns a token that is good for a minute.
func (i *issuer) sign(t *testing.T, subject string) string {
	t.Helper()
	return i.signClaims(t, map[string]any{
		"sub": subject, "aud": "vault", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	})
}

func (i *issuer) signClaims(t *testing.T, claims map[string]any) string {
	t.Helper()
	part := func(value any) string {
		raw, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	text := part(map[string]string{"alg": "ES256", "typ": "JWT"}) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// putFile puts content into a file as whoever renews it does: as a whole.
func putFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".next", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".next", path); err != nil {
		t.Fatal(err)
	}
}

// TestJWTLogsInAgainWithWhatTheFileHolds has the JWT method stand in for another at
// a mount of another name; Vault's own Kubernetes method is in kubernetes_test.go.
func TestJWTLogsInAgainWithWhatTheFileHolds(t *testing.T) {
	t.Parallel()
	for name, method := range map[string]vaultpki.JWT{
		"jwt":                    {},
		"jwt with a role":        {Role: "app", Mount: "jwt-with-a-role"},
		"kubernetes, moved away": {Kubernetes: true, Role: "app", Mount: "elsewhere/cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mount := method.Mount
			if mount == "" {
				mount = method.Name()
			}
			signer := newIssuer(t, mount)
			method.File = filepath.Join(t.TempDir(), "token")
			putFile(t, method.File, signer.sign(t, "first"))
			var log journal
			client, err := vaultpki.Login(t.Context(), vaultpki.Config{Server: serverOfTests(), Method: method, Log: log.logger()})
			if err != nil {
				t.Fatal(err)
			}
			if s := client.Status(); s.Method != method.Name() || !s.ComesBack || s.TTL != 4*time.Second {
				t.Errorf("status %+v", s)
			}
			inBackground(t, client.Run)
			putFile(t, method.File, signer.sign(t, "second"))
			eventually(t, "it has logged in again", func() bool { return len(log.entries(t, "logged in")) == 2 })
			if _, err := client.ReadKV(t.Context(), "secret", "sallyport/saml"); err != nil {
				t.Error(err)
			}
			if strings.Contains(log.String(), "eyJ") || strings.Contains(log.String(), "hvs.") {
				t.Errorf("the log shows a token:\n%s", log.String())
			}
		})
	}
}

func TestJWTIsRefused(t *testing.T) {
	signer := newIssuer(t, "jwt")
	stranger := newIssuer(t, "jwt-of-others")
	for name, test := range map[string]struct {
		content string
		want    refusal
	}{
		"nothing":              {"", refusal{vaultpki.ReasonNoToken, "expected a signed JSON web token", ""}},
		"no token":             {"hvs.not-a-jwt", refusal{vaultpki.ReasonNoToken, "expected a signed JSON web token", ""}},
		"too much":             {strings.Repeat("a.b", 20000), refusal{vaultpki.ReasonNoToken, "at most", ""}},
		"signed by a stranger": {stranger.sign(t, "x"), refusal{vaultpki.ReasonLoginRefused, "auth/jwt/login", ""}},
		"signature cut":        {signer.sign(t, "x")[:200] + "x", refusal{vaultpki.ReasonLoginRefused, "auth/jwt/login", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			var log journal
			file := filepath.Join(t.TempDir(), "token")
			putFile(t, file, test.content)
			_, err := vaultpki.Login(t.Context(), vaultpki.Config{Server: serverOfTests(), Method: vaultpki.JWT{File: file}, Log: log.logger()})
			test.want.check(t, err, &log)
			if err != nil && len(test.content) > 20 && strings.Contains(err.Error(), test.content[:20]) {
				t.Errorf("the error shows the token: %v", err)
			}
		})
	}
}

// machine is a client certificate and its files.
type machine struct {
	certFile, keyFile string
	ca                *x509.Certificate
	key               *ecdsa.PrivateKey
	serial            int64
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{certFile: filepath.Join(t.TempDir(), "c.pem")}
	m.keyFile = m.certFile + ".key"
	m.changeAuthority(t)
	m.renew(t)
	return m
}

// changeAuthority makes another authority for the certificates to come.
func (p *machine) changeAuthority(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "machines"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if p.ca, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	p.key = key
	prepare(t, "POST", "auth/cert/certs/machines", map[string]any{
		"certificate":          string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.ca.Raw})),
		"allowed_common_names": []string{"gateway"}, "token_policies": []string{"own-token"}, "token_period": "4s", "token_no_default_policy": true,
	}, nil)
}

// renew writes another certificate with another key.
func (p *machine) renew(t *testing.T) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p.serial++
	template := &x509.Certificate{
		SerialNumber: big.NewInt(100 + p.serial), Subject: pkix.Name{CommonName: "gateway"}, SubjectKeyId: []byte{1, byte(p.serial)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, p.ca, key.Public(), p.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	putFile(t, p.certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	putFile(t, p.keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})))
}

// TestClientCertificateLogsInAndRotates: Vault renews a token for a certificate
// of the same authority. One of another authority, which Vault accepts as well,
// leads to a new login by itself.
func TestClientCertificateLogsInAndRotates(t *testing.T) {
	t.Parallel()
	ownTokenPolicy(t)
	prepare(t, "POST", "sys/auth/cert", map[string]string{"type": "cert"}, nil)
	t.Cleanup(func() { _ = vault.Call(context.Background(), "DELETE", "sys/auth/cert", nil, nil) })
	m := newMachine(t)
	server := serverOfTests()
	server.CertFile, server.KeyFile = m.certFile, m.keyFile
	var log journal
	client, err := vaultpki.Login(t.Context(), vaultpki.Config{Server: server, Method: vaultpki.Cert{Role: "machines"}, Log: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	inBackground(t, client.Run)
	eventually(t, "the token was renewed", func() bool { return len(log.entries(t, "vault token renewed")) > 0 })
	m.renew(t)
	client.Close() // idle connections, which show the old certificate
	renewals := len(log.entries(t, "vault token renewed"))
	eventually(t, "the token was renewed with the new certificate", func() bool { return len(log.entries(t, "vault token renewed")) > renewals })
	if n := len(log.entries(t, "logged in")); n != 1 {
		t.Errorf("%d logins, expected the token to outlive the certificate", n)
	}
	m.changeAuthority(t)
	m.renew(t)
	client.Close()
	eventually(t, "it has logged in again", func() bool { return len(log.entries(t, "logged in")) == 2 })
	if s := client.Status(); s.Lost || len(log.entries(t, "vault token is lost")) > 0 {
		t.Errorf("there was a time without a token: %+v", s)
	}
}

// sinkToken makes a token as an agent has it.
func sinkToken(t *testing.T, settings map[string]any) string {
	t.Helper()
	ownTokenPolicy(t)
	var answer struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		} `json:"auth"`
	}
	prepare(t, "POST", "auth/token/create-orphan", settings, &answer)
	return answer.Auth.ClientToken
}

func TestTokenFileIsReadWhenItChangesAndNotRenewed(t *testing.T) {
	t.Parallel()
	front := newStandIn(t)
	file := filepath.Join(t.TempDir(), "sink")
	settings := map[string]any{"policies": []string{"own-token"}, "no_default_policy": true, "ttl": "1h"}
	putFile(t, file, sinkToken(t, settings)+"\n")
	var log journal
	client, err := vaultpki.Login(t.Context(), vaultpki.Config{
		Server: vaultpki.Server{Address: front.URL, CAFile: front.CAFile}, Method: vaultpki.TokenFile{File: file}, Log: log.logger(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if client.Status().Renewable {
		t.Error("a token that an agent renews is renewed here too")
	}
	inBackground(t, client.Run)
	settings["ttl"] = "10s"
	putFile(t, file, sinkToken(t, settings))
	eventually(t, "the new token is in use", func() bool { return len(log.entries(t, "logged in")) == 2 })
	eventually(t, "its life was looked up again before its end", func() bool { return len(log.entries(t, "vault token looked up again")) > 0 })
	eventually(t, "it has ended, as no agent renewed it", func() bool { return client.Status().Lost })
	putFile(t, file, sinkToken(t, settings))
	eventually(t, "the third token is in use", func() bool { return len(log.entries(t, "logged in")) == 3 && !client.Status().Lost })
	if n := front.called("auth/token/renew-self"); n != 0 {
		t.Errorf("%d renewals", n)
	}
}

func TestTokenFileIsRenewedIfNobodyElseDoes(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sink")
	putFile(t, file, sinkToken(t, map[string]any{"policies": []string{"own-token"}, "no_default_policy": true, "period": "3s"}))
	var log journal
	client, err := vaultpki.Login(t.Context(), vaultpki.Config{Server: serverOfTests(), Method: vaultpki.TokenFile{File: file, Renew: true}, Log: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	inBackground(t, client.Run)
	eventually(t, "it was renewed twice", func() bool { return len(log.entries(t, "vault token renewed")) >= 2 })
	if len(log.entries(t, "logged in")) != 1 {
		t.Errorf("it was read again:\n%s", log.String())
	}
}

// TestTokenThatIsNotFit: what Vault grants is judged, by every method.
func TestTokenThatIsNotFit(t *testing.T) {
	login := func(t *testing.T, token string, root bool) (*journal, *vaultpki.Client, error) {
		file := filepath.Join(t.TempDir(), "sink")
		putFile(t, file, token)
		log := new(journal)
		client, err := vaultpki.Login(t.Context(), vaultpki.Config{
			Server: serverOfTests(), Method: vaultpki.TokenFile{File: file}, Log: log.logger(), UnsafeRootToken: root,
		})
		return log, client, err
	}
	for name, test := range map[string]struct {
		token string
		want  refusal
	}{
		"root":       {vault.RootToken, refusal{vaultpki.ReasonLoginRefused, `the policy "root"`, ""}},
		"of one use": {sinkToken(t, map[string]any{"policies": []string{"own-token"}, "ttl": "1h", "num_uses": 5}), refusal{vaultpki.ReasonLoginRefused, "more uses", ""}},
		"unknown":    {"hvs.000000000000000000000000", refusal{vaultpki.ReasonLoginRefused, "permission denied", ""}},
		"none":       {"", refusal{vaultpki.ReasonNoToken, "empty", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			log, _, err := login(t, test.token, false)
			test.want.check(t, err, log)
		})
	}
	t.Run("root, asked for", func(t *testing.T) {
		log, client, err := login(t, vault.RootToken, true)
		if err != nil || !client.TokenExpiry().IsZero() || len(log.entries(t, "vault token may do everything: whoever breaks into this process has all of vault")) != 1 {
			t.Errorf("%v, log:\n%s", err, log.String())
		}
	})
}

func TestPlainSecretIDIsUsedOnce(t *testing.T) {
	r := newHeirRole(t, "plain-secret-id", map[string]any{"token_period": "1h", "secret_id_num_uses": 1})
	secretID := func() string {
		var answer struct {
			Data struct {
				SecretID string `json:"secret_id"`
			} `json:"data"`
		}
		prepare(t, "PUT", "auth/approle/role/"+r.name+"/secret-id", map[string]any{}, &answer)
		return answer.Data.SecretID
	}
	file := filepath.Join(t.TempDir(), "secret-id")
	putFile(t, file, secretID())
	method := vaultpki.AppRole{RoleID: roleID(r.name), SecretIDFile: file}
	r.cfg.Method = method
	r.login(t)
	if raw, err := os.ReadFile(file); err != nil || len(raw) != 0 {
		t.Errorf("the file after use: %q, %v", raw, err)
	}
	_, err := vaultpki.Login(t.Context(), r.cfg)
	refusal{vaultpki.ReasonNoToken, "empty", ""}.check(t, err, r.log)

	method.SecretIDFile, method.UnsafeSecretID = "", secretID()
	r.cfg.Method = method
	r.login(t)
	if len(r.log.entries(t, "introduction comes from the environment: whoever may look at this process reads it")) != 1 {
		t.Errorf("no warning:\n%s", r.log.String())
	}
	_, err = vaultpki.Login(t.Context(), r.cfg)
	refusal{vaultpki.ReasonLoginRefused, approleLogin, ""}.check(t, err, r.log)
	if strings.Contains(r.log.String(), method.UnsafeSecretID) {
		t.Error("the log shows the SecretID")
	}
}

func TestWrappingTokenFromTheEnvironmentIsWarnedOf(t *testing.T) {
	var log journal
	cfg := configFor(gatewayRole, "")
	cfg.Log = log.logger()
	cfg.Method = changed(cfg, func(m *vaultpki.AppRole) { m.UnsafeWrappingToken = mint(t, gatewayRole, time.Minute) })
	if _, err := vaultpki.Login(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if len(log.entries(t, "introduction comes from the environment: whoever may look at this process reads it")) != 1 {
		t.Errorf("no warning:\n%s", log.String())
	}
}

func TestMethodsAreJudged(t *testing.T) {
	for name, test := range map[string]struct {
		method vaultpki.Method
		text   string
	}{
		"none":                      {nil, "method: none given"},
		"approle without anything":  {vaultpki.AppRole{}, "role id: none given"},
		"approle of two minds":      {vaultpki.AppRole{Role: "r", RoleID: "i", WrappingTokenFile: "a", SecretIDFile: "b"}, "found 2"},
		"approle with a bad role":   {vaultpki.AppRole{Role: "a/b", RoleID: "i", WrappingTokenFile: "a"}, `role "a/b"`},
		"an heir without a role":    {vaultpki.AppRole{RoleID: "i", SecretIDFile: "a", Heir: vaultpki.Heir{File: "/x"}}, `role ""`},
		"an heir of no life":        {vaultpki.AppRole{Role: "r", RoleID: "i", SecretIDFile: "a", Heir: vaultpki.Heir{TTL: 1}}, "life of an heir 1ns"},
		"an heir on disk, nowhere":  {vaultpki.AppRole{Role: "r", RoleID: "i", SecretIDFile: "a", Heir: vaultpki.Heir{UnsafeOnDisk: true}}, "expected an heir file"},
		"kubernetes without a role": {vaultpki.JWT{Kubernetes: true}, "kubernetes role"},
		"jwt without a file":        {vaultpki.JWT{}, "jwt file: none given"},
		"jwt on a bad mount":        {vaultpki.JWT{File: "a", Mount: "../sys"}, "auth mount"},
		"cert without one":          {vaultpki.Cert{}, "expected a certificate file and a key file"},
		"a token file without one":  {vaultpki.TokenFile{}, "token file: none given"},
	} {
		_, err := vaultpki.Login(t.Context(), vaultpki.Config{Server: serverOfTests(), Method: test.method})
		if vaultpki.ReasonOf(err) != vaultpki.ReasonConfig || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v; expected %q", name, err, test.text)
		}
	}
}

func TestHeirFileMustBeInMemory(t *testing.T) {
	for name, test := range map[string]struct {
		heir vaultpki.Heir
		text string
	}{
		"another file system": {vaultpki.Heir{File: "/proc/self/heir"}, "not in memory"},
		"no folder":           {vaultpki.Heir{File: "/dev/shm/nosuch/heir"}, "looking at its folder"},
		"a folder of all":     {vaultpki.Heir{File: openDir(t) + "/heir"}, "only its owner may write"},
	} {
		cfg := configFor(gatewayRole, tokenFile(t, "hvs.0000000000000000000000"))
		cfg.Method = changed(cfg, func(m *vaultpki.AppRole) { m.Heir = test.heir })
		_, err := vaultpki.Login(t.Context(), cfg)
		if vaultpki.ReasonOf(err) != vaultpki.ReasonConfig || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v; expected %q", name, err, test.text)
		}
	}
	r := newHeirRole(t, "heir-anywhere", map[string]any{"token_period": "1h"})
	r.cfg.Method = changed(r.cfg, func(m *vaultpki.AppRole) {
		m.Heir = vaultpki.Heir{File: filepath.Join(t.TempDir(), "heir"), UnsafeOnDisk: true}
	})
	r.login(t)
	if len(r.log.entries(t, "heir may be kept on disk: whoever gets hold of it can log in as this process")) != 1 {
		t.Errorf("no warning:\n%s", r.log.String())
	}
}

// openDir is a folder that everybody may write to.
func openDir(t *testing.T) string {
	t.Helper()
	dir := memoryDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}
