package secrets_test

import (
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
)

// render renders one template into a file with a fresh session and returns what it holds.
func render(t *testing.T, template string) (string, error) {
	t.Helper()
	file := filepath.Join(memory(t), "file")
	_, err := secrets.New(t.Context(), secrets.Config{
		Vault: session{login(t, vault, "app")}, Files: []secrets.File{{Path: file, Template: template, Name: "app.tmpl"}},
		Variable: func(name string) (string, bool) {
			value, set := map[string]string{"HOST": "db.internal"}[name]
			return value, set
		},
	})
	if err != nil {
		if _, statErr := os.Stat(file); !errors.Is(statErr, os.ErrNotExist) {
			t.Errorf("after an error there is a file, or %v", statErr)
		}
		return "", err
	}
	return content(t, file), nil
}

// TestTemplatesOfConsulTemplateWork renders what people have, against a real Vault.
func TestTemplatesOfConsulTemplateWork(t *testing.T) {
	write(t, "app/db", map[string]string{"username": "notes", "password": "s3cr3t-1"})
	write(t, "app/db", map[string]string{"username": "notes", "password": "s3cr3t-2", "key": "aGVsbG8=", "json": `{"a":[1,2]}`})
	write(t, "app/list/one", map[string]string{"a": "b"})
	write(t, "app/list/two/three", map[string]string{"a": "b"})
	if err := vault.Call(t.Context(), "POST", "old/app/mail", map[string]string{"user": "m", "pass": "p"}, nil); err != nil {
		t.Fatal(err)
	}
	var encrypted struct {
		Data struct{ Ciphertext string }
	}
	if err := vault.Call(t.Context(), "POST", "transit/encrypt/app", map[string]string{"plaintext": "d29ybGQ="}, &encrypted); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ template, want string }{
		"KV version 2 as people write it":   {`{{ with secret "secret/app/db" }}{{ .Data.data.password }}{{ end }}`, "s3cr3t-2"},
		"KV version 2 by its API's path":    {`{{ with secret "secret/data/app/db" }}{{ .Data.data.username }}:{{ .Data.data.password }}{{ end }}`, "notes:s3cr3t-2"},
		"an earlier version":                {`{{ with secret "secret/app/db?version=1" }}{{ .Data.data.password }}{{ end }}`, "s3cr3t-1"},
		"KV version 1":                      {`{{ with secret "old/app/mail" }}{{ .Data.user }}/{{ .Data.pass }}{{ end }}`, "m/p"},
		"a range over fields":               {`{{ with secret "old/app/mail" }}{{ range $k, $v := .Data }}{{ $k }}={{ $v }};{{ end }}{{ end }}`, "pass=p;user=m;"},
		"a list of version 2":               {`{{ range secrets "secret/app/list" }}{{ . }} {{ end }}`, "one two/ "},
		"a list of version 1":               {`{{ range secrets "old/app/" }}{{ . }}{{ end }}`, "mail"},
		"an empty list":                     {`{{ range secrets "old/app/nothing" }}{{ . }}{{ else }}none{{ end }}`, "none"},
		"base64":                            {`{{ with secret "secret/app/db" }}{{ .Data.data.key | base64Decode }}{{ end }}`, "hello"},
		"JSON out":                          {`{{ with secret "old/app/mail" }}{{ .Data | toJSON }}{{ end }}`, `{"pass":"p","user":"m"}`},
		"JSON in":                           {`{{ with secret "secret/app/db" }}{{ range (.Data.data.json | parseJSON).a }}{{ . }},{{ end }}{{ end }}`, "1,2,"},
		"a chain without with":              {`{{ (secret "secret/app/db").Data.data.username | toUpper }}`, "NOTES"},
		"transit":                           {`{{ with secret "transit/decrypt/app" "ciphertext=` + encrypted.Data.Ciphertext + `" }}{{ .Data.plaintext | base64Decode }}{{ end }}`, "world"},
		"variables, templates, environment": {`{{ define "x" }}<{{ . }}>{{ end }}{{ $h := env "HOST" }}{{ executeTemplate "x" $h }}{{ envOrDefault "PORT" "5432" }}`, "<db.internal>5432"},
		"scratch and arithmetic":            {`{{ scratch.Set "n" (add 1 2) }}{{ scratch.Get "n" }}{{ range loop 2 }}.{{ end }}`, "3.."},
		"Sprig":                             {`{{ "a b" | sprig_replace " " "-" | sprig_quote }}`, `"a-b"`},
		"lookup of the token":               {`{{ with secret "auth/token/lookup-self" }}{{ range .Data.policies }}{{ . }} {{ end }}{{ end }}`, "app default "},
		"a template may change its own":     {`{{ with secret "old/app/mail" }}{{ $x := sprig_set .Data "user" "other" }}{{ end }}{{ with secret "old/app/mail" }}{{ .Data.user }}{{ end }}`, "m"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := render(t, test.template)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestAnErrorNamesTemplateLinePathAndField, and never what is in a secret.
func TestAnErrorNamesTemplateLinePathAndField(t *testing.T) {
	write(t, "app/errors", map[string]string{"password": "never-show-this", "cipher": "bmV2ZXI="})
	write(t, "app/other", map[string]string{"token": "nor-this"})
	tests := map[string]struct {
		template string
		want     []string
	}{
		"a field that is not there":           {"a\n{{ with secret \"secret/app/errors\" }}\n{{ .Data.data.passwrd }}{{ end }}", []string{"app.tmpl:3", `no field "passwrd"`, `"secret/app/errors"`}},
		"a field of the outer of two":         {`{{ with secret "secret/app/errors" }}{{ with secret "secret/app/other" }}{{ .Data.data.token }}{{ end }}{{ .Data.data.nope }}{{ end }}`, []string{"app.tmpl:1", `no field "nope" in "secret/app/errors"`}},
		"a field of a variable":               {`{{ $e := secret "secret/app/errors" }}{{ $o := secret "secret/app/other" }}{{ $e.Data.data.nope }}`, []string{`no field "nope" in "secret/app/errors"`}},
		"a field by index":                    {`{{ with secret "secret/app/errors" }}{{ index .Data.data "nope" }}{{ end }}`, []string{"app.tmpl", "does not exist", `"secret/app/errors"`}},
		"a secret that is not there":          {"\n{{ with secret \"secret/app/nothing\" }}{{ end }}", []string{"app.tmpl:2", `"secret/app/nothing"`, "no such secret"}},
		"a path that is denied":               {`{{ with secret "secret/others/db" }}{{ end }}`, []string{"app.tmpl:1", `"secret/others/db"`, "denies"}},
		"a mount that is denied":              {`{{ with secret "elsewhere/db" }}{{ end }}`, []string{"app.tmpl:1", `"elsewhere/db"`, "denies"}},
		"a syntax error":                      {"x\n\n{{ if }}", []string{"app.tmpl", "3", "missing value for if"}},
		"a function that there is not":        {"{{ frobnicate }}", []string{"app.tmpl:1", `"frobnicate"`}},
		"a value in an error of a function":   {`{{ with secret "secret/app/errors" }}{{ .Data.data.password | parseInt }}{{ end }}`, []string{"app.tmpl:1", "[redacted]"}},
		"no parameter":                        {`{{ secret "pki/issue/app" "common_name" }}`, []string{"parameter 1", "name=value"}},
		"a path that leads out":               {`{{ secret "secret/app/../../sys/health" }}`, []string{"single slashes"}},
		"an absent variable that must be set": {`{{ mustEnv "NOPE" }}`, []string{`"NOPE"`, "not set"}},
		"what Vault refuses":                  {`{{ secret "transit/decrypt/app" "ciphertext=vault:v1:AAAA" }}`, []string{`"transit/decrypt/app"`, "400"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := render(t, test.template)
			if err == nil {
				t.Fatal("it was rendered")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q, expected %q in it", err, want)
				}
			}
			for _, secret := range []string{"never-show-this", "nor-this"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error holds a secret: %q", err)
				}
			}
		})
	}
}

// TestAnErrorShowsNoPartOfASecret, be it quoted, or cut short by the function that it is of.
func TestAnErrorShowsNoPartOfASecret(t *testing.T) {
	const first, second = `zqx"jk\vw`, "zqxjkvwzqxjkvwzqxjkvw"
	write(t, "app/parts", map[string]string{"quoted": first, "long": second, "pattern": "zqx(" + second, "address": "db://zqx%zqjkvw@host", "anchor": "*zqxjkvw"})
	for name, template := range map[string]string{
		"quoted":         `{{ with secret "secret/app/parts" }}{{ .Data.data.quoted | parseInt }}{{ end }}`,
		"an anchor":      `{{ with secret "secret/app/parts" }}{{ .Data.data.anchor | parseYAML }}{{ end }}`,
		"a pattern":      `{{ with secret "secret/app/parts" }}{{ "x" | regexMatch .Data.data.pattern }}{{ end }}`,
		"an address":     `{{ with secret "secret/app/parts" }}{{ sprig_urlParse .Data.data.address }}{{ end }}`,
		"in other cases": `{{ with secret "secret/app/parts" }}{{ .Data.data.long | toUpper | parseInt }}{{ end }}`,
		"replaced":       `{{ with secret "secret/app/parts" }}{{ .Data.data.long | replaceAll "z" "y" | parseBool }}{{ end }}`,
		"of a variable":  `{{ with secret "secret/app/parts" }}{{ mustEnv .Data.data.long }}{{ end }}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := render(t, template)
			if err == nil {
				t.Fatal("it was rendered")
			}
			if text := strings.ToLower(err.Error()); !strings.Contains(text, "[redacted]") || strings.Contains(text, "zq") || strings.Contains(text, "yqx") || strings.Contains(text, "jk") {
				t.Errorf("the error holds a part of a secret: %q", err)
			}
		})
	}
}

// TestADeniedPathSaysWhatToWrite in the policy, as Vault would have it.
func TestADeniedPathSaysWhatToWrite(t *testing.T) {
	_, err := render(t, `{{ secret "secret/app2" }}`)
	var e *secrets.Error
	if !errors.As(err, &e) || e.Hint != `grant it in the policy: path "secret/data/app2" { capabilities = ["read"] }; or correct the path in the template` {
		t.Errorf("error %v, hint %q", err, e.Hint)
	}
}

// TestWhatReachesBeyondVaultIsRefused by the name of the function.
func TestWhatReachesBeyondVaultIsRefused(t *testing.T) {
	tests := map[string]string{
		"file": `{{ file "/etc/passwd" }}`, "plugin": `{{ plugin "/bin/true" }}`, "writeToFile": `{{ "x" | writeToFile "/dev/shm/x" "" "" "0644" }}`,
		"key": `{{ key "x" }}`, "service": `{{ range service "web" }}{{ end }}`, "nomadVar": `{{ with nomadVar "x" }}{{ end }}`,
		"sockaddr": `{{ sockaddr "GetPrivateIP" }}`, "spew_dump": `{{ spew_dump 1 }}`, "caLeaf": `{{ caLeaf "x" }}`, "tree": `{{ tree "x" }}`,
		"ls": `{{ define "hidden" }}{{ if ls "x" }}{{ end }}{{ end }}`, "keyOrDefault": `{{ print (print (keyOrDefault "a" "b")) }}`,
		"newFunctionOfTomorrow": `{{ with $x := newFunctionOfTomorrow }}{{ end }}`,
	}
	for name, template := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := secrets.New(t.Context(), secrets.Config{
				Vault: session{}, Files: []secrets.File{{Path: filepath.Join(memory(t), "f"), Template: "\n" + template, Name: "app.tmpl"}},
			})
			if err == nil || !strings.Contains(err.Error(), "app.tmpl:2") || !strings.Contains(err.Error(), `"`+name+`" is refused`) {
				t.Errorf("error %v, expected one that names app.tmpl:2 and %s", err, name)
			}
		})
	}
}

// TestEqualQuestionsHaveOneAnswer shows that a key and its certificate may stand in two
// files, and that another set of names is another certificate.
func TestEqualQuestionsHaveOneAnswer(t *testing.T) {
	dir := memory(t)
	path := func(name string) string { return filepath.Join(dir, name) }
	const cert = `pkiCert "pki/issue/app" "common_name=app.internal" "ttl=1h"`
	s, err := secrets.New(t.Context(), secrets.Config{
		Vault: session{login(t, vault, "app")},
		App:   &app{},
		Files: []secrets.File{
			{Path: path("cert"), Template: `{{ with ` + cert + ` }}{{ .Cert }}{{ range .CAChain }}{{ . }}{{ end }}{{ end }}`},
			{Path: path("key"), Template: `{{ with ` + cert + ` }}{{ .Data.Key }}{{ end }}`},
			{Path: path("other"), Template: `{{ with secret "pki/issue/app" "common_name=other.internal" "alt_names=a.internal,b.internal" }}{{ .Data.private_key }}
{{ .Data.certificate }}{{ end }}`},
			{Path: path("one"), Template: `{{ with secret "auth/token/create" "ttl=1h" "policies=default" }}{{ .Auth.ClientToken }}{{ end }}`},
			{Path: path("two"), Template: `{{ with secret "auth/token/create" "ttl=1h" "policies=default" }}{{ .Auth.ClientToken }}{{ end }}`},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.X509KeyPair([]byte(content(t, path("cert"))), []byte(content(t, path("key")))); err != nil {
		t.Errorf("certificate and key do not fit: %v", err)
	}
	if _, err := tls.X509KeyPair([]byte(content(t, path("other"))), []byte(content(t, path("other")))); err != nil {
		t.Errorf("the other certificate and its key do not fit: %v", err)
	}
	if one, two := content(t, path("one")), content(t, path("two")); one != two || one == "" {
		t.Error("two templates have different tokens")
	}
	if leases := s.State().Leases; leases != 1 {
		t.Errorf("%d leases, expected 1", leases)
	}
	if until := time.Until(s.State().FreshUntil); until < 50*time.Minute || until > time.Hour {
		t.Errorf("fresh for %s, expected an hour", until)
	}
}

// TestChangesReachTheApplication by each way, once, and only if something changed.
func TestChangesReachTheApplication(t *testing.T) {
	write(t, "app/live", map[string]string{"password": "first"})
	dir := memory(t)
	told, log := &app{}, &journal{}
	const template = `{{ with secret "secret/app/live" }}{{ .Data.data.password }}{{ end }}`
	hup := secrets.Action{Verb: secrets.Signal, Signal: syscall.SIGHUP, Debounce: 50 * time.Millisecond}
	s, err := secrets.New(t.Context(), secrets.Config{
		Vault: session{login(t, vault, "app")}, App: told, Refresh: 50 * time.Millisecond, Log: log.logger(),
		Files: []secrets.File{
			{Path: filepath.Join(dir, "a"), Template: template, OnChange: hup},
			{Path: filepath.Join(dir, "b"), Template: template + "!", OnChange: hup},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	running(t, s)
	write(t, "app/live", map[string]string{"password": "first", "unrelated": "x"})
	write(t, "app/live", map[string]string{"password": "second"})
	await(t, "the signal", func() bool { return told.count("hangup") > 0 })
	if a, b := content(t, filepath.Join(dir, "a")), content(t, filepath.Join(dir, "b")); a != "second" || b != "second!" {
		t.Errorf("files hold %q and %q", a, b)
	}
	await(t, "no action to be left", func() bool { return s.State().Pending == 0 })
	if n := told.count("hangup"); n != 1 {
		t.Errorf("%d signals for two files, expected 1", n)
	}
	if strings.Contains(log.String(), "second") {
		t.Error("the log holds a secret")
	}
}

// TestEnvironmentAndInputAreRendered, and restart the application when they change.
func TestEnvironmentAndInputAreRendered(t *testing.T) {
	write(t, "app/env", map[string]string{"password": "one"})
	told := &app{}
	s, err := secrets.New(t.Context(), secrets.Config{
		Vault: session{login(t, vault, "app")}, App: told, Refresh: 50 * time.Millisecond,
		Env:   map[string]string{"DB_PASSWORD": `{{ with secret "secret/app/env" }}{{ .Data.data.password }}{{ end }}`, "A": "b"},
		Stdin: `{{ with secret "secret/app/env" }}in {{ .Data.data.password }}{{ end }}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"A=b", "DB_PASSWORD=one"}, s.Environment()); diff != "" {
		t.Error(diff)
	}
	if string(s.Stdin()) != "in one" {
		t.Errorf("input %q", s.Stdin())
	}
	running(t, s)
	write(t, "app/env", map[string]string{"password": "two"})
	await(t, "the restart", func() bool { return told.count("restart") > 0 })
	if diff := cmp.Diff([]string{"restart in two"}, told.heard()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"A=b", "DB_PASSWORD=two"}, told.env); diff != "" {
		t.Error(diff)
	}
}
