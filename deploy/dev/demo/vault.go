package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/sallyport/sallyport/deploy/dev/localhost"
	"github.com/sallyport/sallyport/deploy/dev/process"
)

// vault is the running server and what is needed to talk to it.
type vault struct {
	address   string
	client    *http.Client
	token     string // the root token
	unsealKey string
	child     *process.Child
	again     bool // on the storage of an earlier run
}

// call sends one request to Vault's API; path begins after /v1/. A nil out
// ignores the answer.
func (v *vault) call(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return fmt.Errorf("asking Vault for %s: %w", path, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, v.address+"/v1/"+path, &body)
	if err != nil {
		return fmt.Errorf("asking Vault for %s: %w", path, err)
	}
	req.Header.Set("X-Vault-Request", "true")
	if v.token != "" {
		req.Header.Set("X-Vault-Token", v.token)
	}
	resp, err := v.client.Do(req)
	if err != nil {
		return fmt.Errorf("asking Vault: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case err != nil:
		return fmt.Errorf("reading Vault's answer for %s: %w", path, err)
	case resp.StatusCode >= http.StatusBadRequest:
		return fmt.Errorf("asking Vault for %s: status %s: %s", path, resp.Status, strings.TrimSpace(string(answer)))
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("reading Vault's answer for %s: %w", path, err)
	}
	return nil
}

// initialise makes one unseal key and the root token.
func (v *vault) initialise(ctx context.Context) error {
	var made struct {
		Keys  []string `json:"keys_base64"`
		Token string   `json:"root_token"`
	}
	shares := map[string]int{"secret_shares": 1, "secret_threshold": 1}
	if err := v.call(ctx, http.MethodPut, "sys/init", shares, &made); err != nil {
		return err
	}
	if len(made.Keys) != 1 || made.Token == "" {
		return fmt.Errorf("initialising Vault: %d keys in its answer, expected 1 and a token", len(made.Keys))
	}
	v.unsealKey, v.token = made.Keys[0], made.Token
	return nil
}

// unseal returns when Vault serves.
func (v *vault) unseal(ctx context.Context) error {
	if err := v.call(ctx, http.MethodPut, "sys/unseal", map[string]string{"key": v.unsealKey}, nil); err != nil {
		return err
	}
	// Unsealed is not active: the mounts are set up after the answer.
	return localhost.WaitOK(ctx, v.client, v.address+"/v1/sys/health")
}

// roleID returns the public half of an AppRole's credential.
func (v *vault) roleID(ctx context.Context, role string) (string, error) {
	var answer struct {
		Data struct {
			RoleID string `json:"role_id"`
		} `json:"data"`
	}
	err := v.call(ctx, http.MethodGet, "auth/approle/role/"+role+"/role-id", nil, &answer)
	return answer.Data.RoleID, err
}

// edgeCA returns the certificate that browsers have to trust, as PEM: the root,
// which is the last of the chain.
func (v *vault) edgeCA(ctx context.Context) ([]byte, error) {
	var answer struct {
		Data struct {
			Certificate string `json:"certificate"`
		} `json:"data"`
	}
	err := v.call(ctx, http.MethodGet, "pki-edge/cert/ca_chain", nil, &answer)
	const begin = "-----BEGIN CERTIFICATE-----"
	chain := answer.Data.Certificate
	return []byte(chain[max(0, strings.LastIndex(chain, begin)):] + "\n"), err
}

// issue gives a host of the demo that is not behind the gateway a certificate
// from the edge's CA, with a role of its own, and saves it with its key.
func (v *vault) issue(ctx context.Context, host, certFile, keyFile string) error {
	role := map[string]any{
		"allowed_domains": host, "allow_bare_domains": true, "client_flag": false,
		"key_type": "ec", "key_bits": 256, "max_ttl": "720h", "not_before_duration": "1s",
	}
	if err := v.call(ctx, http.MethodPut, "pki-edge/roles/demo-idp", role, nil); err != nil {
		return err
	}
	var answer struct {
		Data struct {
			Certificate string   `json:"certificate"`
			Chain       []string `json:"ca_chain"`
			Key         string   `json:"private_key"`
		} `json:"data"`
	}
	in := map[string]any{"common_name": host, "ttl": "720h"}
	if err := v.call(ctx, http.MethodPut, "pki-edge/issue/demo-idp", in, &answer); err != nil {
		return err
	}
	chain := strings.Join(append([]string{answer.Data.Certificate}, answer.Data.Chain...), "\n")
	if err := save(certFile, []byte(chain+"\n")); err != nil {
		return err
	}
	return save(keyFile, []byte(answer.Data.Key+"\n"))
}

// vaultDeadline is generous: the binary alone is 190 MB to read.
const vaultDeadline = time.Minute

// startVault starts the server and waits until it answers, sealed as it is.
func (s *stack) startVault(ctx context.Context) error {
	child, err := s.start(process.Spec{
		Name: "vault", Path: s.vaultProgram(),
		Args: []string{"server", "-config=" + s.set.in("vault", "vault.hcl")},
	})
	if err != nil {
		return err
	}
	s.vault.child = child
	ctx, cancel := context.WithTimeout(ctx, vaultDeadline)
	defer cancel()
	return localhost.WaitOK(ctx, s.vault.client, s.vault.address+"/v1/sys/seal-status")
}

// vaultProgram is SALLYPORT_VAULT_BIN, or what `make vault` put beside the demo.
func (s *stack) vaultProgram() string {
	if path := os.Getenv("SALLYPORT_VAULT_BIN"); path != "" {
		return path
	}
	return s.set.program("vault")
}

// restartVault stops and starts Vault while everything else goes on.
func (s *stack) restartVault(ctx context.Context) error {
	s.say.line("vault: restarting")
	if err := s.vault.child.Stop(stopWithin); err != nil {
		return err
	}
	s.drop(s.vault.child)
	if err := s.startVault(ctx); err != nil {
		return err
	}
	if err := s.vault.unseal(ctx); err != nil {
		return err
	}
	s.say.line("vault: restarted and unsealed, on the same storage")
	return nil
}
