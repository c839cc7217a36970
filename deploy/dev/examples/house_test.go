package examples

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/sallyport/sallyport/internal/vaulttest"
)

// examples is the folder under test.
const examples = "../../examples"

// gatewayName is in the certificate that the tests make requests with.
const gatewayName = "gateway.sallyport.internal"

// A home is what the tests share: a Vault that is provisioned for all examples, and the
// databases.
type home struct {
	dir               string // for what is written
	vault             *vaulttest.Server
	caFile            string          // of the Vault, where everybody may read it
	client            tls.Certificate // the gateway's
	roots             *x509.CertPool  // that sidecars' certificates come from
	mariadb, postgres *database
	deployKey         string // the public half of the build server's
}

// open starts everything at once.
func (h *home) open(ctx context.Context) error {
	errs := make([]error, 3)
	var all sync.WaitGroup
	all.Go(func() { h.mariadb, errs[0] = startMariaDB(h.dir) })
	all.Go(func() { h.postgres, errs[1] = startPostgreSQL(h.dir) })
	all.Go(func() { errs[2] = h.openVault(ctx) })
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return h.install()
}

// close stops what runs.
func (h *home) close() error {
	if h.vault != nil {
		h.vault.Stop()
	}
	return errors.Join(h.mariadb.stop(), h.postgres.stop())
}

// openVault starts a Vault, has `sallyport provision` set it up for the examples, and
// takes from it what a gateway has.
func (h *home) openVault(ctx context.Context) error {
	plugins := map[string]string{"mysql-database-plugin": vaulttest.MySQLPlugin, "postgresql-database-plugin": vaulttest.PostgreSQLPlugin}
	folder := ""
	for name, file := range plugins {
		path, err := vaulttest.Plugin(file)
		if err != nil {
			return err
		}
		plugins[name], folder = path, filepath.Dir(path)
	}
	var err error
	if h.vault, err = vaulttest.Start(ctx, vaulttest.Options{Dir: filepath.Join(h.dir, "vault"), PluginDir: folder}); err != nil {
		return err
	}
	for name, path := range plugins { // the full build has them, and registers them itself
		if err := h.vault.Register(ctx, "database", name, path); err != nil {
			return err
		}
	}
	ca, err := os.ReadFile(h.vault.CAFile)
	if err != nil {
		return err
	}
	h.caFile = filepath.Join(h.dir, "vault-ca.pem")
	if err := os.WriteFile(h.caFile, ca, 0o644); err != nil {
		return err
	}
	if err := h.provision(); err != nil {
		return err
	}
	return h.becomeGateway(ctx)
}

// operator is the environment of who may do everything with Vault.
func (h *home) operator(more ...string) []string {
	return environment(append([]string{
		"VAULT_ADDR=" + h.vault.Address, "VAULT_CACERT=" + h.caFile, "VAULT_TOKEN=" + h.vault.RootToken, "HOME=" + h.dir,
	}, more...)...)
}

// provision joins what the READMEs say to write into a gateway's configuration, and
// their provision.yaml.
func (h *home) provision() error {
	gateway, file := "door:\n  host: door.example.com\nroutes:\n", "sidecars:\n"
	for _, name := range exampleNames {
		route, err := block(filepath.Join(examples, name, "README.md"), "yaml", "routes:\n")
		if err != nil {
			return err
		}
		sidecar, err := os.ReadFile(filepath.Join(examples, name, "provision.yaml"))
		if err != nil {
			return err
		}
		_, entry, found := strings.Cut(string(sidecar), "sidecars:\n")
		if !found {
			return fmt.Errorf("%s: provision.yaml has no sidecars", name)
		}
		gateway += route
		file += entry
	}
	config, more := filepath.Join(h.dir, "gateway.yaml"), filepath.Join(h.dir, "provision.yaml")
	if err := errors.Join(os.WriteFile(config, []byte(gateway), 0o644), os.WriteFile(more, []byte(file), 0o644)); err != nil {
		return err
	}
	if out, err := onceAsUs(h.operator(), nil, shared.binary, "provision", "apply", "--config", config, "-f", more); err != nil {
		return fmt.Errorf("provisioning: %w\n%s", err, out)
	}
	return nil
}

// block returns what follows start in the block of a document that begins with it.
func block(file, language, start string) (string, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for rest := strings.ReplaceAll(string(raw), "\n   ", "\n"); ; { // those of a list are indented
		_, after, found := strings.Cut(rest, "```"+language+"\n")
		if !found {
			return "", fmt.Errorf("%s has no %s block that begins with %q", file, language, start)
		}
		text, next, _ := strings.Cut(after, "```")
		if inner, ok := strings.CutPrefix(text, start); ok {
			return inner, nil
		}
		rest = next
	}
}

// becomeGateway has a certificate signed as the gateway does.
func (h *home) becomeGateway(ctx context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{}, DNSNames: []string{gatewayName}}, key)
	if err != nil {
		return err
	}
	var answer struct {
		Data struct {
			Certificate string   `json:"certificate"`
			Chain       []string `json:"ca_chain"`
		}
	}
	request := map[string]any{"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})), "common_name": gatewayName, "ttl": "12h"}
	if err := h.vault.Call(ctx, "POST", "pki-backend/sign/sallyport-gateway", request, &answer); err != nil {
		return err
	}
	h.client.PrivateKey = key
	h.roots = x509.NewCertPool()
	for i, text := range append([]string{answer.Data.Certificate}, answer.Data.Chain...) {
		der, _ := pem.Decode([]byte(text))
		if der == nil {
			return fmt.Errorf("certificate %d of the chain: found %.40q", i, text)
		}
		cert, err := x509.ParseCertificate(der.Bytes)
		if err != nil {
			return err
		}
		h.client.Certificate = append(h.client.Certificate, der.Bytes)
		if cert.IsCA {
			h.roots.AddCert(cert)
		}
	}
	return nil
}

// script has the operator run an example's vault.sh.
func (h *home) script(example string, more ...string) error {
	vault, err := vaulttest.Binary()
	if err != nil {
		return err
	}
	env := h.operator(more...)
	env[0] = "PATH=" + filepath.Dir(vault) + ":/usr/bin:/bin"
	if out, err := onceAsUs(env, nil, filepath.Join(examples, example, "vault.sh")); err != nil {
		return fmt.Errorf("running vault.sh of %s: %w\n%s", example, err, out)
	}
	return nil
}
