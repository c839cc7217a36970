package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
)

// notesRules are what docs/sidecar.md would grant a sidecar for its application.
const notesRules = `path "secret/data/notes/*" { capabilities = ["read"] }
path "auth/token/create" { capabilities = ["create", "update", "sudo"] }
path "sys/leases/renew" { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }`

// appSecretsRole is a sidecar that may read what its application needs.
func (s *stand) appSecretsRole(t *testing.T, role string) (roleID string) {
	t.Helper()
	s.call(t, "PUT", "sys/policies/acl/"+role, map[string]string{"policy": notesRules}, nil)
	s.call(t, "POST", "auth/approle/role/"+role, map[string]any{
		"token_policies": []string{sidecarRole, role}, "token_no_default_policy": true, "token_period": "1h", "secret_id_num_uses": 1,
	}, nil)
	var id struct {
		Data struct {
			RoleID string `json:"role_id"`
		} `json:"data"`
	}
	s.call(t, "GET", "auth/approle/role/"+role+"/role-id", nil, &id)
	return id.Data.RoleID
}

// tmpfs is a folder of the test's own in memory.
func tmpfs(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "appsecrets")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// testAppSecrets has an application started with a file, a variable and an input, told of
// changes by a signal and a command while its sidecar is confined, and ended: then nothing
// is left.
func testAppSecrets(t *testing.T, s *stand) {
	https, admin := free(t), free(t)
	memory, role := tmpfs(t), "app-secrets"
	file, token := filepath.Join(memory, "db.ini"), filepath.Join(memory, "token")
	id := s.appSecretsRole(t, role)
	s.writeKV(t, "notes/db", map[string]string{"password": "canary-one", "token": "canary-token"})
	yaml := fmt.Sprintf(`name: %s
app: http://127.0.0.1:1
listen: %q
admin: %q
refresh: 1s
secrets:
  files:
    - path: %s
      template: 'password={{ with secret "secret/notes/db" }}{{ .Data.data.password }}{{ end }}'
      on_change: {action: signal, signal: HUP, debounce: 0s}
    - path: %s
      template: '{{ with secret "auth/token/create" "ttl=1h" "policies=default" }}{{ .Auth.ClientToken }}{{ end }}{{ with secret "secret/notes/db" }} {{ .Data.data.password }}{{ end }}'
      mode: "0440"
      on_change: {action: command, command: [/bin/cat, %s], debounce: 0s}
  env:
    - {name: API_TOKEN, template: '{{ with secret "secret/notes/db" }}{{ .Data.data.token }}{{ end }}'}
  stdin: '{{ with secret "secret/notes/db" }}{{ .Data.data.token }}{{ end }}'
`, sidecarName, https, admin, file, token, file)
	script := `read line; [ "$line" = "$API_TOKEN" ] && echo the same; trap 'echo told: $(wc -c < ` + file + `)' HUP; echo begun: $(wc -c < ` + file + `); while :; do sleep 1 & wait; done`
	p := s.start(t, "sidecar", "--role", role, "--role-id", id, "--wrapping-token-file", s.introduce(t, role).file,
		"--config", writeFile(t, t.TempDir(), "sidecar.yaml", yaml), "--", "/bin/sh", "-c", script)
	p.eventually(t, "the app began with its secrets", func() (string, bool) {
		out := p.out.String()
		return out, strings.Contains(out, "the same\n") && strings.Contains(out, "begun: 19\n")
	})
	part := regexp.MustCompile(`(?m)^- secrets: rendered, and valid until \S+Z without Vault$`)
	p.eventually(t, "/readyz tells of the secrets", func() (string, bool) {
		_, body, err := get(admin, "/readyz")
		return body + fmt.Sprint(err), part.MatchString(body)
	})
	checkMetrics(t, admin, `sallyport_app_secrets_leases{state="in_use"} 1`, "sallyport_app_secrets_faults 0")
	s.writeKV(t, "notes/db", map[string]string{"password": "canary-second", "token": "canary-token"})
	p.eventually(t, "the app was told by a signal", func() (string, bool) {
		return p.out.String() + p.err.String(), strings.Contains(p.out.String(), "told: 22\n")
	})
	p.eventually(t, "the command was run", func() (string, bool) {
		told := p.err.String()
		return told, strings.Contains(told, `"output":"password=[redacted]"`)
	})
	given, _, _ := strings.Cut(read(t, token), " ")
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d\n%s", code, p.err.String())
	}
	if s.vault.Call(t.Context(), "POST", "auth/token/lookup", map[string]string{"token": given}, nil) == nil {
		t.Error("the app's token lives on")
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file is left, or %v", err)
	}
	s.checkNoSecret(t, p, "canary-one", "canary-second", "canary-token", given)
}

// testAppSecretsFail has sidecars not start their application: it would lack something.
func testAppSecretsFail(t *testing.T, s *stand) {
	memory, role := tmpfs(t), "app-secrets-fail"
	id := s.appSecretsRole(t, role)
	s.writeKV(t, "notes/some", map[string]string{"password": "canary-some"})
	tests := map[string]struct {
		file  string
		code  int
		says  string
		spent bool // the introduction is
	}{
		"a field that is not there": {`{path: ` + memory + `/a, template: '{{ with secret "secret/notes/some" }}{{ .Data.data.passwrd }}{{ end }}'}`,
			exitAppSecrets, `secrets.files[0].template:1: there is no field "passwrd" in "secret/notes/some"`, true},
		"a path that is denied":       {`{path: ` + memory + `/b, template: '{{ secret "secret/other" }}'}`, exitDenied, `hint: grant it in the policy: path "secret/data/other" { capabilities = ["read"] }`, true},
		"a secret that is not there":  {`{path: ` + memory + `/c, template: '{{ secret "secret/notes/none" }}'}`, exitBadSecret, `"secret/notes/none": there is no such secret`, true},
		"a disk":                      {`{path: ` + t.TempDir() + `/a, template: x}`, exitAppSecrets, "is not in memory", false},
		"a function that reads files": {`{path: ` + memory + `/d, template: '{{ file "/etc/passwd" }}'}`, exitAppSecrets, `function "file" is refused: it reads files`, false},
		"a template without an end":   {`{path: ` + memory + `/e, template: '{{ with secret "secret/notes/some" }}'}`, exitAppSecrets, "secrets.files[0].template:1: unexpected EOF\nhint: end each", false},
		"a template file":             {`{path: ` + memory + `/f, template_file: ` + memory + `/none}`, exitAppSecrets, "no such file or directory", false},
	}
	for name, test := range tests {
		yaml := fmt.Sprintf("name: %s\napp: http://127.0.0.1:1\nlisten: %q\nadmin: %q\nsecrets: {files: [%s]}\n", sidecarName, free(t), free(t), test.file)
		introduction := s.introduce(t, role)
		p := s.start(t, "sidecar", "--role", role, "--role-id", id, "--wrapping-token-file", introduction.file,
			"--config", writeFile(t, t.TempDir(), "sidecar.yaml", yaml), "--", "/bin/echo", "started")
		if code := p.wait(t); code != test.code || !strings.Contains(p.err.String(), test.says) {
			t.Errorf("%s: exit code %d, expected %d and %q\n%s", name, code, test.code, test.says, p.err.String())
		}
		if strings.Contains(p.out.String(), "started") {
			t.Errorf("%s: the app was started", name)
		}
		if spent := read(t, introduction.file) == ""; spent != test.spent {
			t.Errorf("%s: the introduction is used up: %t, expected %t", name, spent, test.spent)
		}
		s.checkNoSecret(t, p, "canary-some")
	}
}

// TestExitCodesOfSecrets tells what Vault did from what is wrong with templates.
func TestExitCodesOfSecrets(t *testing.T) {
	call := func(kind secrets.Kind) error {
		return &appSecretsError{&secrets.Error{Where: "x", Hint: "do this", Err: &secrets.CallError{Kind: kind, Err: errors.New("cause")}}}
	}
	for name, test := range map[string]struct {
		err  error
		code int
	}{
		"away":       {call(secrets.Away), exitUnreachable},
		"denied":     {call(secrets.Denied), exitDenied},
		"absent":     {call(secrets.Absent), exitBadSecret},
		"refused":    {call(secrets.Refused), exitAppSecrets},
		"a template": {&appSecretsError{&secrets.Error{Where: "x", Hint: "do this", Err: errors.New("cause")}}, exitAppSecrets},
	} {
		if code, hint := exitCode(test.err), hintOf(test.err); code != test.code || hint != "do this" {
			t.Errorf("%s: code %d, hint %q; expected %d", name, code, hint, test.code)
		}
	}
}

// TestNoGraceIsNone: 0 is allowed in a configuration, and means no default.
func TestNoGraceIsNone(t *testing.T) {
	cfg, err := config.LoadSidecar("sidecar.yaml", []byte(`name: tool.backend.sallyport.internal
app: http://127.0.0.1:3000
secrets:
  grace: 0s
  files: [{path: /run/secrets/db.ini, template: x, on_change: {debounce: 0s}}]
`))
	if err != nil {
		t.Fatal(err)
	}
	settings, err := new(appSecrets).settings(cfg, true)
	if err != nil {
		t.Fatal(err)
	}
	if settings.Grace >= 0 || settings.Files[0].OnChange.Debounce >= 0 {
		t.Errorf("grace %s and debounce %s, which package secrets takes for its defaults", settings.Grace, settings.Files[0].OnChange.Debounce)
	}
}
