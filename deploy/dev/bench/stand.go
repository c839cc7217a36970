package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/deploy/dev/idp"
	"github.com/sallyport/sallyport/deploy/dev/process"
	"github.com/sallyport/sallyport/internal/vaulttest"
)

// The names of the bench. The tool's host is one that every load generator can
// resolve.
const (
	doorHost    = "door.localhost"
	toolHost    = "localhost"
	backendName = "bench.backend.sallyport.internal"
	gatewayRole = "sallyport-gateway"
	sidecarRole = "sallyport-sidecar-bench"
)

// stand is what every proxy is measured with: a Vault that issues all certificates,
// and the identity provider that signs people in.
type stand struct {
	dir   string // of everything that is written
	bin   string // folder with the programs
	vault *vaulttest.Server
	idp   *httptest.Server
	cas   *x509.CertPool // of everybody's front and of the identity provider

	children []*process.Child // in the order of their start
	profile  string           // folder where the product writes its profiles; "" for nowhere
}

// newStand starts both, and gives Vault what the gateway needs.
func newStand(ctx context.Context, dir, bin string) (*stand, error) {
	vault, err := vaulttest.Start(ctx, vaulttest.Options{Dir: filepath.Join(dir, "vault")})
	if err != nil {
		return nil, fmt.Errorf("starting Vault: %w", err)
	}
	s := &stand{dir: dir, bin: bin, vault: vault}
	if err := s.prepare(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stand) prepare(ctx context.Context) error {
	if err := s.startIdP(); err != nil {
		return err
	}
	if err := s.write("token", s.vault.RootToken+"\n"); err != nil {
		return err
	}
	for name, text := range map[string]string{"gateway.yaml": gatewayYAML(s.dir), "sidecar.yaml": sidecarYAML()} {
		if err := s.write(name, text); err != nil {
			return err
		}
	}
	if err := s.sallyport(ctx, "provision", "apply", "--config", s.in("gateway.yaml"),
		"--idp-metadata", s.in("idp.xml"), "--token-file", s.in("token")); err != nil {
		return err
	}
	if err := s.shorterKey(ctx); err != nil {
		return err
	}
	if err := s.trustEdge(ctx); err != nil {
		return err
	}
	return s.issueAll(ctx)
}

// close stops everything.
func (s *stand) close() {
	for _, child := range slices.Backward(s.children) {
		_ = child.Stop(stopWithin) // was measured, and is of no more use
	}
	if s.idp != nil {
		s.idp.Close()
	}
	s.vault.Stop()
}

func (s *stand) in(elements ...string) string {
	return filepath.Join(append([]string{s.dir}, elements...)...)
}

func (s *stand) write(name, content string) error {
	if err := os.WriteFile(s.in(name), []byte(content), 0o600); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

// gatewayYAML is the gateway's configuration: all of what it does is on.
func gatewayYAML(dir string) string {
	return fmt.Sprintf(`door:
  host: %s
  public_port: %d
listen:
  https: 127.0.0.1:%d
  admin: 127.0.0.1:%d
access_log:
  file: %q
limits: # all of the load comes from one address
  connections_per_address: 20000
  strangers_per_second: 10000
routes:
  - name: bench
    host: %s
    backend:
      url: https://127.0.0.1:%d
      name: %s
    allow:
      groups: [engineers]
    assertion: true
`, doorHost, portGateway, portGateway, portAdmin, filepath.Join(dir, "gateway.access"), toolHost, portBackend, backendName)
}

// sidecarYAML is the sidecar's configuration. Its access log is its standard output, here a
// file.
func sidecarYAML() string {
	return fmt.Sprintf(`name: %s
listen: 127.0.0.1:%d
admin: 127.0.0.1:%d
app: http://127.0.0.1:%d
`, backendName, portSidecar, portAdmin, portPlain)
}

// startIdP serves an identity provider on loopback, and writes its metadata.
func (s *stand) startIdP() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("making the identity provider's key: %w", err)
	}
	template := keyTemplate("bench identity provider")
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("making the identity provider's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("reading the identity provider's certificate: %w", err)
	}
	var provider http.Handler
	s.idp = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { provider.ServeHTTP(w, r) }))
	base, err := url.Parse(s.idp.URL)
	if err != nil {
		return fmt.Errorf("reading the identity provider's address: %w", err)
	}
	made, err := idp.New(idp.Config{
		BaseURL: base, Key: key, Certificate: cert, Users: idp.DemoUsers(), Log: slog.New(slog.DiscardHandler),
		Provider: func(ctx context.Context) ([]byte, error) { return s.providerMetadata(ctx) },
	})
	if err != nil {
		return fmt.Errorf("making the identity provider: %w", err)
	}
	provider = made
	metadata, err := made.Metadata()
	if err != nil {
		return fmt.Errorf("writing the identity provider's metadata: %w", err)
	}
	return s.write("idp.xml", string(metadata))
}

// keyTemplate is the certificate of a key that signs SAML.
func keyTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

// providerMetadata asks the gateway for its metadata.
func (s *stand) providerMetadata(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address(doorHost, portGateway)+"/saml/metadata", nil)
	if err != nil {
		return nil, fmt.Errorf("asking for metadata: %w", err)
	}
	res, err := s.client().Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking for metadata: %w", err)
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

// client is a browser without cookies that trusts the stand, knows that every
// name is on this machine, and shows the gateway's certificate to whoever demands one.
func (s *stand) client() *http.Client {
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, fmt.Errorf("dialling: %w", err)
			}
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
		},
		TLSClientConfig: &tls.Config{
			RootCAs: s.cas, MinVersion: tls.VersionTLS12,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				pair, err := tls.LoadX509KeyPair(s.in("client.crt"), s.in("client.key"))
				return &pair, err
			},
		},
		DisableKeepAlives: true,
	}}
}

// trustEdge notes who issues what browsers see.
func (s *stand) trustEdge(ctx context.Context) error {
	var answer struct{ Data struct{ Certificate string } }
	if err := s.vault.Call(ctx, http.MethodGet, "pki-edge/cert/ca_chain", nil, &answer); err != nil {
		return fmt.Errorf("asking for the edge's CA: %w", err)
	}
	s.cas = x509.NewCertPool()
	if !s.cas.AppendCertsFromPEM([]byte(answer.Data.Certificate)) {
		return fmt.Errorf("asking for the edge's CA: no certificate in %q", answer.Data.Certificate)
	}
	s.cas.AddCert(s.idp.Certificate())
	return nil
}

// issueAll has Vault issue what the other proxies and the backend show, and writes
// it: one CA, ca.crt, for both sides.
func (s *stand) issueAll(ctx context.Context) error {
	for name, host := range map[string]string{"server": toolHost, "backend": backendName, "client": "gateway.sallyport.internal"} {
		role := map[string]any{
			"allow_any_name": true, "enforce_hostnames": false, "allow_localhost": true,
			"key_type": "ec", "key_bits": 256, "max_ttl": "24h", "not_before_duration": "1s",
			"server_flag": name != "client", "client_flag": name == "client", // for one use and no other
		}
		if err := s.vault.Call(ctx, http.MethodPut, "pki-backend/roles/bench-"+name, role, nil); err != nil {
			return fmt.Errorf("making a role for the bench: %w", err)
		}
		if err := s.issue(ctx, name, host); err != nil {
			return err
		}
	}
	ca, err := os.ReadFile(s.in("ca.crt"))
	if err != nil {
		return fmt.Errorf("reading the CA: %w", err)
	}
	s.cas.AppendCertsFromPEM(ca)
	return nil
}

// issue writes name.crt, name.key, and both in name.pem.
func (s *stand) issue(ctx context.Context, name, host string) error {
	var answer struct {
		Data struct {
			Certificate string
			Chain       []string `json:"ca_chain"`
			Key         string   `json:"private_key"`
		}
	}
	in := map[string]any{"common_name": host, "ttl": "20h"}
	if err := s.vault.Call(ctx, http.MethodPut, "pki-backend/issue/bench-"+name, in, &answer); err != nil {
		return fmt.Errorf("issuing a certificate for %s: %w", name, err)
	}
	issuers := answer.Data.Chain // up to the root, which nobody has to show
	chain := strings.Join(append([]string{answer.Data.Certificate}, issuers[:max(0, len(issuers)-1)]...), "\n") + "\n"
	key := answer.Data.Key + "\n"
	for file, content := range map[string]string{
		name + ".crt": chain, name + ".key": key, name + ".pem": chain + key, "ca.crt": strings.Join(issuers, "\n") + "\n",
	} {
		if err := s.write(file, content); err != nil {
			return err
		}
	}
	return nil
}

// environment is what the product is told of Vault.
func (s *stand) environment() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "VAULT_ADDR=" + s.vault.Address, "VAULT_CACERT=" + s.vault.CAFile}
}

// sallyport runs one command of the product to its end.
func (s *stand) sallyport(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "sallyport"), args...) //nolint:gosec // the product
	cmd.Env = s.environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("running sallyport %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// startGateway starts the gateway on the given core, and returns when it is ready.
func (s *stand) startGateway(ctx context.Context, core string) (*process.Child, error) {
	return s.startProduct(ctx, core, "gateway", gatewayRole)
}

// startSidecar starts a sidecar on the given core, and returns when it is ready.
func (s *stand) startSidecar(ctx context.Context, core string) (*process.Child, error) {
	return s.startProduct(ctx, core, "sidecar", sidecarRole)
}

// startProduct introduces a part of the product to Vault, starts it on the given core with
// the configuration of its name, and returns when it is ready.
func (s *stand) startProduct(ctx context.Context, core, part, role string) (*process.Child, error) {
	token := s.in(part + ".token")
	if err := s.sallyport(ctx, "introduce", "--role", role, "--file", token, "--token-file", s.in("token")); err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			RoleID string `json:"role_id"`
		}
	}
	if err := s.vault.Call(ctx, http.MethodGet, "auth/approle/role/"+role+"/role-id", nil, &answer); err != nil {
		return nil, fmt.Errorf("asking for the role of the %s: %w", part, err)
	}
	env := s.environment()
	if s.profile != "" {
		env = append(env, "SALLYPORT_CPU_PROFILE="+filepath.Join(s.profile, part+".pprof"))
	}
	child, err := s.pinned(core, process.Spec{
		Name: part, Path: filepath.Join(s.bin, "sallyport"), Env: env, Log: s.in(part + ".log"),
		Args: []string{part, "--config", s.in(part + ".yaml"), "--role", role, "--role-id", answer.Data.RoleID, "--wrapping-token-file", token},
	})
	if err != nil {
		return nil, err
	}
	return child, s.await(ctx, child, fmt.Sprintf("http://127.0.0.1:%d/readyz", portAdmin))
}

// startPatience is how long a process may take until it answers.
const startPatience = time.Minute

// await returns when address answers 200, or child has ended.
func (s *stand) await(ctx context.Context, child *process.Child, address string) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	client := s.client()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return fmt.Errorf("asking %q: %w", address, err)
		}
		if res, err := client.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w\n%s", child.Name(), ctx.Err(), child.Tail(20))
		case <-child.Done():
			return fmt.Errorf("%s has ended: %s\n%s", child.Name(), child.Ending(), child.Tail(20))
		case <-tick.C:
		}
	}
}

// stopWithin is how long a child may take to stop.
const stopWithin = 10 * time.Second

// pinned starts a child that runs on one core only, until the stand is closed.
func (s *stand) pinned(core string, spec process.Spec) (*process.Child, error) {
	taskset, err := exec.LookPath("taskset")
	if err != nil {
		return nil, fmt.Errorf("pinning to a core: %w", err)
	}
	spec.Args = append([]string{"-c", core, spec.Path}, spec.Args...)
	spec.Path = taskset
	child, err := process.Start(spec)
	if err != nil {
		return nil, fmt.Errorf("starting: %w", err)
	}
	s.children = append(s.children, child)
	return child, nil
}
