package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// driverRole is the secret driver's own AppRole.
const driverRole = "sallyport-secret-driver"

// addDriver makes the driver's AppRole, with the policy that the product prints.
func (s *stand) addDriver(t *testing.T) (roleID string) {
	t.Helper()
	p := s.start(t, "introduce", "policy", "--renew", "--role", gatewayRole, "--heir", driverRole)
	if code := p.wait(t); code != exitOK {
		t.Fatalf("exit code %d\n%s", code, p.err.String())
	}
	s.call(t, "PUT", "sys/policies/acl/"+driverRole, map[string]string{"policy": p.out.String()}, nil)
	s.call(t, "POST", "auth/approle/role/"+driverRole, map[string]any{
		"token_policies": []string{driverRole}, "token_no_default_policy": true, "token_period": "1h", "secret_id_num_uses": 1,
	}, nil)
	var answer struct {
		Data struct {
			RoleID string `json:"role_id"`
		}
	}
	s.call(t, "GET", "auth/approle/role/"+driverRole+"/role-id", nil, &answer)
	return answer.Data.RoleID
}

// socketDir returns a folder whose path leaves room for a socket's name.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// driverYAML allows the gateway's role to one service.
func driverYAML(t *testing.T, socket, admin string) string {
	t.Helper()
	return writeFile(t, t.TempDir(), "secret-driver.yaml", fmt.Sprintf("socket: %s\nadmin: %q\nroles: [{role: %s, services: [edge_gateway]}]\n", socket, admin, gatewayRole))
}

// overSocket returns a client of whoever listens on a Unix socket.
func overSocket(socket string) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
}

// askDriver asks as the engine does, for a task of a service.
func askDriver(t *testing.T, socket, service, task string) (value, public string) {
	t.Helper()
	labels := map[string]string{"sallyport.role": gatewayRole}
	raw, err := json.Marshal(map[string]any{"SecretName": "token", "SecretLabels": labels, "ServiceName": service, "ServiceLabels": labels, "TaskID": task})
	if err != nil {
		t.Fatal(err)
	}
	res, err := overSocket(socket).Post("http://plugin/SecretProvider.GetSecret", "application/json", bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Value []byte
		Err   string
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return string(answer.Value), answer.Err
}

// testSecretDriver lives a whole life: introduced by a token of its own, asked,
// stopped.
func testSecretDriver(t *testing.T, s *stand) {
	roleID := s.addDriver(t)
	intro := s.introduce(t, driverRole)
	socket, admin := filepath.Join(socketDir(t), "plugins", "sallyport.sock"), free(t)
	p := s.start(t, "secret-driver", "--config", driverYAML(t, socket, admin), "--role-id", roleID, "--wrapping-token-file", intro.file)
	p.ready(t, admin)
	first, _ := askDriver(t, socket, "edge_gateway", "task1")
	again, _ := askDriver(t, socket, "edge_gateway", "task1")
	second, _ := askDriver(t, socket, "edge_gateway", "task2")
	if first == "" || first != again || first == second || !s.usable(t, first) || !s.usable(t, second) {
		t.Errorf("a task does not have one usable token of its own\n%s", p.err.String())
	}
	if value, public := askDriver(t, socket, "edge_other", "task3"); value != "" || public != "sallyport: this service may not have that" {
		t.Errorf("another service: %q %q", value, public)
	}
	_, metrics, err := get(admin, "/metrics")
	for _, want := range []string{
		`sallyport_secret_driver_requests_total{kind="introduction",result="issued"} 2`, `{kind="introduction",result="repeated"} 1`,
		`{kind="",result="service_not_allowed"} 1`, "sallyport_secret_driver_remembered 2", "sallyport_ready 1", "sallyport_vault_token_expiry_seconds",
	} {
		if err != nil || !strings.Contains(metrics, want) {
			t.Errorf("metrics lack %s (%v)", want, err)
		}
	}
	p.signal(t, os.Interrupt)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d\n%s", code, p.err.String())
	}
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	checkClosed(t, admin)
	if what, found := leak(p.err.String(), []string{s.vault.RootToken, first, second, intro.token}, roleID); found {
		t.Errorf("the log holds a secret, %s:\n%s", what, p.err.String())
	}
}

// driverToken makes a token that an agent could have logged in for.
func (s *stand) driverToken(t *testing.T) (token, accessor string) {
	t.Helper()
	s.addDriver(t)
	var created struct {
		Auth struct {
			ClientToken string `json:"client_token"`
			Accessor    string
		}
	}
	body := map[string]any{"policies": []string{driverRole}, "no_default_policy": true, "period": "1h"}
	s.call(t, "POST", "auth/token/create", body, &created)
	return created.Auth.ClientToken, created.Auth.Accessor
}

// testSecretDriverTokenFile has an agent write one token after the other.
func testSecretDriverTokenFile(t *testing.T, s *stand) {
	socket, admin := filepath.Join(socketDir(t), "s"), free(t)
	token, accessor := s.driverToken(t)
	file := writeFile(t, t.TempDir(), "token", token+"\n")
	p := s.start(t, "secret-driver", "--config", driverYAML(t, socket, admin), "--auth-method", "token-file", "--token-file", file)
	p.ready(t, admin)
	if value, public := askDriver(t, socket, "edge_gateway", "task1"); value == "" {
		t.Errorf("with the first token: %q", public)
	}
	next, _ := s.driverToken(t)
	s.call(t, "POST", "auth/token/revoke-accessor", map[string]string{"accessor": accessor}, nil)
	if err := os.WriteFile(file, []byte(next), 0o600); err != nil {
		t.Fatal(err)
	}
	p.eventually(t, "the next token is used", func() (string, bool) {
		value, public := askDriver(t, socket, "edge_gateway", "task2")
		return public, value != ""
	})
	s.checkNoSecret(t, p, token, next)
}

// testSecretDriverHeir starts a driver twice with one introduction: as after a
// reboot of a manager.
func testSecretDriverHeir(t *testing.T, s *stand) {
	roleID := s.addDriver(t)
	intro := s.introduce(t, driverRole)
	socket, heir := filepath.Join(socketDir(t), "s"), filepath.Join(t.TempDir(), "heir")
	for start := range 2 {
		admin := free(t)
		p := s.start(t, "secret-driver", "--config", driverYAML(t, socket, admin), "--role-id", roleID, "--wrapping-token-file", intro.file,
			"--heir-file", heir, "--unsafe-heir-on-disk")
		p.ready(t, admin)
		if value, public := askDriver(t, socket, "edge_gateway", fmt.Sprint("task", start)); value == "" {
			t.Errorf("start %d: %q", start, public)
		}
		p.eventually(t, "the heir is there", func() (string, bool) {
			content, err := os.ReadFile(heir)
			return fmt.Sprint(err), strings.Contains(string(content), `"heirs":[{`)
		})
		p.signal(t, os.Interrupt)
		if code := p.wait(t); code != exitOK {
			t.Fatalf("exit code %d\n%s", code, p.err.String())
		}
	}
}

// testSecretDriverConfig changes the allow-list of a driver that serves: for one
// with a fault, for one that needs a restart, for a good one.
func testSecretDriverConfig(t *testing.T, s *stand) {
	socket, admin := filepath.Join(socketDir(t), "s"), free(t)
	file := driverYAML(t, socket, admin)
	first := read(t, file)
	token, _ := s.driverToken(t)
	p := s.start(t, "secret-driver", "--config", file, "--auth-method", "token-file", "--token-file", writeFile(t, t.TempDir(), "token", token))
	p.ready(t, admin)
	for content, remark := range map[string]string{
		first + "role: x\n":                             "role: found an unknown key",
		strings.Replace(first, admin, "127.0.0.1:9", 1): "start again to change them",
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		p.eventually(t, "/readyz has the remark", func() (string, bool) {
			_, body, err := get(admin, "/readyz")
			return body + fmt.Sprint(err), strings.HasPrefix(body, "ready, serving with what is held") && strings.Contains(body, remark)
		})
		if value, _ := askDriver(t, socket, "edge_gateway", "task1"); value == "" {
			t.Error("what was in use is not any more")
		}
	}
	if _, metrics, err := get(admin, "/metrics"); err != nil || !strings.Contains(metrics, "sallyport_source_fault{source=\""+file+"\"} 1") {
		t.Errorf("metrics have no fault of the source (%v)", err)
	}
	checkMetrics(t, admin, "sallyport_config_last_reload_successful 0")
	if err := os.WriteFile(file, []byte(strings.Replace(first, "edge_gateway", "edge_other", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	p.eventually(t, "another service is allowed", func() (string, bool) {
		value, public := askDriver(t, socket, "edge_other", "task2")
		return public, value != ""
	})
	if value, public := askDriver(t, socket, "edge_gateway", "task1"); value != "" {
		t.Errorf("the service that was allowed before still is: %q", public)
	}
	p.ready(t, admin)
}

// testSecretDriverFails looks at starts that cannot be; none uses an introduction.
func testSecretDriverFails(t *testing.T, s *stand) {
	dir := socketDir(t)
	inTheWay := writeFile(t, dir, "file", "")
	intro := s.introduce(t, gatewayRole)
	for name, test := range map[string]struct {
		config string
		args   []string
		code   int
		says   string
	}{
		"a file is in the way":     {driverYAML(t, inTheWay, free(t)), []string{"--role-id", "x", "--wrapping-token-file", intro.file}, exitFailure, "there is a file that is no socket\nhint: run one driver per engine"},
		"the admin port is taken":  {driverYAML(t, filepath.Join(dir, "a"), strings.TrimPrefix(s.vault.Address, "https://")), []string{"--role-id", "x", "--wrapping-token-file", intro.file}, exitFailure, "listening for probes and metrics"},
		"no token file":            {driverYAML(t, filepath.Join(dir, "b"), free(t)), []string{"--auth-method", "token-file", "--token-file", "/nosuch"}, exitNoToken, "hint: look whether the agent that writes the file runs"},
		"a gateway's file":         {s.yamlFile(t, ""), []string{"--role-id", "x"}, exitUsage, "door: found an unknown key"},
		"no RoleID and no token":   {driverYAML(t, filepath.Join(dir, "c"), free(t)), nil, exitUsage, "flag --role-id is missing"},
		"a token of another role":  {driverYAML(t, filepath.Join(dir, "d"), free(t)), []string{"--role-id", "x", "--wrapping-token-file", intro.file}, exitForged, `expected "auth/approle/role/sallyport-secret-driver/secret-id"`},
		"a configuration in Vault": {"vault:secret/sallyport/driver", []string{"--role-id", "x"}, exitUsage, "is in Vault, expected a file"},
	} {
		p := s.start(t, append([]string{"secret-driver", "--config", test.config}, test.args...)...)
		if code := p.wait(t); code != test.code || !strings.Contains(p.err.String(), test.says) {
			t.Errorf("%s: exit code %d, expected %d and %q:\n%s", name, code, test.code, test.says, p.err.String())
		}
	}
	if !s.usable(t, intro.token) {
		t.Error("the introduction is used up")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("something is left in the folder: %v (%v)", entries, err)
	}
}

// testIntroduceFlags looks at what Vault knows of a SecretID that was bound.
func testIntroduceFlags(t *testing.T, s *stand) {
	p := s.start(t, "introduce", "--role", gatewayRole, "--token-file", s.tokenFile, "--cidr", "10.0.3.0/24", "--cidr", "fd00::/8",
		"--metadata", "deployer=ci", "--metadata", "run=a=b")
	if code := p.wait(t); code != exitOK {
		t.Fatalf("exit code %d\n%s", code, p.err.String())
	}
	var unwrapped struct {
		Data struct {
			SecretID string `json:"secret_id"`
		}
	}
	s.call(t, "PUT", "sys/wrapping/unwrap", map[string]string{"token": strings.TrimSpace(p.out.String())}, &unwrapped)
	var looked struct {
		Data struct {
			CIDRs    []string          `json:"cidr_list"`
			Bound    []string          `json:"token_bound_cidrs"`
			Metadata map[string]string `json:"metadata"`
		}
	}
	s.call(t, "POST", "auth/approle/role/"+gatewayRole+"/secret-id/lookup", map[string]string{"secret_id": unwrapped.Data.SecretID}, &looked)
	if got, want := fmt.Sprint(looked.Data), "{[10.0.3.0/24 fd00::/8] [10.0.3.0/24 fd00::/8] map[deployer:ci run:a=b]}"; got != want {
		t.Errorf("vault knows %s, expected %s", got, want)
	}
}

// testIntroduceDocker stores an introduction in an engine that answers as a real
// one does; real ones are asked in deploy/dev/swarm.
func testIntroduceDocker(t *testing.T, s *stand) {
	socket := filepath.Join(socketDir(t), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	type secret struct {
		Name   string
		Labels map[string]string
		Data   []byte
	}
	made := make(chan secret, 2)
	var status atomic.Int32
	status.Store(http.StatusCreated)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, `[]`)
			return
		}
		var stored secret
		if err := json.NewDecoder(r.Body).Decode(&stored); err != nil {
			t.Error(err)
		}
		made <- stored
		w.WriteHeader(int(status.Load()))
		_, _ = io.WriteString(w, `{"ID":"abc","message":"the engine is out of sorts"}`)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	delivered := func() secret { // by a process that has ended
		select {
		case stored := <-made:
			return stored
		default:
			t.Fatal("the engine got no secret")
			return secret{}
		}
	}

	args := []string{"introduce", "--role", gatewayRole, "--token-file", s.tokenFile, "--docker-secret", "gateway_token", "--docker-host", "unix://" + socket}
	p := s.start(t, args...)
	if code := p.wait(t); code != exitOK || p.out.String() != "" || !strings.Contains(p.err.String(), "docker secret gateway_token (abc) made: start the task within 5m0s") {
		t.Errorf("exit code %d, output %q\n%s", code, p.out.String(), p.err.String())
	}
	stored := delivered()
	token := string(stored.Data)
	if !s.usable(t, token) || stored.Name != "gateway_token" || stored.Labels["sallyport.role"] != gatewayRole || strings.Contains(p.err.String(), token) {
		t.Errorf("stored %q with labels %v, or the token was shown:\n%s", stored.Name, stored.Labels, p.err.String())
	}

	status.Store(http.StatusInternalServerError)
	p = s.start(t, args...)
	if code := p.wait(t); code != exitFailure || !strings.Contains(p.err.String(), "the engine answers 500: the engine is out of sorts\nhint: nothing was delivered, and the token is revoked") {
		t.Errorf("exit code %d\n%s", code, p.err.String())
	}
	if s.usable(t, string(delivered().Data)) {
		t.Error("the token that was not delivered is still usable")
	}
	p = s.start(t, append(args[:len(args)-1:len(args)-1], "unix://"+socket+"-nobody")...)
	if code := p.wait(t); code != exitFailure || !strings.Contains(p.err.String(), "no container engine answers on "+socket+"-nobody") || !strings.Contains(p.err.String(), "hint: name the engine's socket by --docker-host") {
		t.Errorf("nobody there: exit code %d\n%s", code, p.err.String())
	}
}
