package examples

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/sallyport/sallyport/deploy/dev/process"
)

// long is for how long the notes applications are under load, and then with credentials
// of a minute.
var long = flag.Duration("examples", 0, "have the notes applications under load for so `long`, with credentials of 60s; seconds are the default")

// patience is how long a test waits for a program to do what it must.
const patience = 60 * time.Second

// shared is what all tests use. It is set once, before any of them runs.
var shared struct {
	dir    string // of everything but secrets; whom the programs run as may enter it
	memory string // on tmpfs, for secrets
	binary string // of sallyport
}

// house is what they share that runs.
var house home

// exampleNames are the folders of deploy/examples.
var exampleNames = []string{"notes-mariadb", "notes-postgresql", "python-sighup", "jenkins-like"}

// starters run on one thread that lives as long as the tests: Linux ends children with
// the thread that started them.
var starters = make(chan func())

func TestMain(m *testing.M) {
	flag.Parse()
	// These tests wait for leases to end, and hardly for a processor.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	go func() {
		runtime.LockOSThread()
		for start := range starters {
			start()
		}
	}()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if shared.dir, err = os.MkdirTemp("", "sallyport-examples-"); err == nil {
		shared.memory, err = os.MkdirTemp("/dev/shm", "examples-")
	}
	if err == nil {
		err = setUp()
	}
	defer os.RemoveAll(shared.memory)
	if err != nil {
		fmt.Fprintln(os.Stderr, "examples:", err)
		return 1
	}
	code := 1
	house.dir = shared.dir
	if err = house.open(context.Background()); err == nil {
		code = m.Run()
	}
	if err := errors.Join(err, house.close()); err != nil {
		fmt.Fprintln(os.Stderr, "examples:", err)
		code = 1
	}
	if code != 0 {
		fmt.Fprintln(os.Stderr, "examples: the logs stay in", shared.dir)
		return code
	}
	if err := os.RemoveAll(shared.dir); err != nil {
		fmt.Fprintln(os.Stderr, "examples:", err)
	}
	return 0
}

// setUp builds what is tested.
func setUp() error {
	for _, dir := range []string{shared.dir, shared.memory} {
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	shared.binary = filepath.Join(shared.dir, "sallyport")
	build := exec.Command("go", "build", "-trimpath", "-o", shared.binary, "./cmd/sallyport")
	build.Dir = "../../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building sallyport: %w", err)
	}
	return nil
}

// nobody is whom the programs run as if the tests are run by root. Neither database
// runs as root, and a sidecar should not.
const nobody = 65534

// own makes a folder that the programs can write to.
func own(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if os.Geteuid() != 0 {
		return dir, nil
	}
	return dir, os.Chown(dir, nobody, nobody)
}

// give lets the programs read a file that was written for them alone.
func give(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(path, nobody, nobody)
}

// program is the command that runs a program as nobody, or as who runs the tests.
func program(path string, args ...string) (string, []string) {
	if os.Geteuid() != 0 {
		return path, args
	}
	id := strconv.Itoa(nobody)
	return "setpriv", append([]string{"--reuid", id, "--regid", id, "--clear-groups", "--pdeathsig", "KILL", "--", path}, args...)
}

// environment is what the programs are told of this machine, and nothing of who tests.
func environment(more ...string) []string {
	return append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1", "TMPDIR=" + shared.dir}, more...)
}

// start runs a program until the tests end or it is stopped.
func start(name, folder string, env []string, path string, args ...string) (*process.Child, error) {
	path, args = program(path, args...)
	return startAsUs(name, folder, env, path, args...)
}

// startAsUs is start as who runs the tests.
func startAsUs(name, folder string, env []string, path string, args ...string) (*process.Child, error) {
	path, err := exec.LookPath(path)
	if err != nil {
		return nil, fmt.Errorf("%w: run `make packages` as root", err)
	}
	spec := process.Spec{Name: name, Path: path, Args: args, Env: env, Log: filepath.Join(folder, name+".log")}
	var child *process.Child
	done := make(chan struct{})
	starters <- func() { child, err = process.Start(spec); close(done) }
	<-done
	return child, err
}

// once runs a program to its end.
func once(env []string, stdin []byte, path string, args ...string) ([]byte, error) {
	path, args = program(path, args...)
	return onceAsUs(env, stdin, path, args...)
}
