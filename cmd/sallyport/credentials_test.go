package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
)

// credentialTest is a gateway that shows a credential to a tool, and what the tool sees.
type credentialTest struct {
	*liveGatewayTest
	cookie *http.Cookie
}

// opened asks for the tool as somebody who is signed in.
func (c *credentialTest) opened(t *testing.T) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+notesHost+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.AddCookie(c.cookie)
	req.SetBasicAuth("the-clients", "own")
	res, err := c.client(t).Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(content)
}

// shows waits until the tool is shown want.
func (c *credentialTest) shows(t *testing.T, want string) {
	t.Helper()
	c.p.eventually(t, "the tool is shown what it expects", func() (string, bool) {
		status, body := c.opened(t)
		return fmt.Sprintf("%d %.60q", status, body), status == http.StatusOK && body == want
	})
}

// basicOf is what a tool is shown.
func basicOf(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// testLiveCredentials has a tool be shown a credential that is missing at first, changed
// well and badly, deleted, and replaced by one of another kind. Nothing but the tool ever
// sees any of it.
func testLiveCredentials(t *testing.T, s *stand) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Join(r.Header.Values("Authorization"), ", "))
	}))
	t.Cleanup(app.Close)
	beside, probes := free(t), free(t)
	sidecar := s.start(t, "sidecar", "--role", sidecarRole, "--role-id", s.roleIDs[sidecarRole], "--wrapping-token-file", s.introduce(t, sidecarRole).file,
		"--config", writeFile(t, t.TempDir(), "sidecar.yaml", fmt.Sprintf("name: %s\napp: %s\nlisten: %q\nadmin: %q\n", sidecarName, app.URL, beside, probes)))
	c := &credentialTest{&liveGatewayTest{stand: s, https: free(t), admin: free(t), place: "cases/credentials"}, s.signIn(t)}
	route := func(credentials string) string {
		return c.yaml("") + fmt.Sprintf("routes: [{name: notes, host: %s, backend: {url: 'https://%s', name: %s}, allow: {groups: [engineers]}, identity: {credentials: %s}}]\n",
			notesHost, beside, sidecarName, credentials)
	}
	c.writeKV(t, c.place+"/saml", s.saml)
	c.writeKV(t, c.place+"/session", s.session)
	c.configure(t, route("{basic: {path: "+c.place+"/tool}}"))
	intro := s.introduce(t, caseRole)
	c.p = s.startGateway(t, caseRole, intro.file, "vault:secret/"+c.place+"/gateway")
	c.p.eventually(t, "the gateway serves", func() (string, bool) {
		status, body, err := get(c.admin, "/readyz")
		return fmt.Sprint(body, err), status == http.StatusOK
	})
	sidecar.ready(t, probes)

	if status, body := c.opened(t); status != http.StatusServiceUnavailable || !strings.Contains(body, "credential_missing") || strings.Contains(body, c.place) {
		t.Errorf("without its credential the tool answers %d %q", status, body)
	}
	if c.p.told("credential for a tool is missing") != 1 {
		t.Error("a missing credential is not told of, once")
	}
	if _, body, _ := get(c.admin, "/readyz"); !strings.Contains(body, c.place+"/tool (credential)") {
		t.Errorf("/readyz says %q", body)
	}
	c.changeCredential(t)
	c.moveCredential(t, route)
	c.checkNothingShown(t, sidecar, intro.token)
}

// changeCredential writes versions of the secret, good and bad.
func (c *credentialTest) changeCredential(t *testing.T) {
	place := c.place + "/tool"
	write := func(user, password string) {
		c.writeKV(t, place, map[string]string{"username": user, "password": password})
		c.secrets = append(c.secrets, password, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
	}
	write("service", "canary-pw-1")
	c.shows(t, basicOf("service", "canary-pw-1"))
	write("service", "canary-pw-2")
	c.shows(t, basicOf("service", "canary-pw-2"))
	name := place + " (credential)"
	write("service", "canary-pw-3\n")
	c.refuses(t, name, "3", "password has a control character")
	c.writeKV(t, place, map[string]string{"username": "service"})
	c.refuses(t, name, "4", `field "password" of version 4 is absent`)
	c.shows(t, basicOf("service", "canary-pw-2"))
	c.call(t, "DELETE", "secret/data/"+place, nil, nil)
	c.p.eventually(t, "the deleted secret is told of", func() (string, bool) {
		state := c.follows(t, name)
		return fmt.Sprintf("%+v", state), strings.Contains(state.Cause, "is deleted") && state.Version == "2"
	})
	c.shows(t, basicOf("service", "canary-pw-2"))
	write("service", "canary-pw-5")
	c.shows(t, basicOf("service", "canary-pw-5"))
}

// moveCredential has the configuration name another secret, which is not there at first.
func (c *credentialTest) moveCredential(t *testing.T, route func(string) string) {
	c.configure(t, route("{bearer: {path: "+c.place+"/token, field: value}}"))
	c.refuses(t, c.place+"/gateway", "2", "there is no such secret")
	c.shows(t, basicOf("service", "canary-pw-5"))
	c.writeKV(t, c.place+"/token", map[string]string{"value": "canary-token-1"})
	c.secrets = append(c.secrets, "canary-token-1")
	c.p.signal(t, syscall.SIGHUP)
	c.shows(t, "Bearer canary-token-1")
	c.writeKV(t, c.place+"/token", map[string]string{"value": "canary-token-2"})
	c.secrets = append(c.secrets, "canary-token-2")
	c.shows(t, "Bearer canary-token-2")
	for _, state := range c.status(t).Followed {
		if strings.Contains(state.Name, c.place+"/tool") {
			t.Errorf("a secret that nobody names is followed: %+v", state)
		}
	}
}

// checkNothingShown looks for the credentials in everything that both processes tell.
func (c *credentialTest) checkNothingShown(t *testing.T, sidecar *process, token string) {
	for _, page := range []string{"/metrics", "/status", "/readyz"} {
		_, body, err := get(c.admin, page)
		if what, found := leak(body, c.secrets); err != nil || found {
			t.Errorf("%s shows a credential (%s), %v:\n%s", page, what, err, body)
		}
	}
	if status, body := whoami(t, c); strings.Contains(body, "canary") {
		t.Errorf("whoami answers %d %s", status, body)
	}
	c.checkNoSecret(t, c.p, append(c.secrets, token)...)
	c.checkNoSecret(t, sidecar, c.secrets...)
}

// whoami asks what the gateway knows of whoever is signed in.
func whoami(t *testing.T, c *credentialTest) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, "https://"+notesHost+"/.sallyport/whoami", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.AddCookie(c.cookie)
	res, err := c.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(content)
}
