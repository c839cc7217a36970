package supervise

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// quick has an application be started again at once.
var quick = Backoff{First: time.Millisecond, Most: 2 * time.Millisecond}

// TestAnEndIsTold ends applications in every way, and looks at what is told and how often
// each was started.
func TestAnEndIsTold(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		command []string
		policy  Policy
		limit   int
		want    string // the error
		starts  int
	}{
		"an exit code":               {sh("echo x; exit 3"), Never, 0, "app /bin/sh has ended by itself: exit code 3", 1},
		"success":                    {sh("echo x"), Never, 0, "app /bin/sh has ended by itself: exit code 0", 1},
		"a signal":                   {sh("echo x; kill -9 $$"), Never, 0, "app /bin/sh has ended by itself: signal 9 (killed)", 1},
		"success is no failure":      {sh("echo x"), OnFailure, 2, "app /bin/sh has ended by itself: exit code 0", 1},
		"failures up to the limit":   {sh("echo x; exit 1"), OnFailure, 2, "app /bin/sh has ended by itself: exit code 1", 3},
		"always, up to the limit":    {sh("echo x"), Always, 2, "app /bin/sh has ended by itself: exit code 0", 3},
		"it dies without a word":     {[]string{"false"}, OnFailure, 1, "app false has ended by itself: exit code 1", 0},
		"there is no such program":   {[]string{"no-such-program-at-all"}, Always, 2, "starting the app no-such-program-at-all: executable file not found in $PATH", 0},
		"there is no such file":      {[]string{"/no/such/file", "--password=secret"}, Always, 2, "starting the app /no/such/file: no such file or directory", 0},
		"it may not be executed":     {[]string{text}, Always, 2, "starting the app " + text + ": permission denied", 0},
		"a directory is no program":  {[]string{"/usr"}, Always, 2, "starting the app /usr: permission denied", 0},
		"its last line has no end":   {sh("printf xx; exit 4"), Never, 0, "app /bin/sh has ended by itself: exit code 4", 2},
		"its output is closed first": {sh("echo x; exec >&- 2>&-; exit 5"), Never, 0, "app /bin/sh has ended by itself: exit code 5", 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := run(t, Config{Command: test.command, Restart: test.policy, Limit: test.limit, Backoff: quick})
			err := r.end(t)
			if err == nil || err.Error() != test.want {
				t.Errorf("it ended with %v, expected %s", err, test.want)
			}
			if starts := strings.Count(r.out.String(), "x"); starts != test.starts {
				t.Errorf("it was started %d times, expected %d\n%s", starts, test.starts, r.log)
			}
			if s := r.State(); s.Running || !s.Ended || s.OK() {
				t.Errorf("state %+v after the end", s)
			}
			if err := r.Signal(syscall.SIGUSR1); !errors.Is(err, ErrNotRunning) {
				t.Errorf("a signal after the end: %v", err)
			}
			if err := r.Restart(t.Context(), nil, nil); !errors.Is(err, ErrEnded) {
				t.Errorf("a restart after the end: %v", err)
			}
			if strings.Contains(r.log.String(), "secret") {
				t.Errorf("the log has an argument:\n%s", r.log)
			}
		})
	}
}

// TestStops ends applications that obey, and that do not.
func TestStops(t *testing.T) {
	tests := map[string]struct {
		script string
		stop   Stop
		killed bool
		output string // at its end
	}{
		"it obeys":               {"trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done", Stop{}, false, "up\nbye\n"},
		"a signal of its own":    {"trap 'echo bye; exit 0' QUIT; trap '' TERM; echo up; while :; do sleep 0.01; done", Stop{Signal: syscall.SIGQUIT}, false, "up\nbye\n"},
		"it obeys with an error": {"trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done", Stop{}, false, "up\nbye\n"},
		"it ignores it":          {"trap '' TERM INT HUP; echo up; while :; do sleep 0.01; done", Stop{After: 50 * time.Millisecond}, true, "up\n"},
		"it is stopped":          {"trap 'echo bye; exit 0' TERM; echo up; kill -STOP $$; while :; do sleep 0.01; done", Stop{}, false, "up\nbye\n"},
		"its child obeys later":  {"(trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01 2>/dev/null; done) 2>/dev/null & wait", Stop{}, false, "up\nbye\n"},
		"its child ignores it":   {"(trap '' TERM; echo up; while :; do sleep 0.01; done) & wait", Stop{After: 50 * time.Millisecond}, true, "up\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := run(t, Config{Command: sh(test.script), Stop: test.stop})
			r.out.wait(t, "up", 1)
			r.stop()
			if err := r.end(t); err != nil {
				t.Errorf("it was to end, and did so with %v", err)
			}
			if got := r.out.String(); got != test.output {
				t.Errorf("it has written %q, expected %q", got, test.output)
			}
			if killed := strings.Contains(r.log.String(), "app does not end in time and is killed"); killed != test.killed {
				t.Errorf("it was killed: %t, expected %t\n%s", killed, test.killed, r.log)
			}
		})
	}
}

// TestRestartOnRequest changes environment and standard input of an application, and
// does not count as a failure.
func TestRestartOnRequest(t *testing.T) {
	script := "trap 'exit 0' TERM; echo \"[$A $B $(cat)]\"; while :; do sleep 0.01; done"
	r := run(t, Config{Command: sh(script), Base: []string{"PATH=" + os.Getenv("PATH"), "A=a", "B=b"}, Env: []string{"B=1"}, Stdin: []byte("one")})
	r.out.wait(t, "[a 1 one]", 1)
	for range 7 { // more often than may fail
		if err := r.Restart(t.Context(), []string{"B=2"}, []byte("two")); err != nil {
			t.Fatal(err)
		}
	}
	r.out.wait(t, "[a 2 two]", 1)
	if s := r.State(); !s.OK() || s.Restarts != 0 || s.Last == nil {
		t.Errorf("state %+v", s)
	}
}

// TestRestartWhileItWaits does not wait as after a failure.
func TestRestartWhileItWaits(t *testing.T) {
	r := run(t, Config{Command: sh("echo \"$A\"; test \"$A\" = good || exit 1; exec sleep 1000"), Restart: OnFailure, Backoff: Backoff{First: time.Hour, Most: time.Hour}})
	r.log.wait(t, "app has ended and is started again", 1)
	if err := r.Restart(t.Context(), []string{"A=good"}, nil); err != nil {
		t.Fatal(err)
	}
	r.out.wait(t, "good", 1)
	if s := r.State(); !s.Running || s.Restarts != 1 {
		t.Errorf("state %+v", s)
	}
}

// TestRetiredIsNotStartedAgain has an application end by itself while a stop is under way.
func TestRetiredIsNotStartedAgain(t *testing.T) {
	r := run(t, Config{Command: sh("echo up; read x; exit 1"), Restart: Always, Stdin: nil, Backoff: quick})
	r.Retire()
	if err := r.end(t); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// TestSignalsAreHandedOn sends a signal to this process, and to the application alone.
func TestSignalsAreHandedOn(t *testing.T) {
	script := "trap 'echo usr1' USR1; trap 'echo hup' HUP; trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done"
	r := run(t, Config{Command: sh(script), Forward: []os.Signal{syscall.SIGUSR1}})
	r.out.wait(t, "up", 1)
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	r.out.wait(t, "usr1", 1)
	if err := r.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	r.out.wait(t, "hup", 1)
}

// TestNothingIsInherited looks at descriptors, signals and environment of an application.
func TestNothingIsInherited(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	// One that whoever started us has left open.
	left, err := syscall.Dup(1)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(left) }()
	environ := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/home/app", "VAULT_TOKEN=1", "VAULT_ADDR=1", "BAO_TOKEN=1", "SALLYPORT_WRAPPING_TOKEN=1",
		"CREDENTIALS_DIRECTORY=1", "NOTIFY_SOCKET=1", "LISTEN_FDS=1", "LISTEN_PID=1", "LISTEN_FDNAMES=1",
	}
	script := `env | grep -v -e ^_= -e ^PWD= -e ^SHLVL= -e ^OLDPWD= | sort
ls /proc/self/fd
for line in Blk Ign Cgt; do mask=$(sed -n "s/^Sig$line:[^0-9a-f]*//p" /proc/self/status); echo "Sig$line: $((0x$mask & 0x7fffffff))"; done # what is above is libc's
grep flags /proc/$$/fdinfo/1
echo "group $(cut -d' ' -f5 /proc/$$/stat) $$"`
	r := run(t, Config{Command: sh(script), Base: Inherited(environ), Env: []string{"DB_PASSWORD=x"}})
	_ = r.end(t) // with success
	got := r.out.String()
	// The fourth descriptor is what ls reads.
	want := "DB_PASSWORD=x\nHOME=/home/app\nPATH=" + os.Getenv("PATH") + "\n0\n1\n2\n3\nSigBlk: 0\nSigIgn: 0\nSigCgt: 0\nflags:\t01\ngroup "
	rest, ok := strings.CutPrefix(got, want)
	if !ok {
		t.Fatalf("the application sees\n%s\nexpected\n%s", got, want)
	}
	if words := strings.Fields(rest); len(words) != 2 || words[0] != words[1] {
		t.Errorf("the application's process group and number are %q", rest)
	}
}
