package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/deploy/dev/localhost"
)

// demo is a running demo and where it is.
type demo struct {
	port  int
	state string
	cmd   *exec.Cmd
	out   *transcript // both outputs
	ended chan struct{}
	err   error // of the process; read it after ended
}

// transcript collects a process's output. Safe for concurrent use.
type transcript struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.Write(b)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

// launch runs the demo's program and returns at once.
func launch(state string, port int, env ...string) (*demo, error) {
	d := &demo{port: port, state: state, out: &transcript{}, ended: make(chan struct{})}
	d.cmd = exec.Command(filepath.Join(shared.bin, "demo"))
	d.cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0", "DEMO_PORT="+strconv.Itoa(port), "DEMO_STATE="+state), env...)
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.out
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the demo: %w", err)
	}
	go func() {
		defer close(d.ended)
		d.err = d.cmd.Wait()
	}()
	return d, nil
}

// startDemo launches a demo on free ports and waits until it says that it is ready.
func startDemo(state string, env ...string) (*demo, error) {
	port, err := freePorts()
	if err != nil {
		return nil, err
	}
	return startDemoAt(port, state, env...)
}

// startDemoAt is startDemo for a port that the caller has chosen.
func startDemoAt(port int, state string, env ...string) (*demo, error) {
	d, err := launch(state, port, env...)
	if err != nil {
		return nil, err
	}
	if err := d.waitFor("ready: "+d.door()+"/\n", 2*time.Minute); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

// waitFor waits until the demo has printed text.
func (d *demo) waitFor(text string, within time.Duration) error {
	deadline := time.After(within)
	for {
		if strings.Contains(d.out.String(), text) {
			return nil
		}
		select {
		case <-d.ended:
			return fmt.Errorf("the demo ended before it said %q: %w\n%s", text, d.err, d.out)
		case <-deadline:
			return fmt.Errorf("the demo did not say %q within %s:\n%s", text, within, d.out)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop asks the demo to stop and waits for it.
func (d *demo) stop() error {
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping the demo: %w", err)
	}
	return d.wait(time.Minute)
}

// wait returns how the demo's process ended.
func (d *demo) wait(within time.Duration) error {
	select {
	case <-d.ended:
	case <-time.After(within):
		return fmt.Errorf("the demo still runs after %s:\n%s", within, d.out)
	}
	if d.err != nil {
		return fmt.Errorf("the demo ended with %w:\n%s", d.err, d.out)
	}
	return nil
}

func (d *demo) url(host string, offset int) string {
	return "https://" + host + ":" + strconv.Itoa(d.port+offset)
}

func (d *demo) door() string    { return d.url("door.sallyport.localhost", 0) }
func (d *demo) headers() string { return d.url("headers.sallyport.localhost", 0) }
func (d *demo) notes() string   { return d.url("notes.sallyport.localhost", 0) }
func (d *demo) idp() string     { return d.url("idp.corp.localhost", 1) }
func (d *demo) vault() string   { return d.url("127.0.0.1", 2) }

func (d *demo) loopback(offset int) string { return "127.0.0.1:" + strconv.Itoa(d.port+offset) }

func (d *demo) caFile() string { return filepath.Join(d.state, "ca.pem") }

func (d *demo) log(name string) string { return filepath.Join(d.state, "log", name+".log") }

// client returns a client that trusts the demo's CA and follows no redirect.
func (d *demo) client(t *testing.T) *http.Client {
	t.Helper()
	client, err := localhost.Client(d.caFile())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// running lists the processes of this demo that live: those whose output goes into
// its state folder, and the orchestrator itself.
func (d *demo) running(t *testing.T) []string {
	t.Helper()
	var found []string
	paths, err := filepath.Glob("/proc/[0-9]*/fd/1")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		process := filepath.Dir(filepath.Dir(path))
		target, err := os.Readlink(path)
		if err != nil {
			continue // it ended meanwhile, or is not ours
		}
		if strings.HasPrefix(target, d.state+"/") || filepath.Base(process) == strconv.Itoa(d.cmd.Process.Pid) {
			name, _ := os.ReadFile(filepath.Join(process, "comm")) // for the message only
			found = append(found, filepath.Base(process)+" "+strings.TrimSpace(string(name)))
		}
	}
	return found
}

// leavesNothing waits until no process of the demo is left.
func (d *demo) leavesNothing(t *testing.T) {
	t.Helper()
	eventually(t, "the end of every process", 10*time.Second, func() error {
		if left := d.running(t); len(left) > 0 {
			return fmt.Errorf("still running: %q", left)
		}
		return nil
	})
}

// freePorts returns the first of eleven ports in a row that were free a moment
// ago, outside the range from which the kernel takes ports of clients.
func freePorts() (int, error) {
	const count = 11
	for range 100 {
		first := 20000 + rand.IntN(1000)*count
		if allFree(first, count) {
			return first, nil
		}
	}
	return 0, errors.New("found no eleven free ports in a row")
}

func allFree(first, count int) bool {
	for port := first; port < first+count; port++ {
		ln, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			return false
		}
		ln.Close()
	}
	return true
}

// eventually polls until ok returns nil. The other side is a real process, so the
// deadline is real time.
func eventually(t *testing.T, what string, within time.Duration, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s: %v", what, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("waiting for %s: the test is over: %v", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
