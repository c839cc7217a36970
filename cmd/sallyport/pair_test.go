package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/session"
)

// shortLife is what Vault grants tokens and certificates where a test watches them
// being renewed. What is left when a renewal is due, a third at least, must leave
// time for a call that gets no answer in its ten seconds, and for another.
const shortLife = "90s"

// shortenLives has Vault grant less than is asked for: tokens of that life, and
// certificates of shortLife.
func (s *stand) shortenLives(t *testing.T, token string) {
	t.Helper()
	for _, role := range []string{gatewayRole, sidecarRole} {
		s.call(t, "POST", "auth/approle/role/"+role, map[string]any{"token_period": token}, nil)
	}
	for _, mount := range []string{"pki-edge", "pki-backend"} {
		var roles struct{ Data struct{ Keys []string } }
		s.call(t, "LIST", mount+"/roles", nil, &roles)
		for _, name := range roles.Data.Keys {
			var role struct{ Data map[string]any }
			s.call(t, "GET", mount+"/roles/"+name, nil, &role)
			role.Data["ttl"], role.Data["max_ttl"], role.Data["not_before_duration"] = shortLife, shortLife, "1s"
			s.call(t, "POST", mount+"/roles/"+name, role.Data, nil)
		}
	}
}

// pair is a gateway and a sidecar that serve one tool, and somebody who is signed
// in to it and never stops asking.
type pair struct {
	stand            *stand
	config           string // the gateway's file
	gateway, sidecar *process
	https, admin     string // of the gateway
	beside, probes   string // of the sidecar
	trickle          *trickle
}

// startPair starts both with the given flags about Vault, and the trickle when
// they are ready.
func startPair(t *testing.T, s *stand, vault ...string) *pair {
	t.Helper()
	p := startPairWith(t, s, func(string) []string { return vault })
	p.trickle = startTrickle(t, p)
	return p
}

// startPairWith starts both, with the flags for each that more returns, and
// returns when they are ready.
func startPairWith(t *testing.T, s *stand, more func(process string) []string) *pair {
	t.Helper()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			stream(w, r)
			return
		}
		_, _ = io.WriteString(w, "hello "+r.Header.Get("X-Forwarded-User"))
	}))
	t.Cleanup(app.Close)
	return startPairBefore(t, s, app.URL, "session: {idle: 30m}\nvault: {refresh: 2s, edge_pki: {ttl: 5m}, backend_pki: {ttl: 5m}}\n", more)
}

// startPairBefore starts both before a tool that runs at app. The gateway's
// configuration has yaml at its end.
func startPairBefore(t *testing.T, s *stand, app, yaml string, more func(process string) []string) *pair {
	t.Helper()
	p := &pair{stand: s, https: free(t), admin: free(t), beside: free(t), probes: free(t)}
	sidecar := fmt.Sprintf("name: %s\napp: %s\nlisten: %q\nadmin: %q\npki: {ttl: 5m}\n", sidecarName, app, p.beside, p.probes)
	p.sidecar = s.start(t, append([]string{
		"sidecar", "--role", sidecarRole, "--role-id", s.roleIDs[sidecarRole], "--wrapping-token-file", s.introduce(t, sidecarRole).file,
		"--config", writeFile(t, t.TempDir(), "sidecar.yaml", sidecar),
	}, more("sidecar")...)...)
	yaml = strings.Replace(gatewayYAML(p.https, p.admin, yaml), "https://127.0.0.1:1", "https://"+p.beside, 1)
	p.config = writeFile(t, t.TempDir(), "gateway.yaml", yaml)
	p.gateway = s.startGateway(t, gatewayRole, s.introduce(t, gatewayRole).file, p.config, more("gateway")...)
	p.sidecar.ready(t, p.probes)
	p.gateway.ready(t, p.admin)
	return p
}

// stream is an answer that goes on for as long as somebody listens.
func stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		_, _ = io.WriteString(w, "data: "+r.Header.Get("X-Forwarded-User")+"\n\n")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

// both calls f for each process.
func (p *pair) both(f func(*process)) {
	for _, process := range []*process{p.gateway, p.sidecar} {
		f(process)
	}
}

// told counts the lines of a process's log with this message.
func (p *process) told(msg string) int {
	n := 0
	for _, line := range p.log() {
		if line.Msg == msg {
			n++
		}
	}
	return n
}

// The lines by which a process tells how it gets on with Vault.
const (
	tokenRenewed       = "vault token renewed"
	tokenNotRenewed    = "renewing the vault token did not succeed"
	certificateRenewed = "certificate renewed"
	certificateNot     = "renewing the certificate did not succeed"
)

// tallies counts lines of both processes, by message.
type tallies map[*process]map[string]int

// tally counts what both have said about their renewals so far.
func (p *pair) tally() tallies {
	counted := tallies{}
	p.both(func(process *process) {
		counted[process] = map[string]int{}
		for _, msg := range []string{tokenRenewed, tokenNotRenewed, certificateRenewed, certificateNot} {
			counted[process][msg] = process.told(msg)
		}
	})
	return counted
}

// since says whether both processes have logged each message again since earlier.
func (p *pair) since(earlier tallies, messages ...string) bool {
	again, now := true, p.tally()
	p.both(func(process *process) {
		for _, msg := range messages {
			again = again && now[process][msg] > earlier[process][msg]
		}
	})
	return again
}

// check ends the trickle, and fails the test if a single request failed, if the
// gateway is not ready, or if a process shows a secret.
func (p *pair) check(t *testing.T, secrets ...string) {
	t.Helper()
	asked, failures := p.trickle.end()
	if asked < 50 || len(failures) > 0 {
		t.Errorf("%d requests, %d of them failed, want at least 50 and none:\n%s", asked, len(failures), strings.Join(failures[:min(len(failures), 10)], "\n"))
	}
	if status, body, err := get(p.admin, "/readyz"); status != http.StatusOK || err != nil {
		t.Errorf("/readyz: status %d, body %q, error %v", status, body, err)
	}
	p.both(func(process *process) {
		p.stand.checkNoSecret(t, process, secrets...)
		if t.Failed() {
			t.Logf("%s:\n%s", process.cmd.Args[1], process.err.String())
		}
	})
}

// trickle is one person who asks again and again.
type trickle struct {
	stop     context.CancelFunc
	done     chan struct{}
	asked    int      // read both after done
	failures []string // with their times
}

// startTrickle asks three times a second, every second time on a new connection: many
// trickle at once, and what an outage costs lasts for seconds.
func startTrickle(t *testing.T, p *pair) *trickle {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	tr := &trickle{stop: stop, done: make(chan struct{})}
	transport := p.stand.transportTo(t, p.https)
	cookie := p.stand.signIn(t)
	go func() {
		defer close(tr.done)
		defer transport.CloseIdleConnections()
		tick := time.NewTicker(300 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if tr.asked%2 == 0 {
				transport.CloseIdleConnections()
			}
			tr.asked++
			// The last request is answered too: its context is not the trickle's.
			if fault := askSignedIn(context.WithoutCancel(ctx), transport, cookie); fault != "" {
				tr.failures = append(tr.failures, time.Now().UTC().Format(time.RFC3339Nano)+" "+fault)
			}
		}
	}()
	t.Cleanup(func() { tr.end() })
	return tr
}

// transportTo reaches every host of the gateway that listens at an address.
func (s *stand) transportTo(t *testing.T, address string) *http.Transport {
	t.Helper()
	return &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.roots(t, "pki-edge"), MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		},
	}
}

// end stops asking and returns what came of it. It may be called again.
func (tr *trickle) end() (asked int, failures []string) {
	tr.stop()
	<-tr.done
	return tr.asked, tr.failures
}

// askSignedIn makes one request and returns what is wrong with the answer.
func askSignedIn(ctx context.Context, transport http.RoundTripper, cookie *http.Cookie) string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+notesHost+"/", nil)
	if err != nil {
		return err.Error()
	}
	req.AddCookie(cookie)
	res, err := transport.RoundTrip(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || string(body) != "hello alice@example.com" {
		return fmt.Sprintf("status %d, error %v: %.300q", res.StatusCode, err, body)
	}
	return ""
}

// signIn returns the cookie of somebody who is signed in to the tool, sealed with
// the gateway's own key.
func (s *stand) signIn(t *testing.T) *http.Cookie {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(s.session[fieldCurrentKey])
	if err != nil {
		t.Fatal(err)
	}
	manager, err := session.New(session.Config{
		Keys: session.Keys{Current: key}, Hosts: []string{doorHost, notesHost}, Idle: 30 * time.Minute, Absolute: 8 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	r, w := httptest.NewRequest(http.MethodGet, "https://"+notesHost+"/", nil), httptest.NewRecorder()
	state := manager.Start(r, session.State{User: "alice@example.com", Groups: []string{"engineers"}, IdP: "https://idp.example.com/metadata", AuthnAt: time.Now().Unix()}, time.Time{})
	if err := manager.Save(w, r, notesHost, state); err != nil {
		t.Fatal(err)
	}
	cookies := w.Result().Cookies()
	at := slices.IndexFunc(cookies, func(c *http.Cookie) bool { return c.Name == session.CookieName })
	if at < 0 {
		t.Fatalf("no session among the cookies %v", cookies)
	}
	return cookies[at]
}
