package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/sallyport/sallyport/deploy/dev/localhost"
	"github.com/sallyport/sallyport/deploy/dev/process"
)

// readyWithin is how long a process may take from its start to readiness.
const readyWithin = time.Minute

// step is one line of progress: do it, and say what came of it.
type step struct {
	name string
	do   func(ctx context.Context) (outcome string, err error)
}

// bringUp runs the steps and prints how to use what then runs.
func (s *stack) bringUp(ctx context.Context) error {
	s.say.line("Sallyport demo: state in %s, ports %d to %d on loopback\n",
		s.set.State, s.set.Port, s.set.Port+portCount-1)
	for _, step := range s.steps() {
		began := time.Now()
		outcome, err := step.do(ctx)
		if cause := context.Cause(ctx); cause != nil {
			return cause // a step that fails because a process died tells less
		}
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		s.say.step(step.name, outcome, time.Since(began))
	}
	s.say.ready(s.set, s.vault.token)
	return nil
}

func (s *stack) steps() []step {
	steps := []step{
		{"vault", s.stepVault},
		{"provision", s.stepProvision},
	}
	if s.set.IdPMetadata == "" {
		steps = append(steps, step{"idp", s.stepIdP})
	}
	for _, t := range s.set.tools() {
		steps = append(steps, step{"app-" + t.Name, s.stepApp(t)})
	}
	for _, t := range s.set.tools() {
		steps = append(steps, step{"sidecar-" + t.Name, s.stepSidecar(t)})
	}
	return append(steps, step{"gateway", s.stepGateway}, step{"door", s.stepDoor})
}

func (s *stack) stepVault(ctx context.Context) (string, error) {
	version, err := s.vaultVersion(ctx)
	if err != nil {
		return "", err
	}
	server, _, _ := strings.Cut(version, " ")
	found, again, err := s.set.readStorage(server)
	if err != nil {
		return "", err
	}
	if err := s.prepareVault(); err != nil {
		return "", err
	}
	s.vault.again = again
	if err := s.startVault(ctx); err != nil {
		return "", err
	}
	if again {
		s.vault.unsealKey, s.vault.token = found.UnsealKey, found.RootToken
		return version + ", unsealed; it holds what the last run left", s.vault.unseal(ctx)
	}
	if err := s.vault.initialise(ctx); err != nil {
		return "", err
	}
	made := storage{Server: server, UnsealKey: s.vault.unsealKey, RootToken: s.vault.token}
	if err := s.set.saveStorage(made); err != nil {
		return "", err
	}
	return version + ", initialised and unsealed", s.vault.unseal(ctx)
}

// vaultVersion returns a name such as "Vault v1.21.1".
func (s *stack) vaultVersion(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, s.vaultProgram(), "version").Output() //nolint:gosec // the demo's own Vault
	if err != nil {
		return "", fmt.Errorf("asking Vault for its version: %w", err)
	}
	words := strings.Fields(strings.ReplaceAll(string(out), ",", " "))
	if len(words) < 2 {
		return "", fmt.Errorf("asking Vault for its version: it answers %q", out)
	}
	return words[0] + " " + words[1], nil
}

// prepareVault writes what the server needs to start, and a client that trusts it.
func (s *stack) prepareVault() error {
	if err := saveVaultCertificate(s.set.vaultCAFile(), s.set.in("vault", "key.pem")); err != nil {
		return err
	}
	if err := s.set.writeFiles(); err != nil {
		return err
	}
	client, err := localhost.Client(s.set.vaultCAFile())
	if err != nil {
		return err
	}
	s.vault = vault{address: s.set.vaultAddress(), client: client}
	return nil
}

// stepProvision gives Vault its mounts, roles, policies and secrets, and takes
// from it the certificate that browsers have to trust.
func (s *stack) stepProvision(ctx context.Context) (string, error) {
	if err := save(s.set.tokenFile(), []byte(s.vault.token+"\n")); err != nil {
		return "", err
	}
	metadata := s.set.IdPMetadata
	if metadata == "" {
		metadata = s.set.in("idp", "metadata.xml")
		if err := s.writeIdPMetadata(ctx, metadata); err != nil {
			return "", err
		}
	}
	// What the last run left may be of other versions of everything, or changed by hand;
	// nobody but the demo lives from it.
	out, err := s.sallyport(ctx, "provision", "apply", "--allow-loosen",
		"--config", s.set.in("gateway.yaml"), "--idp-metadata", metadata, "--token-file", s.set.tokenFile())
	if err != nil {
		return "", err
	}
	if err := save(s.set.in("log", "provision.log"), out); err != nil {
		return "", err
	}
	ca, err := s.vault.edgeCA(ctx)
	if err != nil {
		return "", err
	}
	return "mounts, certificate authorities, roles, policies, secrets", save(s.set.caFile(), ca)
}

// sallyport runs the product's program as an operator would and returns what it
// wrote; its error output is in the error.
func (s *stack) sallyport(ctx context.Context, args ...string) ([]byte, error) {
	return runOnce(ctx, s.set.program("sallyport"), s.vaultEnvironment(), args)
}

func (s *stack) vaultEnvironment() []string {
	return []string{"VAULT_ADDR=" + cmp.Or(s.set.VaultWay, s.set.vaultAddress()), "VAULT_CACERT=" + s.set.vaultCAFile()}
}

func runOnce(ctx context.Context, program string, env, args []string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // the demo's own programs
	cmd.Env = append(baseEnvironment(), env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("running %s %s: %w\n%s", program, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// idpArgs are common to printing the metadata and to serving.
func (s *stack) idpArgs(more ...string) []string {
	return append([]string{
		"-url", s.set.idpURL(),
		"-signing-cert", s.set.in("idp", "signing.pem"), "-signing-key", s.set.in("idp", "signing-key.pem"),
	}, more...)
}

func (s *stack) writeIdPMetadata(ctx context.Context, path string) error {
	cert, key := s.set.in("idp", "signing.pem"), s.set.in("idp", "signing-key.pem")
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil { // none of an earlier run
		if err := saveSigningCertificate(cert, key); err != nil {
			return err
		}
	}
	metadata, err := runOnce(ctx, s.set.program("demo-idp"), nil, s.idpArgs("-print-metadata"))
	if err != nil {
		return err
	}
	return save(path, metadata)
}

func (s *stack) stepIdP(ctx context.Context) (string, error) {
	cert, key := s.set.in("idp", "tls.pem"), s.set.in("idp", "tls-key.pem")
	if err := s.vault.issue(ctx, idpHost, cert, key); err != nil {
		return "", err
	}
	_, err := s.start(process.Spec{
		Name: "idp", Path: s.set.program("demo-idp"),
		Args: s.idpArgs("-listen", loopback(s.set.idpPort()), "-tls-cert", cert, "-tls-key", key,
			"-provider", s.set.doorURL()+"/saml/metadata", "-ca", s.set.caFile()),
	})
	if err != nil {
		return "", err
	}
	return s.set.idpURL(), s.waitOK(ctx, s.set.idpURL()+"/metadata")
}

func (s *stack) stepApp(t tool) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		_, err := s.start(process.Spec{
			Name: "app-" + t.Name, Path: s.set.program("app-" + t.Name),
			Args: []string{"-listen", loopback(t.App)},
		})
		if err != nil {
			return "", err
		}
		address := "http://" + loopback(t.App)
		return address, s.waitOK(ctx, address+"/")
	}
}

func (s *stack) stepSidecar(t tool) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		err := s.introduced(ctx, identity{
			name: "sidecar-" + t.Name, command: "sidecar", role: "sallyport-sidecar-" + t.Name,
			config: s.set.sidecarFile(t), admin: t.Admin,
		})
		return "https://" + loopback(t.Sidecar) + ", mutual TLS, as " + t.backend(), err
	}
}

func (s *stack) stepGateway(ctx context.Context) (string, error) {
	err := s.introduced(ctx, identity{
		name: "gateway", command: "gateway", role: "sallyport-gateway",
		config: s.set.in("gateway.yaml"), admin: s.set.adminPort(),
	})
	return "https://" + loopback(s.set.Port), err
}

// identity is a process of the product that has to be introduced to Vault.
type identity struct {
	name, command, role, config string
	admin                       int // port
}

// introduced gives the process a wrapped, single-use SecretID in a file, starts
// it and waits until it is ready. By then the token in the file is used up.
func (s *stack) introduced(ctx context.Context, id identity) error {
	token := s.set.in("run", id.name+".wrapping-token")
	defer os.Remove(token) //nolint:errcheck // a token that is used up is worth nothing
	if _, err := s.sallyport(ctx, "introduce", "--role", id.role, "--file", token, "--token-file", s.set.tokenFile()); err != nil {
		return err
	}
	roleID, err := s.vault.roleID(ctx, id.role)
	if err != nil {
		return err
	}
	_, err = s.start(process.Spec{
		Name: id.name, Path: s.set.program("sallyport"), Env: s.vaultEnvironment(),
		Args: []string{id.command, "--config", id.config, "--role", id.role, "--role-id", roleID, "--wrapping-token-file", token},
	})
	if err != nil {
		return err
	}
	return s.waitOK(ctx, "http://"+loopback(id.admin)+"/readyz")
}

// waitOK waits until the address answers 200.
func (s *stack) waitOK(ctx context.Context, address string) error {
	client, err := localhost.Client(s.set.caFile())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	return localhost.WaitOK(ctx, client, address)
}

// stepDoor asks the door as a browser would: by name, through the CA.
func (s *stack) stepDoor(ctx context.Context) (string, error) {
	client, err := localhost.Client(s.set.caFile())
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.set.doorURL()+"/", nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		return "", fmt.Errorf("opening %s: status %s", req.URL, resp.Status)
	}
	return fmt.Sprintf("%s answers, its certificate is good", doorHost), nil
}
