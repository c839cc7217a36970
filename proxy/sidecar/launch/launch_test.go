//go:build linux

package launch

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/proxy/sidecar/confine"
)

// patience is how long anything may take that is waited for.
const patience = 30 * time.Second

// What this binary is, beside the tests, by its first argument.
const (
	asReport = "as-report" // prints what it is, and ends
	asSleep  = "as-sleep"  // says that it runs, and waits for its end
	asGuard  = "as-guard"  // confines itself, has asReport and asSleep started, and waits to be killed
)

// reported is what a program sees of itself.
type reported struct {
	Parent, Group, Session int
	Dir                    string
	Env                    []string
	Input                  string
	Opened                 bool // a file that a guard may not open
	NoNewPrivs             bool
}

func TestMain(m *testing.M) {
	var err error
	switch {
	case Helper(os.Args):
		err = Help()
	case len(os.Args) == 3 && os.Args[1] == asReport:
		err = report(os.Args[2])
	case len(os.Args) == 2 && os.Args[1] == asSleep:
		_, err = fmt.Fprintln(os.Stdout, os.Getpid())
		_, _ = io.Copy(io.Discard, os.Stdin)
	case len(os.Args) == 3 && os.Args[1] == asGuard:
		err = guard(os.Args[2])
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// report prints what this process is.
func report(file string) error {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	_, opened := os.ReadFile(file)
	session, err := unix.Getsid(0)
	if err != nil {
		return err
	}
	privileges, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(reported{
		os.Getppid(), unix.Getpgrp(), session, dir, os.Environ(), string(input), opened == nil, privileges == 1,
	})
}

// guard is a guard with two applications. It prints what the first reports, the number
// of the second, and whether it can itself open the file.
func guard(file string) error {
	ctx := context.Background()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	commands := []Command{{Argv: []string{self, asReport, file}}, {Argv: []string{self, asSleep}}}
	l, err := Start(ctx, Config{Commands: commands})
	if err != nil {
		return err
	}
	state, err := confine.Apply(confine.Config{Read: []string{"/proc"}, Write: []string{os.DevNull}, Signals: true})
	if err != nil {
		return err
	}
	report, err := start(l, commands[0].Argv, nil, os.Stdout, os.Stderr)
	if err != nil {
		return err
	}
	if _, err := report.Wait(); err != nil {
		return err
	}
	if _, err := start(l, commands[1].Argv, os.Stdin, os.Stdout, os.Stderr); err != nil {
		return err
	}
	_, opened := os.ReadFile(file)
	_, err = fmt.Fprintf(os.Stdout, "abi=%d opened=%t\n", state.ABI, opened == nil)
	<-ctx.Done() // never: it is to be killed
	return err
}

// start starts a program in a process group of its own.
func start(l *Launcher, argv []string, files ...*os.File) (*os.Process, error) {
	return l.StartProcess(argv[0], argv, &os.ProcAttr{Files: files, Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}})
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// launcher starts a helper for the commands.
func launcher(t *testing.T, cfg Config) *Launcher {
	t.Helper()
	l, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return l
}

// pipe returns the two ends of a pipe, of which the caller closes the second.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, w
}

func TestAStartedProgramIsAChildOfTheGuard(t *testing.T) {
	t.Setenv("KEPT", "as it was")
	dir := t.TempDir()
	argv := []string{self(t), asReport, "/etc/hostname"}
	l := launcher(t, Config{Commands: []Command{{Argv: []string{"/bin/false"}}, {Argv: argv, Dir: dir}}, Names: []string{"PASSWORD"}})
	r, w := pipe(t)
	input, feed := pipe(t)
	p, err := l.StartProcess(argv[0], argv, &os.ProcAttr{
		Dir: dir, Env: []string{"KEPT=as it was", "PASSWORD=changes"}, Files: []*os.File{input, w, os.Stderr}, Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := feed.WriteString("a secret"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	feed.Close()
	var got reported
	if err := json.NewDecoder(r).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if state, err := p.Wait(); err != nil || !state.Success() {
		t.Errorf("waiting for it: %v, %v", err, state)
	}
	want := reported{
		Parent: os.Getpid(), Group: p.Pid, Session: got.Session, Dir: dir, Input: "a secret", Opened: got.Opened,
		Env: []string{"KEPT=as it was", "PASSWORD=changes"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestBytesArriveAsTheyAre has names and values of no encoding, as file systems have them.
func TestBytesArriveAsTheyAre(t *testing.T) {
	t.Setenv("KEPT", "caf\xe9")
	dir := filepath.Join(t.TempDir(), "dossier-\xe9")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	argv := []string{"sh", "-c", `printf '%s\n' "$1" "$KEPT" "$PASSWORD" "$PWD"`, "sh", "\xff&\xc3"}
	l := launcher(t, Config{Commands: []Command{{Argv: argv, Dir: dir}}, Names: []string{"PASSWORD"}})
	r, w := pipe(t)
	p, err := l.StartProcess(argv[0], argv, &os.ProcAttr{
		Dir: dir, Env: []string{"KEPT=caf\xe9", "PASSWORD=\x80<\xfe"}, Files: []*os.File{nil, w, os.Stderr},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if state, err := p.Wait(); err != nil || !state.Success() {
		t.Error(state, err)
	}
	if want := "\xff&\xc3\ncaf\xe9\n\x80<\xfe\n" + dir + "\n"; string(got) != want {
		t.Errorf("the program sees %q, expected %q", got, want)
	}
}

// TestADescriptorOfSomebodyElseGoesNoFurther has one open that whoever started the guard has
// left so.
func TestADescriptorOfSomebodyElseGoesNoFurther(t *testing.T) {
	for range 3 { // one of them is beyond the helper's socket
		left, err := unix.Dup(1)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(left) })
	}
	argv := []string{"ls", "/proc/self/fd"}
	l := launcher(t, Config{Commands: []Command{{Argv: argv}}})
	helpers, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", l.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range helpers {
		ours, _ := os.Readlink("/proc/self/fd/1")
		if at, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", l.PID(), fd.Name())); at == ours && !slices.Contains([]string{"0", "1", "2"}, fd.Name()) {
			t.Errorf("the helper has %s as its descriptor %s", at, fd.Name())
		}
	}
	r, w := pipe(t)
	p, err := start(l, argv, nil, w, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if state, err := p.Wait(); err != nil || !state.Success() {
		t.Error(state, err)
	}
	if want := "0\n1\n2\n3\n"; string(got) != want { // the last is what ls reads
		t.Errorf("the program has the descriptors %q, expected %q", got, want)
	}
}

func TestASignalReachesAStartedProgram(t *testing.T) {
	l := launcher(t, Config{Commands: []Command{{Argv: []string{self(t), asSleep}}}})
	r, w := pipe(t)
	input, feed := pipe(t)
	defer feed.Close()
	argv := []string{self(t), asSleep}
	p, err := l.StartProcess(argv[0], argv, &os.ProcAttr{Files: []*os.File{input, w}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if state, err := p.Wait(); err != nil || signalOf(state) != syscall.SIGTERM {
		t.Errorf("it ended with %v (%v), expected the signal", state, err)
	}
}

// signalOf is the signal that ended a process.
func signalOf(state *os.ProcessState) syscall.Signal {
	return state.Sys().(syscall.WaitStatus).Signal()
}

func TestTheHelperStartsNothingElse(t *testing.T) {
	known := []string{self(t), asReport, "/x"}
	text, missing := filepath.Join(t.TempDir(), "text"), "/no/such/program"
	if err := os.WriteFile(text, []byte("no program"), 0o700); err != nil {
		t.Fatal(err)
	}
	l := launcher(t, Config{
		Commands: []Command{{Argv: known}, {Argv: []string{"no-such-program"}}, {Argv: []string{"/"}}, {Argv: []string{text}}, {Argv: []string{missing}}}, Names: []string{"PASSWORD"},
	})
	somebody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	tests := map[string]struct {
		argv []string
		attr os.ProcAttr
		want string
	}{
		"another program":             {[]string{"/bin/sh"}, os.ProcAttr{}, "none of the commands"},
		"other arguments":             {[]string{known[0], asReport, "/y"}, os.ProcAttr{}, "none of the commands"},
		"another folder":              {known, os.ProcAttr{Dir: "/"}, "none of the commands"},
		"another user":                {known, os.ProcAttr{Sys: somebody}, "none of the commands"},
		"another environment":         {known, os.ProcAttr{Env: []string{"LD_PRELOAD=/tmp/evil.so"}}, `"LD_PRELOAD" is none of those`},
		"more files":                  {known, os.ProcAttr{Files: make([]*os.File, 4)}, "4 files"},
		"a program that is not there": {[]string{"no-such-program"}, os.ProcAttr{}, "executable file not found"},
		"a folder as a program":       {[]string{"/"}, os.ProcAttr{}, "is a directory"},
		"a file that is no program":   {[]string{text}, os.ProcAttr{}, "exec format error"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := l.StartProcess(test.argv[0], test.argv, &test.attr)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, expected %q", err, test.want)
			}
		})
	}
	t.Run("and says why as the kernel does", func(t *testing.T) {
		_, err := start(l, []string{missing})
		if !errors.Is(err, fs.ErrNotExist) || err.Error() != "launch "+missing+": no such file or directory" {
			t.Errorf("error %v", err)
		}
	})
	t.Run("and leaves nothing to be reaped", func(t *testing.T) {
		var info unix.Siginfo
		if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil); err != nil || info.Signo != 0 {
			t.Errorf("a process that nobody knows has ended: %v, %+v", err, info)
		}
	})
	t.Run("and goes on", func(t *testing.T) {
		p, err := start(l, known)
		if err != nil {
			t.Fatal(err)
		}
		if state, err := p.Wait(); err != nil || !state.Success() {
			t.Error(state, err)
		}
	})
}

// TestAProgramWithTheHelpersNameHoldsNobodyUp has programs look like what a start that has
// failed leaves: one that was started and runs, one that was started and has ended, and one
// that somebody else has started and runs.
func TestAProgramWithTheHelpersNameHoldsNobodyUp(t *testing.T) {
	named := func(then string) []string {
		return []string{"sh", "-c", "printf " + helperName + " >/proc/$$/comm; echo named; " + then}
	}
	runs, ends, missing := named("read line"), named("exit 7"), []string{"/no/such/program"}
	l := launcher(t, Config{Commands: []Command{{Argv: runs}, {Argv: ends}, {Argv: missing}}})
	input, feed := pipe(t)
	defer feed.Close()
	r, w := pipe(t)
	running, err := start(l, runs, input, w, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	ended, err := start(l, ends, input, w, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	foreign := exec.Command(runs[0], runs[1:]...)
	foreign.Stdin, foreign.Stdout = input, w
	if err := foreign.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	lines := bufio.NewReader(r)
	for range 3 {
		if _, err := lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, ended.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := start(l, missing)
		failed <- err
	}()
	select {
	case err := <-failed:
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("error %v", err)
		}
	case <-time.After(patience):
		t.Error("a start that has failed waits for a program that runs")
	}
	feed.Close()
	for want, p := range map[int]*os.Process{1: running, 7: ended} { // read has reached the end of its input
		if state, err := p.Wait(); err != nil || state.ExitCode() != want {
			t.Errorf("it ended with %v (%v), expected code %d", state, err, want)
		}
	}
	_ = foreign.Wait() // may have been reaped
}

// TestAnApplicationIsNotConfinedWithItsGuard has a confined guard start applications, and
// kills it.
func TestAnApplicationIsNotConfinedWithItsGuard(t *testing.T) {
	file := filepath.Join(t.TempDir(), "of-the-application")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, w := pipe(t)
	input, feed := pipe(t)
	defer feed.Close()
	cmd := exec.Command(self(t), asGuard, file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, w, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	defer func() { _ = cmd.Process.Kill() }()
	lines := bufio.NewReader(r)
	line := func() string {
		text, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the guard has ended: %v, %v", err, cmd.Wait())
		}
		return strings.TrimSpace(text)
	}
	var app reported
	if err := json.Unmarshal([]byte(line()), &app); err != nil {
		t.Fatal(err)
	}
	if !app.Opened || app.NoNewPrivs || app.Parent != cmd.Process.Pid {
		t.Errorf("the application opens its file: %t, has no_new_privs: %t, parent %d of %d", app.Opened, app.NoNewPrivs, app.Parent, cmd.Process.Pid)
	}
	said := []string{line(), line()} // of the second application and of the guard, in either order
	slices.SortFunc(said, func(a, b string) int { return strings.Compare(b, a) })
	abi, opened, found := strings.Cut(said[0], " opened=")
	if !found || strings.TrimPrefix(abi, "abi=") != "0" && opened != "false" {
		t.Errorf("the guard says %q", said[0])
	}
	if abi == "abi=0" {
		t.Log("NOT TESTED: this kernel has no Landlock, so only no_new_privs was compared")
	}
	sleeper, err := strconv.Atoi(said[1])
	if err != nil {
		t.Fatal(err)
	}
	held, err := unix.PidfdOpen(sleeper, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(held)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	over := []unix.PollFd{{Fd: int32(held), Events: unix.POLLIN}}
	if n, err := unix.Poll(over, int(patience.Milliseconds())); err != nil || n != 1 {
		t.Errorf("the application %d runs on without its guard (%v)", sleeper, err)
	}
}

func TestCloseKillsWhatStillRuns(t *testing.T) {
	argv := []string{self(t), asSleep}
	l, err := Start(t.Context(), Config{Commands: []Command{{Argv: argv}}})
	if err != nil {
		t.Fatal(err)
	}
	input, feed := pipe(t)
	defer feed.Close()
	p, err := start(l, argv, input)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if state, err := p.Wait(); err != nil || signalOf(state) != syscall.SIGKILL {
		t.Errorf("it ended with %v (%v), expected to be killed", state, err)
	}
	if _, err := start(l, argv); err == nil {
		t.Error("a closed launcher starts something")
	}
}

func TestAHelperThatIsGoneIsAnError(t *testing.T) {
	argv := []string{"/bin/true"}
	l, err := Start(t.Context(), Config{Commands: []Command{{Argv: argv}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(l.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := start(l, argv); err == nil {
		t.Error("no error")
	}
	_ = l.Close() // says that it was killed
}

// FuzzRequest has a helper judge whatever it may be sent.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"command":0,"env":["QT0x","UEFTU1dPUkQ9eA=="]}`))
	f.Add([]byte(`{"command":1}`))
	f.Add([]byte(`{"command":-1,"env":["TERfUFJFTE9BRD0veA=="]}`))
	f.Add([]byte(`{"command":0,"env":["PQ==","QT0xAA=="]}`))
	cfg := Config{Commands: []Command{{Argv: []string{"/bin/app", "x"}}}, Names: []string{"PASSWORD"}}
	own := []string{"A=1", "B=2"}
	f.Fuzz(func(t *testing.T, text []byte) {
		head, _, err := frame(json.RawMessage("{}"))
		if err != nil {
			t.Fatal(err)
		}
		head[3] = byte(len(text))
		head[2] = byte(len(text) >> 8)
		head[1] = byte(len(text) >> 16)
		var req request
		if err := readText(bytes.NewReader(text), head, &req); err != nil {
			return
		}
		command, err := cfg.judge(req, own)
		if err != nil {
			return
		}
		if !command.equal(cfg.Commands[0]) {
			t.Errorf("starts %q", command.Argv)
		}
		for _, variable := range req.Env {
			if !slices.Contains(own, variable) && !strings.HasPrefix(variable, "PASSWORD=") || strings.ContainsRune(variable, 0) {
				t.Errorf("sets %q", variable)
			}
		}
	})
}

func TestAMessageIsBounded(t *testing.T) {
	if err := readText(strings.NewReader(""), [4]byte{0xff}, new(request)); err == nil || !strings.Contains(err.Error(), "expected at most") {
		t.Errorf("error %v", err)
	}
	if _, _, err := frame(strings.Repeat("x", maxMessage)); err == nil {
		t.Error("a message of any length is sent")
	}
}
