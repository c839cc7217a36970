package examples

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// firstPassword is what database.sql gives to Vault's account.
const firstPassword = "first-password"

// githubToken is what the build server is given.
const githubToken = "ghp_an_example_and_no_token"

// install does for all examples what their READMEs have people do once.
func (h *home) install() error {
	if err := h.mariadb.prepare("notes-mariadb", firstPassword); err != nil {
		return err
	}
	for example, name := range map[string]string{"notes-postgresql": "notes_webapp", "python-sighup": "reports"} {
		if out, err := h.postgres.run("CREATE DATABASE " + name + ";"); err != nil {
			return fmt.Errorf("making the database of %s: %w\n%s", example, err, out)
		}
		if err := h.postgres.prepare(example, firstPassword, name); err != nil {
			return err
		}
	}
	ttl, most := "10s", "20s"
	if *long > 0 {
		ttl, most = "30s", "60s"
	}
	for example, d := range map[string]*database{"notes-mariadb": h.mariadb, "notes-postgresql": h.postgres, "python-sighup": h.postgres} {
		err := h.script(example, "DB_ADDRESS="+d.address(), "DB_SSLMODE=disable", "VAULT_DB_PASSWORD="+firstPassword, "DEFAULT_TTL="+ttl, "MAX_TTL="+most)
		if err != nil {
			return err
		}
	}
	return h.installBuilds()
}

// installBuilds makes the secrets of the build server.
func (h *home) installBuilds() error {
	key, token := filepath.Join(shared.dir, "deploy-key"), filepath.Join(shared.dir, "github-token")
	if out, err := onceAsUs(environment(), nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key); err != nil {
		return fmt.Errorf("making an SSH key: %w\n%s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	if err := errors.Join(err, os.WriteFile(token, []byte(githubToken+"\n"), 0o600)); err != nil {
		return err
	}
	h.deployKey = strings.TrimSpace(string(public))
	return h.script("jenkins-like", "DEPLOY_KEY="+key, "GITHUB_TOKEN="+token, "CERT_TTL=15s")
}
