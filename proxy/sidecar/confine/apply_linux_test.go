package confine

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	kernel "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"
)

// modeVariable has this binary be a process that confines itself, as the variable says,
// and prints what it can still do.
const modeVariable = "SALLYPORT_CONFINE_TEST"

// trial is what a process tries.
type trial struct {
	Config
	Dir          string // with the files "read/file", "write/file" and "other/file"
	Listen, Dial []int  // ports
	Signal       int    // a process that it has not started
	Abstract     string // a socket of somebody else
}

// outcome is what it found: attempts, and what became of each.
type outcome struct {
	State
	Error string
	Tried map[string]string
}

func TestMain(m *testing.M) {
	text, found := os.LookupEnv(modeVariable)
	if !found {
		os.Exit(m.Run())
	}
	var t trial
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		panic(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(t.run()); err != nil {
		panic(err)
	}
	os.Exit(0)
}

// run confines this process, and has threads that were there before try it out.
func (t trial) run() outcome {
	var confined, waiting, tried sync.WaitGroup
	confined.Add(1)
	results := make([]map[string]string, 4)
	for i := range results {
		waiting.Add(1)
		tried.Go(func() {
			runtime.LockOSThread()
			waiting.Done()
			confined.Wait()
			results[i] = t.try(strconv.Itoa(i))
		})
	}
	waiting.Wait()
	state, err := Apply(t.Config)
	confined.Done()
	tried.Wait()
	o := outcome{State: state, Tried: results[0]}
	if err != nil {
		o.Error = err.Error()
	}
	for _, other := range results[1:] {
		if !cmp.Equal(other, o.Tried) {
			o.Error += "threads differ: " + cmp.Diff(o.Tried, other)
		}
	}
	return o
}

// try does everything on one thread; files that it makes have its name.
func (t trial) try(thread string) map[string]string {
	results := map[string]string{}
	note := func(what string, err error) {
		var number syscall.Errno
		switch {
		case err == nil:
			results[what] = "done"
		case errors.As(err, &number) && (number == syscall.EACCES || number == syscall.EPERM):
			results[what] = "refused"
		default:
			results[what] = err.Error()
		}
	}
	for _, folder := range []string{"read", "write", "other"} {
		in := filepath.Join(t.Dir, folder)
		_, err := os.ReadFile(filepath.Join(in, "file"))
		note("read in "+folder, err)
		_, err = os.ReadDir(in)
		note("list "+folder, err)
		file, err := os.OpenFile(filepath.Join(in, "file"), os.O_WRONLY, 0)
		note("write in "+folder, errors.Join(err, file.Close()))
		fresh := filepath.Join(in, "fresh-"+thread)
		note("make and replace in "+folder, errors.Join(os.WriteFile(fresh, nil, 0o600), os.Rename(fresh, fresh+"-2"), os.Remove(fresh+"-2")))
		note("make a socket in "+folder, unix.Mknod(filepath.Join(in, "socket-"+thread), unix.S_IFSOCK|0o600, 0))
	}
	note("execute", exec.Command("/bin/true").Run())
	for _, port := range t.Listen {
		note("listen on "+name(t.Bind, port), listen(port))
	}
	for _, port := range t.Dial {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			c.Close()
		}
		note("dial "+name(t.Connect, port), err)
	}
	note("signal a stranger", syscall.Kill(t.Signal, 0))
	c, err := net.Dial("unix", t.Abstract)
	if err == nil {
		c.Close()
	}
	note("reach an abstract socket", err)
	privileges, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	note("no_new_privs is "+strconv.Itoa(privileges), err)
	return results
}

// name says whether a port is one of those that were listed.
func name(listed []uint16, port int) string {
	for _, one := range listed {
		if int(one) == port {
			return "a listed port"
		}
	}
	return "another port"
}

// listen binds a port, beside others that do.
func listen(port int) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	return errors.Join(
		unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1),
		unix.Bind(socket, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}),
	)
}

// confined runs a trial in a process of its own.
func confined(t *testing.T, what trial) outcome {
	t.Helper()
	text, err := json.Marshal(what)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), modeVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var o outcome
	if err := json.Unmarshal(out, &o); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return o
}

// newTrial makes the files, the sockets and the process that a trial is about.
func newTrial(t *testing.T) trial {
	t.Helper()
	dir := t.TempDir()
	for _, folder := range []string{"read", "write", "other"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, folder, "file"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var taken []int
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		taken = append(taken, l.Addr().(*net.TCPAddr).Port)
	}
	abstract := "@sallyport-confine-test-" + strconv.Itoa(os.Getpid())
	l, err := net.Listen("unix", abstract)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	free := freePorts(t)
	return trial{
		Config: Config{
			Read: []string{filepath.Join(dir, "read"), "/no/such/folder"}, Write: []string{filepath.Join(dir, "write")},
			Bind: []uint16{uint16(free[0])}, Connect: []uint16{uint16(taken[0])},
		},
		Dir: dir, Listen: free, Dial: taken, Signal: os.Getpid(), Abstract: abstract,
	}
}

// freePorts returns two that nobody listens on.
func freePorts(t *testing.T) []int {
	t.Helper()
	var found []int
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		found = append(found, l.Addr().(*net.TCPAddr).Port)
	}
	return found
}

// expected is what becomes of each attempt where the kernel knows this version of
// Landlock.
func expected(abi int, signals bool) map[string]string {
	want := map[string]string{"no_new_privs is 1": "done"}
	since := func(version int, allowed bool, attempts ...string) {
		for _, what := range attempts {
			want[what] = "done"
			if abi >= version && !allowed {
				want[what] = "refused"
			}
		}
	}
	since(abiFiles, true, "read in read", "list read", "read in write", "list write", "write in write", "make and replace in write")
	since(abiFiles, false, "write in read", "make and replace in read", "read in other", "list other", "write in other", "make and replace in other",
		"make a socket in read", "make a socket in write", "make a socket in other", "execute")
	since(abiPorts, true, "listen on a listed port", "dial a listed port")
	since(abiPorts, false, "listen on another port", "dial another port")
	since(abiScopes, signals, "signal a stranger")
	since(abiScopes, false, "reach an abstract socket")
	return want
}

// TestAConfinedProcess confines a process and has each of its threads try what it is
// allowed, and what it is not.
func TestAConfinedProcess(t *testing.T) {
	abi, err := kernel.LandlockGetABIVersion()
	if err != nil {
		abi = 0
	}
	if lacks := missing(abi); len(lacks) > 0 {
		t.Logf("NOT TESTED: this kernel (Landlock ABI %d) cannot confine %s; that it says so is", abi, strings.Join(lacks, ", "))
	}
	for name, signals := range map[string]bool{"alone": false, "beside an application": true} {
		t.Run(name, func(t *testing.T) {
			what := newTrial(t)
			what.Signals = signals
			got := confined(t, what)
			want := outcome{State: State{ABI: abi, Missing: missing(abi)}, Tried: expected(abi, signals)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("as required", func(t *testing.T) {
		what := newTrial(t)
		what.Required = true
		got := confined(t, what)
		if refused := strings.Contains(got.Error, ErrMissing.Error()); refused != (abi < abiScopes) {
			t.Errorf("Landlock ABI %d, error %q", abi, got.Error)
		}
	})
	t.Run("with a path that is none", func(t *testing.T) {
		if got := confined(t, trial{Config: Config{Read: []string{"relative"}}}); !strings.Contains(got.Error, "expected an absolute one") {
			t.Errorf("error %q", got.Error)
		}
	})
}
