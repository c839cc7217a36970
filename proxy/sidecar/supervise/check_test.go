package supervise

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// often asks so often that a test need not wait.
func often(k Check) *Check {
	k.Every, k.Timeout = 5*time.Millisecond, time.Second
	return &k
}

// answering is a server that stands for the application, and answers with a status.
type answering struct {
	*httptest.Server
	status atomic.Int64
	asked  atomic.Int64
}

func newAnswering(t *testing.T, status int64) *answering {
	t.Helper()
	a := &answering{}
	a.status.Store(status)
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		a.asked.Add(1)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(int(a.status.Load()))
		_, _ = io.WriteString(w, "body")
	}))
	t.Cleanup(a.Close)
	return a
}

// waits for a log line.
func (r *running) logged(t *testing.T, text string, times int) {
	t.Helper()
	r.log.wait(t, text, times)
}

// TestCheckKinds asks in each way, of what answers and of what does not.
func TestCheckKinds(t *testing.T) {
	good, moved, bad := newAnswering(t, 204), newAnswering(t, 302), newAnswering(t, 503)
	socket := filepath.Join(t.TempDir(), "app.sock")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	tests := map[string]struct {
		check Check
		cause string // "" if it passes
	}{
		"http":             {Check{HTTP: good.URL}, ""},
		"http elsewhere":   {Check{HTTP: moved.URL}, ""},
		"http unwell":      {Check{HTTP: bad.URL + "/x?key=1"}, bad.URL + "/x answers with status 503, expected less than 400"},
		"http nobody":      {Check{HTTP: "http://127.0.0.1:1/"}, "connection refused"},
		"tcp":              {Check{TCP: good.Listener.Addr().String()}, ""},
		"tcp nobody":       {Check{TCP: "127.0.0.1:1"}, "connection refused"},
		"unix":             {Check{TCP: "unix:" + socket}, ""},
		"unix nobody":      {Check{TCP: "unix:" + socket + "x"}, "no such file or directory"},
		"command":          {Check{Command: sh("test \"$A\" = 1")}, ""},
		"command fails":    {Check{Command: sh("exit 4")}, "command /bin/sh ended with exit code 4"},
		"command is none":  {Check{Command: []string{"/no/such/file"}}, "starting the command /no/such/file: no such file or directory"},
		"command is stuck": {Check{Command: sh("trap '' TERM; sleep 1000 & sleep 1000"), Timeout: 50 * time.Millisecond}, "it has not ended in time"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			check := often(test.check)
			check.Start = time.Millisecond
			if test.check.Timeout != 0 {
				check.Timeout = test.check.Timeout
			}
			r := run(t, Config{Command: sh("exec sleep 1000"), Env: []string{"A=1"}, Check: check})
			if test.cause != "" {
				r.logged(t, "app does not pass its check", 1)
				if s := r.State(); s.OK() || !s.Running || s.Check != Failing || !strings.Contains(s.Cause, test.cause) {
					t.Errorf("state %+v, expected %q", s, test.cause)
				}
				return
			}
			select {
			case <-r.Answering():
			case <-time.After(patience):
				t.Fatalf("it does not answer: %+v", r.State())
			}
			if s := r.State(); !s.OK() || s.Check != Passing {
				t.Errorf("state %+v", s)
			}
		})
	}
}

// TestFailingCheckLosesReadiness has an application that is never started again not
// answer, and answer again.
func TestFailingCheckLosesReadiness(t *testing.T) {
	app := newAnswering(t, 200)
	r := run(t, Config{Command: sh("exec sleep 1000"), Check: often(Check{HTTP: app.URL, Failures: 3})})
	r.logged(t, "app passes its check", 1)
	app.status.Store(500)
	r.logged(t, "app does not pass its check", 1)
	if s := r.State(); s.OK() || s.Check != Failing || s.Restarts != 0 {
		t.Errorf("state %+v", s)
	}
	app.status.Store(200)
	r.logged(t, "app passes its check", 2)
	if s := r.State(); !s.OK() || s.Cause != "" || s.Restarts != 0 {
		t.Errorf("state %+v", s)
	}
}

// TestFailingCheckRestarts has an application that does not answer be started again, until
// it was so often enough.
func TestFailingCheckRestarts(t *testing.T) {
	app := newAnswering(t, 200)
	r := run(t, Config{Command: sh("exec sleep 1000"), Check: often(Check{HTTP: app.URL, Failures: 2, Start: time.Millisecond}), Restart: OnFailure, Limit: 2, Backoff: quick})
	r.logged(t, "app passes its check", 1)
	app.status.Store(500)
	err := r.end(t)
	var exited *ExitedError
	if !errors.As(err, &exited) || exited.Success() || err.Error() != "app /bin/sh was ended: it does not pass its check: "+app.URL+" answers with status 500, expected less than 400" {
		t.Errorf("it ended with %v", err)
	}
	if s := r.State(); s.Restarts != 2 {
		t.Errorf("state %+v", s)
	}
}

// TestSlowStartIsNoFailure has an application not answer for longer than would be too
// long later.
func TestSlowStartIsNoFailure(t *testing.T) {
	app := newAnswering(t, 500)
	r := run(t, Config{Command: sh("exec sleep 1000"), Check: often(Check{HTTP: app.URL, Failures: 1, Start: time.Hour}), Restart: Always, Backoff: quick})
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for app.asked.Load() < 10 {
		<-tick.C
	}
	if s := r.State(); s.Check != Starting || s.Restarts != 0 {
		t.Errorf("state %+v", s)
	}
	select {
	case <-r.Answering():
		t.Error("it answers, and has not passed")
	default:
	}
	app.status.Store(200)
	<-r.Answering()
}

// TestRetiredMayAnswerItsLast has an application fail its check while a stop is under way:
// it is not ended for that.
func TestRetiredMayAnswerItsLast(t *testing.T) {
	app := newAnswering(t, 200)
	r := run(t, Config{Command: sh("exec sleep 1000"), Check: often(Check{HTTP: app.URL, Failures: 1}), Restart: Always, Backoff: quick})
	r.logged(t, "app passes its check", 1)
	r.Retire()
	app.status.Store(500)
	r.logged(t, "app does not pass its check", 1)
	app.status.Store(200)
	r.logged(t, "app passes its check", 2) // by the same process
	if s := r.State(); !s.OK() || s.Restarts != 0 || s.Last != nil {
		t.Errorf("state %+v", s)
	}
}

// TestChecksThatAreNone are refused.
func TestChecksThatAreNone(t *testing.T) {
	for name, check := range map[string]Check{
		"none": {}, "two": {HTTP: "http://127.0.0.1/", TCP: "127.0.0.1:1"}, "no http": {HTTP: "https://127.0.0.1/"}, "no url": {HTTP: "127.0.0.1"},
	} {
		if _, err := New(Config{Command: []string{"true"}, Check: &check}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no command, and no error")
	}
}

// TestExecLeavesNothing runs a program that leaves a process behind.
func TestExecLeavesNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	if err := Exec(t.Context(), nil, Program{Argv: sh("sleep 1000 & echo \"pid $!\" > " + file), Env: os.Environ()}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	gone(t, pidsIn(t, string(text), "pid")[0])
}
