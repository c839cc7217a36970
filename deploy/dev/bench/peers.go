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
	portGateway = 19450
	portAdmin   = 19451
	portPeers   = 19410 // and the next ones
)

// peer is one proxy that runs.
type peer struct {
	name   string
	url    string // without a path
	cookie string // NAME=value
	child  *process.Child
	s      *stand
}

// dummySize is the size of the cookie for those who know no session: that of one.
const dummySize = 320

// address is where something listens, as a browser writes it.
func address(host string, port int) string {
	return (&url.URL{Scheme: "https", Host: net.JoinHostPort(host, strconv.Itoa(port))}).String()
}

// startPeer starts the i-th peer.
func (s *stand) startPeer(ctx context.Context, i int, name string) (*peer, error) {
	p := &peer{name: name, url: address(toolHost, portPeers+i), cookie: "session=" + strings.Repeat("x", dummySize), s: s}
	var err error
	switch name {
	case "gateway":
		return s.startGatewayPeer(ctx)
	case "floor":
		p.child, err = s.self(proxyCore, "floor", name, strconv.Itoa(portPeers+i))
	case "nginx":
		p.child, err = s.foreign(i, name, "nginx.conf", "-c")
	case "haproxy":
		p.child, err = s.foreign(i, name, "haproxy.cfg", "-db", "-f")
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
	if p.cookie, err = s.signIn(ctx, p.url+"/1k"); err != nil {
		return nil, err
	}
	return p, nil
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

// self starts this program once more, as another part of the bench.
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
func (s *stand) foreign(i int, name, configuration string, args ...string) (*process.Child, error) {
	program, err := lookPath(name)
	if err != nil {
		return nil, err
	}
	made, err := template.ParseFS(configurations, "conf/"+configuration)
	if err != nil {
		return nil, fmt.Errorf("reading a configuration: %w", err)
	}
	var text bytes.Buffer
	if err := made.Execute(&text, map[string]any{"Dir": s.dir, "Port": portPeers + i, "Backend": portBackend, "Name": backendName}); err != nil {
		return nil, fmt.Errorf("filling in a configuration: %w", err)
	}
	if err := s.write(configuration, text.String()); err != nil {
		return nil, err
	}
	return s.pinned(proxyCore, process.Spec{
		Name: name, Path: program, Args: append(args, s.in(configuration)), Env: s.environment(), Log: s.in(name + ".log"),
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
	cmd := exec.CommandContext(ctx, "taskset", "-c", loadCore, program, "load", "idle", "-url", p.url+"/1k", "-cookie", p.cookie, "-n", strconv.Itoa(n), "-seconds", "300") //nolint:gosec // the bench's own
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
