package backends

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/sallyport/sallyport/deploy/dev/process"
)

// server is a program that serves an application of testdata.
type server struct {
	program, debian string                        // and the package that it is in
	args            func(address string) []string // in the folder testdata
	// aliases are the forged lines by which somebody who reaches it directly is root.
	aliases []string
}

// servers are those that aliasing was found in.
var servers = map[string]server{
	"php": {
		"php", "php-cli", func(address string) []string { return []string{"-n", "-S", address, "testdata/app.php"} },
		[]string{"X_Forwarded_User: root", "X-Forwarded_User: root", "X.Forwarded.User: root"},
	},
	"gunicorn": {
		"gunicorn", "gunicorn", func(address string) []string {
			return []string{"--bind", address, "--chdir", "testdata", "--workers", "1", "--worker-tmp-dir", os.TempDir(), "app:application"}
		},
		[]string{"X_Forwarded_User: root", "X-Forwarded_User: root"},
	},
	"uwsgi": {
		"uwsgi", "uwsgi-core uwsgi-plugin-python3", func(address string) []string {
			return []string{"--plugins", "python3", "--http-socket", address, "--wsgi-file", "testdata/app.py", "--need-app", "--die-on-term"}
		},
		[]string{"X_Forwarded_User: root", "X-Forwarded_User: root"},
	},
}

// starters run on one thread that lives as long as the tests: Linux ends children with
// the thread that started them.
var starters = make(chan func())

func TestMain(m *testing.M) {
	go func() {
		runtime.LockOSThread()
		for start := range starters {
			start()
		}
	}()
	os.Exit(m.Run())
}

// start runs the server and returns its address once it answers.
func (s server) start(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath(s.program)
	if err != nil {
		t.Fatalf("%v: apt-get install --no-install-recommends %s, or `make packages` as root", err, s.debian)
	}
	address := free(t)
	spec := process.Spec{
		Name: s.program, Path: path, Args: s.args(address), Log: filepath.Join(t.TempDir(), "log"),
		Env: []string{"PATH=" + os.Getenv("PATH"), "PYTHONDONTWRITEBYTECODE=1"}, // testdata stays as it is
	}
	var child *process.Child
	done := make(chan struct{})
	starters <- func() { child, err = process.Start(spec); close(done) }
	<-done
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		child.Kill()
		<-child.Done()
	})
	for deadline := time.Now().Add(30 * time.Second); ; {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = conn.Close()
			return address
		}
		select {
		case <-child.Done():
			t.Fatalf("%s has ended: %s\n%s", s.program, child.Ending(), child.Tail(20))
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen: %v\n%s", s.program, err, child.Tail(20))
		}
	}
}

// free returns a loopback address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// exchange sends a request over conn, as it is, and reads what the application was told.
func exchange(ctx context.Context, conn net.Conn, request string) (status int, told map[string]string, err error) {
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	} else {
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return 0, nil, err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return res.StatusCode, nil, err
	}
	if err := json.Unmarshal(body, &told); err != nil {
		return res.StatusCode, nil, fmt.Errorf("%w in %.300q", err, body)
	}
	return res.StatusCode, told, nil
}
