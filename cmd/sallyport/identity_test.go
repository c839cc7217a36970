package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/vaultpki"
)

// identityOf parses a command line of a gateway's flags.
func identityOf(environment map[string]string, args ...string) (*identityFlags, error) {
	f := new(identityFlags)
	cmd := &cobra.Command{Use: "x", RunE: func(cmd *cobra.Command, _ []string) error { return f.require(cmd, "vault-addr") }}
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	f.add(cmd.Flags(), stdio{Env: func(name string) (string, bool) { value, ok := environment[name]; return value, ok }}, "sallyport-gateway")
	cmd.SetArgs(args)
	cmd.SetOut(io.Discard)
	return f, cmd.Execute()
}

// TestCredentialsAreWhatTheFlagsSay holds what each method makes of flags and
// environment.
func TestCredentialsAreWhatTheFlagsSay(t *testing.T) {
	environment := map[string]string{
		"BAO_ADDR": "https://a:8200,https://b:8200", "VAULT_ROLE_ID": "id", "VAULT_SECRET_ID": "plain", "VAULT_TOKEN": "canary",
		"VAULT_NAMESPACE": "team", "VAULT_CLIENT_CERT": "c.pem", "BAO_CLIENT_KEY": "k.pem", "VAULT_CACERT": "ca.pem", "VAULT_SKIP_VERIFY": "1",
	}
	heir := vaultpki.Heir{TTL: defaultHeirTTL}
	approle := vaultpki.AppRole{Role: "sallyport-gateway", RoleID: "id", MaxWrapTTL: 3600e9, Heir: heir}
	with := func(change func(*vaultpki.AppRole)) vaultpki.AppRole { m := approle; change(&m); return m }
	tests := map[string]struct {
		args []string
		more map[string]string
		want vaultpki.Method
	}{
		"nothing": {nil, nil, with(func(m *vaultpki.AppRole) { m.WrappingTokenFile = defaultTokenFile })},
		"a wrapping token in the environment": {
			nil, map[string]string{"SALLYPORT_WRAPPING_TOKEN": "w"}, with(func(m *vaultpki.AppRole) { m.UnsafeWrappingToken = "w" }),
		},
		"a file, and a token in the environment": {
			[]string{"--wrapping-token-file", "f"}, map[string]string{"SALLYPORT_WRAPPING_TOKEN": "w"},
			with(func(m *vaultpki.AppRole) { m.WrappingTokenFile = "f" }),
		},
		"an heir": {
			[]string{"--heir-file", "h", "--heir-ttl", "1h", "--unsafe-heir-on-disk", "--auth-mount", "m"}, nil,
			with(func(m *vaultpki.AppRole) {
				m.Mount, m.WrappingTokenFile, m.Heir = "m", defaultTokenFile, vaultpki.Heir{File: "h", TTL: 3600e9, UnsafeOnDisk: true}
			}),
		},
		"a plain SecretID":           {[]string{"--auth-method", "secret-id"}, nil, with(func(m *vaultpki.AppRole) { m.UnsafeSecretID = "plain" })},
		"a plain SecretID in a file": {[]string{"--auth-method", "secret-id", "--secret-id-file", "s"}, nil, with(func(m *vaultpki.AppRole) { m.SecretIDFile = "s" })},
		"kubernetes":                 {[]string{"--auth-method", "kubernetes", "--role", "r"}, nil, vaultpki.JWT{Kubernetes: true, Role: "r"}},
		"jwt":                        {[]string{"--auth-method", "jwt", "--role", "r", "--jwt-file", "j"}, nil, vaultpki.JWT{Role: "r", File: "j"}},
		"cert":                       {[]string{"--auth-method", "cert", "--role", "r"}, nil, vaultpki.Cert{Role: "r"}},
		"an agent's token":           {[]string{"--auth-method", "token-file", "--token-file", "t", "--renew-token-file"}, nil, vaultpki.TokenFile{File: "t", Renew: true}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			all := map[string]string{}
			for _, part := range []map[string]string{environment, test.more} {
				for name, value := range part {
					all[name] = value
				}
			}
			f, err := identityOf(all, test.args...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, f.credential()); diff != "" {
				t.Errorf("method (-want +got):\n%s", diff)
			}
			server := vaultpki.Server{Address: "https://a:8200,https://b:8200", CAFile: "ca.pem", Namespace: "team", CertFile: "c.pem", KeyFile: "k.pem"}
			if diff := cmp.Diff(server, f.server()); diff != "" {
				t.Errorf("server (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFlagsThatDoNotGoTogether(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"an unknown method":            {[]string{"--auth-method", "userpass"}, `found "userpass", expected approle`},
		"an unknown end":               {[]string{"--on-revocation", "panic"}, `found "panic", expected serve or stop`},
		"approle without a RoleID":     {nil, "--role-id is missing"},
		"jwt without a file":           {[]string{"--auth-method", "jwt"}, "--jwt-file is missing"},
		"cert without a key":           {[]string{"--auth-method", "cert", "--vault-client-cert", "c"}, "--vault-client-key is missing"},
		"an heir of a certificate":     {[]string{"--auth-method", "cert", "--heir-file", "h"}, "--heir-file has no use with --auth-method cert"},
		"a token file for an approle":  {[]string{"--token-file", "t"}, "--token-file has no use"},
		"an heir on disk, and nowhere": {[]string{"--unsafe-heir-on-disk"}, "no use without --heir-file"},
	} {
		_, err := identityOf(nil, append(test.args, "--vault-addr", "https://a:8200")...)
		if err == nil || !strings.Contains(err.Error(), test.says) || exitCode(err) != exitUsage {
			t.Errorf("%s: %v; expected %q", name, err, test.says)
		}
	}
}

// testHeir restarts a gateway that was introduced once.
func testHeir(t *testing.T, s *stand) {
	dir, err := os.MkdirTemp("/dev/shm", "sallyport")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	heir := filepath.Join(dir, "heir")
	intro := s.introduce(t, gatewayRole)
	for range 2 {
		https, admin := free(t), free(t)
		p := s.startGateway(t, gatewayRole, intro.file, writeFile(t, t.TempDir(), "gateway.yaml", gatewayYAML(https, admin, "")), "--heir-file", heir)
		p.ready(t, admin)
		second := s.startGateway(t, gatewayRole, intro.file, s.yamlFile(t, ""), "--heir-file", heir)
		if code := second.wait(t); code != exitUsage || !strings.Contains(second.err.String(), "two processes cannot share an heir") {
			t.Errorf("a second process with the same heir: exit code %d\n%s", code, second.err.String())
		}
		p.signal(t, syscall.SIGTERM)
		if code := p.wait(t); code != exitOK {
			t.Errorf("exit code %d\n%s", code, p.err.String())
		}
		s.checkNoSecret(t, p, intro.token)
	}
}

// testRevocationStops ends a process by its token.
func testRevocationStops(t *testing.T, s *stand) {
	const role = "revoked"
	s.call(t, "POST", "auth/approle/role/"+role, map[string]any{"token_policies": []string{gatewayRole}, "token_period": "4s"}, nil)
	var id struct {
		Data struct {
			RoleID string `json:"role_id"`
		}
	}
	s.call(t, "GET", "auth/approle/role/"+role+"/role-id", nil, &id)
	https, admin := free(t), free(t)
	p := s.start(t, "gateway", "--role", role, "--role-id", id.Data.RoleID, "--wrapping-token-file", s.introduce(t, role).file,
		"--config", writeFile(t, t.TempDir(), "gateway.yaml", gatewayYAML(https, admin, "")), "--on-revocation", "stop")
	p.ready(t, admin)
	s.revokeTokensOf(t, role)
	if code := p.wait(t); code != exitTokenLost || !strings.Contains(p.err.String(), "it was revoked") {
		t.Errorf("exit code %d, expected %d\n%s", code, exitTokenLost, p.err.String())
	}
}

// testRevocationIsNoticed: a sidecar whose configuration is a file has nothing to ask
// Vault for hours.
func testRevocationIsNoticed(t *testing.T, s *stand) {
	const role = "revoked-sidecar"
	s.call(t, "POST", "auth/approle/role/"+role, map[string]any{"token_policies": []string{sidecarRole}, "token_period": "24h"}, nil)
	var id struct {
		Data struct {
			RoleID string `json:"role_id"`
		}
	}
	s.call(t, "GET", "auth/approle/role/"+role+"/role-id", nil, &id)
	listen, admin := free(t), free(t)
	yaml := fmt.Sprintf("name: %s\napp: http://127.0.0.1:1\nlisten: %q\nadmin: %q\nrefresh: 1s\n", sidecarName, listen, admin)
	p := s.start(t, "sidecar", "--role", role, "--role-id", id.Data.RoleID, "--wrapping-token-file", s.introduce(t, role).file,
		"--config", writeFile(t, t.TempDir(), "sidecar.yaml", yaml))
	p.ready(t, admin)
	checkMetrics(t, admin, "sallyport_vault_token_lost 0")
	s.revokeTokensOf(t, role)
	p.eventually(t, "/readyz tells that the token is lost", func() (string, bool) {
		status, body, err := get(admin, "/readyz")
		return body + fmt.Sprint(err), status == http.StatusOK && strings.Contains(body, "lost since")
	})
	checkMetrics(t, admin, "sallyport_vault_token_lost 1")
}

// revokeTokensOf does what an operator does in an emergency.
func (s *stand) revokeTokensOf(t *testing.T, role string) {
	t.Helper()
	var list struct{ Data struct{ Keys []string } }
	s.call(t, "GET", "auth/token/accessors?list=true", nil, &list)
	for _, accessor := range list.Data.Keys {
		var info struct {
			Data struct{ Meta map[string]string }
		}
		body := map[string]string{"accessor": accessor}
		if s.vault.Call(t.Context(), "POST", "auth/token/lookup-accessor", body, &info) == nil && info.Data.Meta["role_name"] == role {
			s.call(t, "POST", "auth/token/revoke-accessor", body, nil)
		}
	}
}
