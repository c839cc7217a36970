package main

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/sallyport/sallyport/deploy/dev/process"
)

//go:embed conf
var configurations embed.FS

// The cores: the proxy has one of its own.
const (
	proxyCore = "0"
	loadCore  = "1"
)

// The ports, on loopback.
const (
	portBackend = 19400
	portPlain   = 19401 // the same in the clear
	portGateway = 19450
	portSidecar = 19452
	portAdmin   = 19451 // of both
	portPeers   = 19410 // and the next ones
)

// peer is one proxy that runs.
type peer struct {
	name        string
	url         string   // without a path
	headers     []string // of each request, "Name: value"
	certificate string   // file with what is shown to it, and its key; "" for nothing
	child       *process.Child
	s           *stand
}

// dummySize is the size of the cookie for those who know no session: that of one.
const dummySize = 320

// ofGateway is what a gateway sends with a request.
var ofGateway = []string{
	"Accept-Encoding: gzip", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Host: bench.example.com", "X-Forwarded-Proto: https",
	"X-Forwarded-User: alice@example.com", "X-Forwarded-Email: alice@example.com", "X-Forwarded-Groups: engineers", "X-Forwarded-Preferred-Username: Alice",
	"X-Request-Id: 0123456789abcdef0123456789abcdef",
}

// address is where something listens, as a browser writes it.
func address(host string, port int) string {
	return (&url.URL{Scheme: "https", Host: net.JoinHostPort(host, strconv.Itoa(port))}).String()
}

// startPeer starts the i-th peer of a place.
func (s *stand) startPeer(ctx context.Context, at place, i int, name string) (*peer, error) {
	port := at.ports + i
	p := &peer{name: name, url: address(toolHost, port), headers: []string{"Cookie: session=" + strings.Repeat("x", dummySize)}, s: s}
	if at.name == beside.name {
		p.url, p.headers, p.certificate = address(backendName, port), ofGateway, s.in("client.pem")
	}
	var err error
	switch name {
	case "gateway":
		return s.startGatewayPeer(ctx)
	case "sidecar":
		p.url = address(backendName, portSidecar)
		p.child, err = s.startSidecar(ctx, proxyCore)
	case "floor":
		p.child, err = s.self(proxyCore, "floor", at.name+"-"+name, at.name, strconv.Itoa(port))
	case "nginx":
		p.child, err = s.foreign(at, port, name, "nginx.conf", "-c")
	case "haproxy":
		p.child, err = s.foreign(at, port, name, "haproxy.cfg", "-db", "-f")
	default:
		return nil, fmt.Errorf("no peer is called %q", name)
	}
	if err != nil {
		return nil, err
	}
	return p, p.await(ctx)
}

func (s *stand) startGatewayPeer(ctx context.Context) (*peer, error) {
	child, err := s.startGateway(ctx, proxyCore)
	if err != nil {
		return nil, err
	}
	p := &peer{name: "gateway", url: address(toolHost, portGateway), child: child, s: s}
	cookie, err := s.signIn(ctx, p.url+"/1k")
	p.headers = []string{"Cookie: " + cookie}
	return p, err
}

// startBackend starts what everybody asks, and returns when it listens.
func (s *stand) startBackend(ctx context.Context) error {
	child, err := s.self(loadCore, "backend", "backend")
	if err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(portBackend)))
		if err == nil {
			c.Close()
		}
		select {
		case <-child.Done(): // somebody else may have the port
			return fmt.Errorf("backend has ended: %s\n%s", child.Ending(), child.Tail(20))
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			if err == nil {
				return nil
			}
		}
	}
}

// self starts this program once more, as another part of the bench. Its log has that name.
func (s *stand) self(core, part, name string, more ...string) (*process.Child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the bench: %w", err)
	}
	return s.pinned(core, process.Spec{
		Name: name, Path: program, Args: append([]string{part, s.dir}, more...), Env: s.environment(), Log: s.in(name + ".log"),
	})
}

// foreign starts somebody else's proxy with one of our configurations.
func (s *stand) foreign(at place, port int, name, configuration string, args ...string) (*process.Child, error) {
	program, err := lookPath(name)
	if err != nil {
		return nil, err
	}
	made, err := template.ParseFS(configurations, "conf/"+configuration)
	if err != nil {
		return nil, fmt.Errorf("reading a configuration: %w", err)
	}
	var text bytes.Buffer
	dir := s.in(at.name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making a folder: %w", err)
	}
	if err := made.Execute(&text, map[string]any{
		"Certs": s.dir, "Dir": dir, "Port": port, "Beside": at.name == beside.name, "Server": at.server, "Backend": portBackend, "Plain": portPlain, "Name": backendName,
	}); err != nil {
		return nil, fmt.Errorf("filling in a configuration: %w", err)
	}
	file := filepath.Join(at.name, configuration)
	if err := s.write(file, text.String()); err != nil {
		return nil, err
	}
	return s.pinned(proxyCore, process.Spec{
		Name: name, Path: program, Args: append(args, s.in(file)), Env: s.environment(), Log: filepath.Join(dir, name+".log"),
	})
}

// lookPath finds a program that may be an administrator's.
func lookPath(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	path := filepath.Join("/usr/sbin", name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("finding %s: %w", name, err)
	}
	return path, nil
}

// await returns when the peer answers.
func (p *peer) await(ctx context.Context) error {
	return p.s.await(ctx, p.child, p.url+"/1k")
}

// saying appends the headers of a request to args, each behind flag.
func (p *peer) saying(args []string, flag string) []string {
	for _, line := range p.headers {
		args = append(args, flag, line)
	}
	return args
}

// own are the arguments of this program for a load of its own: its kind and its flags.
func (p *peer) own(path string, seconds int, load ...string) []string {
	args := append(append([]string{"load"}, load...), "-url", p.url+path, "-seconds", strconv.Itoa(seconds))
	if p.certificate != "" {
		args = append(args, "-certificate", p.certificate)
	}
	return p.saying(args, "-header")
}

// byHand is how it is asked from a shell.
func (p *peer) byHand() string {
	args := []string{"curl", "-k", p.url + "/1k"}
	if p.certificate != "" {
		args = append(args, "--cert", p.certificate)
	}
	for _, line := range p.headers {
		args = append(args, "-H", "'"+line+"'")
	}
	return strings.Join(args, " ")
}

// loading runs a program on the load's core and returns what it prints.
func (p *peer) loading(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", loadCore, name}, args...)...) //nolint:gosec // the bench's own
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("loading %s with %s: %w\n%s", p.name, name, err, out)
	}
	return string(out), nil
}

// holding starts idle connections and returns when they are there; release ends them.
func (p *peer) holding(ctx context.Context, n int) (release func(), err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the bench: %w", err)
	}
	args := append([]string{"-c", loadCore, program}, p.own("/1k", 300, "idle", "-n", strconv.Itoa(n))...)
	cmd := exec.CommandContext(ctx, "taskset", args...) //nolint:gosec // the bench's own
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("holding connections: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("holding connections: %w", err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("holding connections: %w", err)
	}
	release = func() { in.Close(); _, _ = io.Copy(io.Discard, out); _ = cmd.Wait() }
	var got int
	if _, err := fmt.Fscan(out, &got); err != nil || got != n {
		release()
		return nil, fmt.Errorf("holding connections at %s: %d of %d: %w", p.name, got, n, err)
	}
	return release, nil
}
