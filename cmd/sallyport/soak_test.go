package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/session"
)

// soakFor is how long the soak goes on; it goes through everything once at least.
var soakFor = flag.Duration("soak", 0, "how long TestSoak goes on; it goes through everything once at least")

// settle is longer than a process takes to see a change: secrets are read every two
// seconds, and the roots of a mount every thirty.
const settle = "36s"

// TestSoak is months of a company's life in minutes: leaves of a minute, tokens of
// half a minute, a Vault that goes away, and everything that can be rotated
// rotated, while people use a tool. No request fails, nobody is signed out, and
// nobody does anything but what an operator does to Vault.
func TestSoak(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.shortenLives(t, "30s")
	heirs := onTmpfs(t)
	p := startPairWith(t, s, func(process string) []string {
		return []string{"--heir-file", filepath.Join(heirs, process+".heir"), "--heir-ttl", "10m"}
	})
	c := newCrowd(t, p)
	k := &soak{t: t, stand: s, pair: p, crowd: c, began: time.Now(), rotated: map[string]bool{}}
	for pass := 1; pass == 1 || time.Since(k.began) < *soakFor; pass++ {
		k.pass()
	}
	k.step("another while", func() { k.waitRenewals(certificateRenewed, tokenRenewed) })
	asked, failures := c.end()
	t.Logf("what happened when:\n%s", k.table.String())
	t.Logf("%d requests and %d lines of a stream in %s; %d failed", asked, c.lines.Load(), time.Since(k.began).Round(time.Second), len(failures))
	if len(failures) > 0 || asked < 100 {
		t.Errorf("%d requests, want at least 100; failures (%d):\n%s", asked, len(failures), strings.Join(failures[:min(len(failures), 20)], "\n"))
	}
	if t.Failed() {
		p.both(func(process *process) { t.Logf("%s:\n%s", process.cmd.Args[1], process.err.String()) })
	}
	k.restartByHeir(heirs)
	p.both(func(process *process) { s.checkNoSecret(t, process) })
}

// soak is what an operator does to Vault, and a table of it.
type soak struct {
	t     *testing.T
	stand *stand
	pair  *pair
	crowd *crowd
	began time.Time
	table strings.Builder

	rotated map[string]bool // keys
}

// pass goes through everything once.
func (k *soak) pass() {
	t, s := k.t, k.stand
	k.step("configuration changes", k.changeConfiguration)
	k.step("session key rotated", func() { k.rotateKey("session-key") })
	k.step("service provider's key rotated", func() { k.rotateKey("sp-key", "--idp-has-new-metadata") })
	k.step("Vault restarts", func() {
		if err := s.vault.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	k.step("certificates renewed by hand", func() { k.command("certificates", "renew", "--all", "--admin-url", "http://"+k.pair.admin) })
	k.step("tokens revoked", k.revokeTokens)
	k.step("Vault sealed for ten seconds", k.sealForAWhile)
	if *soakFor > 0 { // the rotation of a root makes an intermediate too
		k.step("intermediates rotated", func() { k.rotateAuthorities("intermediate") })
	}
	k.step("roots rotated", func() { k.rotateAuthorities("root") })
	k.step("tokens revoked again", k.revokeTokens)
}

// step does one thing and notes it.
func (k *soak) step(name string, do func()) {
	k.t.Helper()
	start := time.Now()
	asked, failed := k.crowd.counts()
	do()
	askedNow, failedNow := k.crowd.counts()
	_, _ = fmt.Fprintf(&k.table, "%8s  %-32s %6s  %5d requests, %d failed\n", start.Sub(k.began).Round(time.Second), name,
		time.Since(start).Round(100*time.Millisecond), askedNow-asked, failedNow-failed)
}

// command runs one command of the product to its end.
func (k *soak) command(args ...string) string {
	k.t.Helper()
	p := k.stand.start(k.t, args...)
	if code := p.wait(k.t); code != exitOK {
		k.t.Fatalf("%v: exit code %d\n%s%s", args, code, p.out.String(), p.err.String())
	}
	return p.out.String()
}

// rotation is the command line for a rotation.
func (k *soak) rotation(what, settle string, args ...string) []string {
	return append([]string{
		"provision", "rotate", what, "--config", filepath.Join(k.stand.dir, "provision.yaml"), "--token-file", k.stand.tokenFile, "--settle", settle,
	}, args...)
}

// rotateKey does the steps of a key's rotation that wait for nobody's session. A
// session key is in use for as long as the longest session of the pass before.
func (k *soak) rotateKey(what string, args ...string) {
	k.t.Helper()
	if k.rotated[what] {
		return
	}
	var out string
	for range 5 { // at first the last change may be recent; next, switch
		out += k.command(k.rotation(what, "4s", args...)...)
		wait(5 * time.Second)
		if strings.Contains(out, "done: switch: ") {
			break
		}
	}
	k.tell(out)
	if k.rotated[what] = strings.Contains(out, "done: switch: "); !k.rotated[what] {
		k.t.Fatalf("the %s is not rotated\n%s", what, out)
	}
}

// rotateAuthorities goes through all steps on both sides at once.
func (k *soak) rotateAuthorities(what string) {
	k.t.Helper()
	var both sync.WaitGroup
	outs := map[string]*string{"backend": new(string), "edge": new(string)}
	for side, out := range outs {
		both.Go(func() { *out = k.rotateSide(what, side) })
	}
	both.Wait()
	for side, out := range outs {
		k.tell(*out)
		if !strings.Contains(*out, "done: retire: ") {
			k.t.Fatalf("the %s of the side %s is not rotated\n%s", what, side, *out)
		}
	}
}

// rotateSide rotates one side, once the rotation before has come to rest.
func (k *soak) rotateSide(what, side string) (out string) {
	for deadline := time.Now().Add(10 * time.Minute); time.Now().Before(deadline); wait(5 * time.Second) {
		p := k.stand.start(k.t, k.rotation(what, settle, "--side", side, "--wait")...)
		select {
		case <-p.done:
		case <-time.After(time.Until(deadline)):
		}
		if out = p.out.String() + p.err.String(); !strings.Contains(out, "another can begin in ") || strings.Contains(out, "done: ") {
			break
		}
	}
	return out
}

// tell puts what a rotation did into the table.
func (k *soak) tell(out string) {
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "done: ") {
			k.table.WriteString("              " + line)
		}
	}
}

// changeConfiguration writes another title for the tool, as an editor does.
func (k *soak) changeConfiguration() {
	text := read(k.t, k.pair.config)
	changed := strings.Replace(text, "  - name: notes\n", fmt.Sprintf("  - name: notes\n    title: Notes of %d\n", time.Now().UnixNano()), 1)
	before := k.pair.gateway.told("new version in use")
	temporary := k.pair.config + ".new"
	if err := os.WriteFile(temporary, []byte(changed), 0o600); err != nil {
		k.t.Fatal(err)
	}
	if err := os.Rename(temporary, k.pair.config); err != nil {
		k.t.Fatal(err)
	}
	k.pair.gateway.eventually(k.t, "the configuration is in use", func() (string, bool) {
		return "", k.pair.gateway.told("new version in use") > before
	})
	// The next pass replaces the same line.
	if err := os.WriteFile(k.pair.config, []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

// revokeTokens revokes every token of both processes, and waits until both have
// logged in afresh.
func (k *soak) revokeTokens() {
	t, s := k.t, k.stand
	before := map[*process]int{}
	k.pair.both(func(p *process) { before[p] = p.told("logged in") })
	var accessors struct{ Data struct{ Keys []string } }
	s.call(t, "LIST", "auth/token/accessors", nil, &accessors)
	for _, accessor := range accessors.Data.Keys {
		var token struct {
			Data struct{ Meta map[string]string }
		}
		body := map[string]string{"accessor": accessor}
		if s.vault.Call(t.Context(), "POST", "auth/token/lookup-accessor", body, &token) != nil {
			continue // it has just ended
		}
		if role := token.Data.Meta["role_name"]; role == gatewayRole || role == sidecarRole {
			s.call(t, "POST", "auth/token/revoke-accessor", body, nil)
		}
	}
	k.pair.both(func(p *process) {
		p.eventually(t, "it logs in afresh", func() (string, bool) { return "", p.told("logged in") > before[p] })
	})
}

func (k *soak) sealForAWhile() {
	if err := k.stand.vault.Seal(k.t.Context()); err != nil {
		k.t.Fatal(err)
	}
	wait(10 * time.Second)
	k.pair.gateway.eventually(k.t, "/readyz says what is wrong, and until when the gateway serves", func() (string, bool) {
		status, body, _ := get(k.pair.admin, "/readyz")
		return body, status == http.StatusOK && strings.Contains(body, "sealed") && strings.Contains(body, "first hard stop 20")
	})
	if err := k.stand.vault.Unseal(k.t.Context()); err != nil {
		k.t.Fatal(err)
	}
	k.waitRenewals(tokenRenewed)
}

// waitRenewals waits until both processes have told of this again.
func (k *soak) waitRenewals(messages ...string) {
	k.t.Helper()
	before := k.pair.tally()
	deadline := time.Now().Add(2 * time.Minute)
	for !k.pair.since(before, messages...) {
		if time.Now().After(deadline) {
			k.t.Fatalf("waiting for %q of both processes: they do not come", messages)
		}
		wait(200 * time.Millisecond)
	}
}

// restartByHeir starts the gateway once more, with no introduction at all.
func (k *soak) restartByHeir(heirs string) {
	t, s := k.t, k.stand
	k.pair.gateway.signal(t, syscall.SIGTERM)
	if code := k.pair.gateway.wait(t); code != exitOK {
		t.Errorf("the gateway's exit code is %d", code)
	}
	k.pair.gateway = s.startGateway(t, gatewayRole, filepath.Join(t.TempDir(), "nothing"), k.pair.config, "--heir-file", filepath.Join(heirs, "gateway.heir"))
	k.pair.gateway.ready(t, k.pair.admin)
	if fault := k.crowd.people[0].ask(t.Context(), "/"); fault != "" {
		t.Errorf("after a restart: %s", fault)
	}
}

// wait lets real processes get on with their work. It is a Sleep by another name,
// and forbidigo bans those for a reason: here the time that passes is the test, or
// the pause between two looks. What a test waits for, it looks for.
func wait(d time.Duration) {
	timer := time.NewTimer(d)
	<-timer.C
}

// onTmpfs returns a folder of its own in memory.
func onTmpfs(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "sallyport-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// issuers are all authorities of a mount: what is given to browsers while a root
// is rotated.
func (s *stand) issuers(ctx context.Context, mount string) (*x509.CertPool, error) {
	var list struct{ Data struct{ Keys []string } }
	if err := s.vault.Call(ctx, "LIST", mount+"/issuers", nil, &list); err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, id := range list.Data.Keys {
		var issuer struct{ Data struct{ Certificate string } }
		if err := s.vault.Call(ctx, "GET", mount+"/issuer/"+id, nil, &issuer); err != nil {
			return nil, err
		}
		pool.AppendCertsFromPEM([]byte(issuer.Data.Certificate))
	}
	return pool, nil
}

// crowd is people who are signed in and do not stop asking.
type crowd struct {
	https  string
	roots  atomic.Pointer[x509.CertPool]
	people []*person
	lines  atomic.Int64 // of the stream

	stop context.CancelFunc
	done sync.WaitGroup

	mu       sync.Mutex // guards the rest
	asked    int
	failures []string
}

// person is one of them, with a browser of his own.
type person struct {
	crowd     *crowd
	transport *http.Transport
	mu        sync.Mutex // guards cookie
	cookie    *http.Cookie
	keeps     bool // the first cookie, whatever the gateway sends
}

// newCrowd signs three people in: one keeps his first cookie, one takes what the
// gateway sends, and one looks at a stream that must not end.
func newCrowd(t *testing.T, p *pair) *crowd {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	c := &crowd{https: p.https, stop: stop}
	roots, err := p.stand.issuers(ctx, "pki-edge")
	if err != nil {
		t.Fatal(err)
	}
	c.roots.Store(roots)
	c.done.Go(func() { c.keepTrust(ctx, p.stand) })
	for i := range 3 {
		c.people = append(c.people, c.newPerson(p.stand.signIn(t), i == 0))
	}
	for _, person := range c.people[:2] {
		c.done.Go(func() { person.goOn(ctx) })
	}
	c.done.Go(func() { c.people[2].watch(ctx) })
	t.Cleanup(func() { c.end() })
	return c
}

func (c *crowd) newPerson(cookie *http.Cookie, keeps bool) *person {
	p := &person{crowd: c, cookie: cookie, keeps: keeps}
	p.transport = &http.Transport{DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		dialer := tls.Dialer{Config: &tls.Config{RootCAs: c.roots.Load(), ServerName: notesHost, MinVersion: tls.VersionTLS12}}
		return dialer.DialContext(ctx, "tcp", c.https)
	}}
	return p
}

// keepTrust gives everybody the authorities of the edge as they are rotated.
func (c *crowd) keepTrust(ctx context.Context, s *stand) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if roots, err := s.issuers(ctx, "pki-edge"); err == nil { // Vault may be away
			c.roots.Store(roots)
		}
	}
}

func (c *crowd) note(fault string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if fault != "" {
		c.failures = append(c.failures, time.Now().UTC().Format(time.RFC3339Nano)+" "+fault)
	}
}

func (c *crowd) counts() (asked, failed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked, len(c.failures)
}

// end stops asking and returns what came of it. It may be called again.
func (c *crowd) end() (asked int, failures []string) {
	c.stop()
	c.done.Wait()
	for _, person := range c.people {
		person.transport.CloseIdleConnections()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked, c.failures
}

// goOn asks twenty times a second, every fifth time on a new connection.
func (p *person) goOn(ctx context.Context) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if n%5 == 0 {
			p.transport.CloseIdleConnections()
		}
		p.crowd.note(p.ask(context.WithoutCancel(ctx), "/")) // the last one is answered too
	}
}

// ask makes one request and returns what is wrong with the answer.
func (p *person) ask(ctx context.Context, path string) string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	res, err := p.get(ctx, path)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || string(body) != "hello alice@example.com" {
		return fmt.Sprintf("status %d, error %v: %.300q", res.StatusCode, err, body)
	}
	for _, cookie := range res.Cookies() {
		if cookie.Name == session.CookieName && !p.keeps {
			p.mu.Lock()
			p.cookie = cookie
			p.mu.Unlock()
		}
	}
	return ""
}

func (p *person) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+notesHost+path, nil)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	req.AddCookie(p.cookie)
	p.mu.Unlock()
	return p.transport.RoundTrip(req)
}

// watch looks at one stream until ctx ends: the stream must not end before.
func (p *person) watch(ctx context.Context) {
	res, err := p.get(ctx, "/stream")
	if err != nil {
		p.crowd.note("the stream: " + err.Error())
		return
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if text := lines.Text(); text != "" && text != "data: alice@example.com" {
			p.crowd.note("the stream says " + text)
		}
		p.crowd.lines.Add(1)
	}
	if ctx.Err() == nil {
		p.crowd.note(fmt.Sprintf("the stream broke off: %v", lines.Err()))
	}
}
