package main

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/big"
	rand2 "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/vaulttest"
)

// Names that the tests' Vault is provisioned for.
const (
	doorHost    = "door.example.com"
	notesHost   = "notes.example.com"
	clientName  = "gateway.sallyport.internal"
	sidecarName = "notes.backend.sallyport.internal"

	gatewayRole = "sallyport-gateway"
	sidecarRole = "sallyport-sidecar-notes"
	caseRole    = "case"  // may read every secret below cases/
	blindRole   = "blind" // may read no secret
	bareRole    = "bare"  // may read the secrets, and have no certificate
)

// patience is how long a test waits for a process to do what it must.
const patience = 30 * time.Second

// stand is a real Vault, set up by the commands of this package, and what is
// needed to start processes beside it. Its methods may be used concurrently
// unless they say otherwise.
type stand struct {
	vault     *vaulttest.Server
	http      *http.Client // trusts the Vault
	dir       string
	tokenFile string            // the operator's token
	metadata  string            // of an identity provider
	roleIDs   map[string]string // by role
	saml      map[string]string // the fields of the gateway's SAML secret
	session   map[string]string // the fields of its session secret
}

// newStand starts a Vault and provisions it.
func newStand(t *testing.T) *stand {
	t.Helper()
	vault, err := vaulttest.Start(t.Context(), vaulttest.Options{Dir: filepath.Join(t.TempDir(), "vault")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(vault.Stop)
	return newStandOn(t, vault)
}

// newStandOn provisions a Vault that runs.
func newStandOn(t *testing.T, vault *vaulttest.Server) *stand {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(read(t, vault.CAFile)))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(transport.CloseIdleConnections)
	s := &stand{vault: vault, http: &http.Client{Timeout: patience, Transport: transport}, dir: t.TempDir(), metadata: idpMetadata(t), roleIDs: map[string]string{}}
	s.tokenFile = s.write(t, "operator-token", vault.RootToken+"\n")
	s.provision(t)
	s.saml, s.session = s.readKV(t, "sallyport/saml"), s.readKV(t, "sallyport/session")
	s.addRoles(t)
	for _, role := range []string{gatewayRole, sidecarRole, caseRole, blindRole, bareRole} {
		var answer struct {
			Data struct {
				RoleID string `json:"role_id"`
			}
		}
		s.call(t, "GET", "auth/approle/role/"+role+"/role-id", nil, &answer)
		s.roleIDs[role] = answer.Data.RoleID
	}
	return s
}

// provision has the command set up Vault, and looks at what it says.
func (s *stand) provision(t *testing.T) {
	t.Helper()
	config := s.write(t, "provision.yaml", gatewayYAML("127.0.0.1:1", "127.0.0.1:2", ""))
	metadata := s.write(t, "idp.xml", s.metadata)
	provision := func(action string) string {
		p := s.start(t, "provision", action, "--config", config, "--idp-metadata", metadata, "--token-file", s.tokenFile, "--token-period", "1h")
		if code := p.wait(t); code != exitOK {
			t.Fatalf("provision %s: exit code %d\n%s", action, code, p.err.String())
		}
		if told := p.err.String(); told != "" {
			t.Errorf("provision %s: it misses something:\n%s", action, told)
		}
		return p.out.String()
	}
	planned := provision("plan")
	applied := provision("apply")
	if planned != applied || !strings.Contains(planned, "+ approle "+gatewayRole) {
		t.Errorf("planned:\n%s\napplied:\n%s", planned, applied)
	}
	if again := provision("apply"); again != "nothing to change\n" {
		t.Errorf("applied again: %s", again)
	}
}

// addRoles makes one role that may do all that a gateway does, with secrets
// below cases/, and one that may log in and nothing else.
func (s *stand) addRoles(t *testing.T) {
	t.Helper()
	rules := `path "secret/data/cases/*" { capabilities = ["read"] }
path "secret/data/sallyport/assertion" { capabilities = ["read"] }
path "pki-edge/*" { capabilities = ["read", "update"] }
path "pki-backend/*" { capabilities = ["read", "update"] }`
	s.call(t, "PUT", "sys/policies/acl/"+caseRole, map[string]string{"policy": rules}, nil)
	s.call(t, "PUT", "sys/policies/acl/"+blindRole, map[string]string{"policy": `path "auth/token/renew-self" { capabilities = ["update"] }`}, nil)
	s.call(t, "PUT", "sys/policies/acl/"+bareRole, map[string]string{"policy": `path "secret/data/cases/*" { capabilities = ["read"] }
path "secret/data/sallyport/assertion" { capabilities = ["read"] }
path "pki-edge/cert/ca_chain" { capabilities = ["read"] }`}, nil)
	for _, role := range []string{caseRole, blindRole, bareRole} {
		s.call(t, "POST", "auth/approle/role/"+role, map[string]any{
			"token_policies": []string{role}, "token_no_default_policy": true, "token_period": "1h", "secret_id_num_uses": 1,
		}, nil)
	}
}

// call makes one call with the root token.
func (s *stand) call(t *testing.T, method, path string, body, out any) {
	t.Helper()
	if err := s.vault.Call(t.Context(), method, path, body, out); err != nil {
		t.Fatal(err)
	}
}

func (s *stand) readKV(t *testing.T, path string) map[string]string {
	t.Helper()
	var answer struct {
		Data struct{ Data map[string]string }
	}
	s.call(t, "GET", "secret/data/"+path, nil, &answer)
	return answer.Data.Data
}

func (s *stand) writeKV(t *testing.T, path string, fields map[string]string) {
	t.Helper()
	s.call(t, "POST", "secret/data/"+path, map[string]any{"data": fields}, nil)
}

// introduction is a wrapping token and the file that it was delivered in, which
// the process that uses it empties.
type introduction struct{ file, token string }

// introduceByCommand has the command mint a token for role.
func (s *stand) introduceByCommand(t *testing.T, role string) introduction {
	t.Helper()
	file := filepath.Join(t.TempDir(), "wrapping-token")
	p := s.start(t, "introduce", "--role", role, "--file", file, "--token-file", s.tokenFile)
	if code := p.wait(t); code != exitOK {
		t.Fatalf("introduce: exit code %d\n%s", code, p.err.String())
	}
	return introduction{file, strings.TrimSpace(read(t, file))}
}

// introduce mints a token for role without a process of its own.
func (s *stand) introduce(t *testing.T, role string) introduction {
	t.Helper()
	return deliverToken(t, s.wrapped(t, "auth/approle/role/"+role+"/secret-id", ""))
}

// deliverToken writes a token to a file.
func deliverToken(t *testing.T, token string) introduction {
	t.Helper()
	return introduction{writeFile(t, t.TempDir(), "wrapping-token", token+"\n"), token}
}

// wrapped has Vault wrap the answer to a call, and returns the wrapping token.
func (s *stand) wrapped(t *testing.T, path, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.vault.Address+"/v1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"X-Vault-Token": {s.vault.RootToken}, "X-Vault-Wrap-Ttl": {"300s"}, "X-Vault-Request": {"true"}}
	res, err := s.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		WrapInfo struct{ Token string } `json:"wrap_info"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.WrapInfo.Token == "" {
		t.Fatalf("wrapping %s: status %d, error %v", path, res.StatusCode, err)
	}
	return answer.WrapInfo.Token
}

// usable says whether Vault still knows the wrapping token.
func (s *stand) usable(t *testing.T, token string) bool {
	t.Helper()
	return s.vault.Call(t.Context(), "PUT", "sys/wrapping/lookup", map[string]string{"token": token}, nil) == nil
}

// edgeRoots are what a browser of this company trusts.
func (s *stand) roots(t *testing.T, mount string) *x509.CertPool {
	t.Helper()
	var answer struct{ Data struct{ Certificate string } }
	s.call(t, "GET", mount+"/cert/ca", nil, &answer)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(answer.Data.Certificate)) {
		t.Fatalf("mount %s has no root", mount)
	}
	return pool
}

// write puts a file into the stand's own folder.
func (s *stand) write(t *testing.T, name, content string) string {
	t.Helper()
	return writeFile(t, s.dir, name, content)
}

func writeFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func fileMode(t *testing.T, file string) os.FileMode {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
}

func read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// gatewayYAML is a configuration with one route; more is appended at the top
// level.
func gatewayYAML(https, admin, more string) string {
	return fmt.Sprintf(`door: {host: %s}
listen: {https: "%s", admin: "%s"}
stop: {drain: 20s}
routes:
  - name: notes
    host: %s
    backend: {url: "https://127.0.0.1:1", name: %s}
    allow: {groups: [engineers]}
%s`, doorHost, https, admin, notesHost, sidecarName, more)
}

// lastPort is the one that free returned last: below those that the system gives
// to connections, so that none is taken between free and its use.
var lastPort = func() *atomic.Int32 {
	first := &atomic.Int32{}
	first.Store(20_000 + rand2.Int32N(8_000)) // beside other runs on this machine
	return first
}()

// free returns a loopback address that was free a moment ago, and that no other
// test gets.
func free(t *testing.T) string {
	t.Helper()
	for range 1000 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", lastPort.Add(1)))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}

// endAtOnce is for the environment of processes that the race detector is built into:
// without it each sleeps for a second when it has ended.
const endAtOnce = "GORACE=atexit_sleep_ms=0"

// process is a running sallyport.
type process struct {
	cmd  *exec.Cmd
	out  *written // the access log: of a load test more than there is memory
	err  *buffer
	done chan struct{} // closed when it has ended
}

// start runs the command with the stand's Vault in its environment, and nothing
// else of this test's but PATH. It is killed with the test at the latest.
func (s *stand) start(t *testing.T, args ...string) *process {
	t.Helper()
	return s.startWith(t, func(*process) {}, args...)
}

// startWith is start of a process that is changed first.
func (s *stand) startWith(t *testing.T, change func(*process), args ...string) *process {
	t.Helper()
	binary, err := exec.LookPath("sallyport")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(binary, args...), out: newWritten(t), err: &buffer{}, done: make(chan struct{})}
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "VAULT_ADDR=" + s.vault.Address, "VAULT_CACERT=" + s.vault.CAFile, endAtOnce}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	change(p)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // the exit code is in ProcessState
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if strings.Contains(p.err.String(), "DATA RACE") {
			t.Errorf("%s has a data race:\n%s", p.cmd, p.err.String())
		}
	})
	return p
}

// wait returns the exit code, -1 for a process that a signal ended.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("%s does not end\n%s", p.cmd, p.err.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

// signal sends a signal to a process that should still run.
func (p *process) signal(t *testing.T, signal os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatalf("signalling: %v\n%s", err, p.err.String())
	}
}

// eventually polls until ok, or fails the test with what it last saw. A
// process that ended is not waited for.
func (p *process) eventually(t *testing.T, what string, ok func() (saw string, ok bool)) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		saw, fine := ok()
		if fine {
			return
		}
		select {
		case <-tick.C:
		case <-p.done:
			t.Fatalf("waiting until %s: the process ended, last seen %q\n%s", what, saw, p.err.String())
		case <-deadline:
			t.Fatalf("waiting until %s: last seen %q\n%s", what, saw, p.err.String())
		}
	}
}

// logLine is one line of a process's log.
type logLine struct {
	Level, Msg string
	fields     map[string]any
}

// log returns the lines that are JSON; the explanation at the end is not.
func (p *process) log() []logLine { return p.err.log() }

// buffer is a bytes.Buffer for a process to write and a test to read.
type buffer struct {
	mu sync.Mutex // guards the rest
	b  bytes.Buffer

	// What is looked at again and again is read once: of so many bytes are the lines.
	looked int
	lines  []logLine
}

func (b *buffer) log() []logLine {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		text := b.b.Bytes()[b.looked:]
		end := bytes.IndexByte(text, '\n')
		if end < 0 {
			return slices.Clip(b.lines)
		}
		b.looked += end + 1
		var line logLine
		if json.Unmarshal(text[:end], &line) == nil && json.Unmarshal(text[:end], &line.fields) == nil {
			b.lines = append(b.lines, line)
		}
	}
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// written is a buffer on disk.
type written struct {
	mu   sync.Mutex // guards file
	file *os.File
}

func newWritten(t *testing.T) *written {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return &written{file: file}
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.file.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text, err := os.ReadFile(w.file.Name())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// pieces yields what was written, whole lines of some megabytes at a time.
func (w *written) pieces(t *testing.T) iter.Seq[string] {
	t.Helper()
	return func(yield func(string) bool) {
		file, err := os.Open(w.file.Name())
		if err != nil {
			t.Error(err)
			return
		}
		defer file.Close()
		for r := bufio.NewReader(file); err == nil; {
			piece := make([]byte, 4<<20)
			n, readErr := io.ReadFull(r, piece)
			rest, lineErr := r.ReadBytes('\n')
			if err = cmp.Or(readErr, lineErr); errors.Is(err, io.ErrUnexpectedEOF) {
				err = io.EOF
			}
			if !yield(string(piece[:n]) + string(rest)) {
				return
			}
		}
		if !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	}
}

// Shapes of secrets: Vault's tokens, SecretIDs (UUIDs), PEM.
var secretShapes = regexp.MustCompile(`hv[sbr]\.[A-Za-z0-9]|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|-----BEGIN`)

// leak finds one of secrets, or what has the shape of one, in a text. Of what
// it finds it returns the beginning.
func leak(text string, secrets []string, public ...string) (string, bool) {
	for _, secret := range secrets {
		for line := range strings.Lines(secret) { // PEM may be quoted or cut
			line = strings.TrimSpace(line)
			if line != "" && !strings.HasPrefix(line, "-----") && strings.Contains(text, line) {
				return fmt.Sprintf("%.8s…", line), true
			}
		}
	}
	for _, harmless := range public {
		text = strings.ReplaceAll(text, harmless, "")
	}
	shape := secretShapes.FindString(text)
	return fmt.Sprintf("%.12s…", shape), shape != ""
}

// checkNoSecret looks for everything in a process's output that must not leave
// it: the stand's own secrets, more that the caller knows, and the shapes of
// those that nobody but the process and Vault has seen.
func (s *stand) checkNoSecret(t *testing.T, p *process, more ...string) {
	t.Helper()
	secrets := append([]string{s.vault.RootToken, s.session[fieldCurrentKey], s.saml[fieldSPKey], s.saml[fieldSPCert]}, more...)
	check := func(text string) {
		if what, found := leak(text, secrets, slices.Collect(maps.Values(s.roleIDs))...); found {
			t.Errorf("the output holds a secret, %s:\n%s", what, text)
		}
	}
	check(p.err.String())
	for text := range p.out.pieces(t) {
		check(text)
	}
}

// TestLeaksAreFound shows the canary check what it must find, and what not.
func TestLeaksAreFound(t *testing.T) {
	key := "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"
	roleID := "0b3f2a1c-9d8e-4f70-a1b2-c3d4e5f60718"
	for text, want := range map[string]bool{
		`{"msg":"logged in","token":"hvs.CAESIJ"}`:                            true,
		`{"msg":"unwrapped","id":"6f1a2b3c-1d2e-4f70-a1b2-c3d4e5f60718"}`:     true,
		`bad key: hkiG9w0BAQEFAASC`:                                           true,
		`bad key: "-----BEGIN EC PRIVATE KEY"`:                                true,
		`decoding "canary-1"`:                                                 true,
		`{"msg":"logged in","accessor_hash":"0979995b7768","role":"gateway"}`: false,
		"role id " + roleID + ", serial 3a:0b:1c":                             false,
	} {
		if what, found := leak(text, []string{key, "canary-1", ""}, roleID); found != want {
			t.Errorf("%q: found a leak: %t (%s), expected %t", text, found, what, want)
		}
	}
}

// get asks an admin listener.
func get(address, path string) (status int, body string, err error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + address + path)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	return res.StatusCode, string(content), err
}

// ready waits for /readyz.
func (p *process) ready(t *testing.T, admin string) {
	t.Helper()
	p.eventually(t, "/readyz says ready", func() (string, bool) {
		_, body, err := get(admin, "/readyz")
		return body + fmt.Sprint(err), strings.HasPrefix(body, "ready\n")
	})
}

// idpMetadata is the metadata document of an identity provider.
func idpMetadata(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	certificate := selfSigned(t, key)
	return fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?>
<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ds="http://www.w3.org/2000/09/xmldsig#" entityID="https://idp.example.com/metadata">
  <md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
    <md:KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>%s</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>
    <md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.example.com/sso"/>
  </md:IDPSSODescriptor>
</md:EntityDescriptor>
`, base64.StdEncoding.EncodeToString(certificate))
}

// selfSigned returns the DER of a certificate that key signs for itself.
func selfSigned(t *testing.T, key *rsa.PrivateKey) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// otherCertificate is the PEM of a certificate for a key that nobody has.
func otherCertificate(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: selfSigned(t, key)}))
}

// with returns a copy of fields with one replaced, or removed if value is empty.
func with(fields map[string]string, name, value string) map[string]string {
	changed := maps.Clone(fields)
	changed[name] = value
	if value == "" {
		delete(changed, name)
	}
	return changed
}

// checkClosed fails if anybody still listens.
func checkClosed(t *testing.T, addresses ...string) {
	t.Helper()
	for _, address := range addresses {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			t.Errorf("somebody still listens on %s", address)
			_ = conn.Close()
		}
		var op *net.OpError
		if err != nil && !errors.As(err, &op) {
			t.Errorf("dialling %s: %v", address, err)
		}
	}
}
