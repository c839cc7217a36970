package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Launcher has a helper start programs. Its methods may be used concurrently.
type Launcher struct {
	cfg    Config
	helper *exec.Cmd
	mu     sync.Mutex // one request at a time, with what it may leave to be reaped
	conn   *net.UnixConn
	// started are those that were not yet waited for, and maybe others. Under mu.
	started map[int]struct{}
}

// reapPatience is how long a process that could not become a program may take to end.
const reapPatience = time.Second

// Start starts the helper, which lives until [Launcher.Close] or the end of this process. It
// is to be called before the process confines itself, by a program whose main begins with
// [Helper].
func Start(ctx context.Context, cfg Config) (*Launcher, error) {
	ours, theirs, err := pair()
	if err != nil {
		return nil, fmt.Errorf("making a socket pair: %w", err)
	}
	defer theirs.Close()
	if err := KeepDescriptors(); err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	helper := exec.CommandContext(context.WithoutCancel(ctx), "/proc/self/exe", helperArgument)
	helper.Args[0] = os.Args[0]
	helper.ExtraFiles = []*os.File{theirs}
	helper.Stderr = os.Stderr                                // for what a runtime says before it dies
	helper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's signals are for the guard
	if err := helper.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the helper: %w", err), ours.Close())
	}
	l := &Launcher{cfg: cfg, helper: helper, conn: ours, started: make(map[int]struct{})}
	if _, err := l.ask(cfg, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("telling the helper its commands: %w", err), l.Close())
	}
	return l, nil
}

// pair returns the two ends: one for this process, one to be inherited.
func pair() (*net.UnixConn, *os.File, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := os.NewFile(uintptr(ends[0]), "launcher"), os.NewFile(uintptr(ends[1]), "helper")
	defer ours.Close() // FileConn has made a copy
	conn, err := connOf(ours)
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return conn, theirs, nil
}

func connOf(file *os.File) (*net.UnixConn, error) {
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	if unixConn, ok := conn.(*net.UnixConn); ok {
		return unixConn, nil
	}
	return nil, errors.Join(errors.New("not a Unix socket"), conn.Close())
}

// PID is the helper's process.
func (l *Launcher) PID() int { return l.helper.Process.Pid }

// Close ends the helper, and kills what it has started and still runs.
func (l *Launcher) Close() error {
	err := l.conn.Close()
	if waited := l.helper.Wait(); waited != nil && !errors.Is(waited, syscall.ECHILD) { // a reaper was faster
		err = errors.Join(err, waited)
	}
	return err
}

// StartProcess is [os.StartProcess] for one of the commands that the helper may start, whose
// own way to look for a program replaces name. The process is a child of this one. Of attr
// count Dir, Env, and three Files, which may be nil and stay the caller's; and of attr.Sys
// Setpgid and Setsid; a Credential is refused: the user is this process's own. Whatever
// Pdeathsig says, the process ends with this one.
func (l *Launcher) StartProcess(name string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	pathError := func(err error) error { return &os.PathError{Op: "launch", Path: name, Err: err} }
	req, err := l.request(argv, attr)
	if err != nil {
		return nil, pathError(err)
	}
	files, closing, err := standardFiles(attr.Files)
	if err != nil {
		return nil, pathError(err)
	}
	defer closing()
	l.mu.Lock()
	defer l.mu.Unlock()
	pid, err := l.ask(req, files)
	if err != nil {
		l.reap()
		return nil, pathError(err)
	}
	l.remember(pid)
	return os.FindProcess(pid)
}

// request is what to ask the helper for.
func (l *Launcher) request(argv []string, attr *os.ProcAttr) (request, error) {
	req := request{Env: attr.Env}
	if req.Env == nil {
		req.Env = os.Environ()
	}
	sys := attr.Sys
	if sys == nil {
		sys = &syscall.SysProcAttr{}
	}
	req.Group, req.Session = sys.Setpgid, sys.Setsid
	req.Command = slices.IndexFunc(l.cfg.Commands, Command{Argv: argv, Dir: attr.Dir}.equal)
	if req.Command < 0 || sys.Credential != nil {
		return req, errors.New("it is none of the commands that were known before this process confined itself")
	}
	return req, nil
}

// standardFiles are the program's input, output and errors. closing lets go of what is
// opened here.
func standardFiles(given []*os.File) (files []*os.File, closing func(), err error) {
	if len(given) > maxFiles {
		return nil, nil, fmt.Errorf("%d files, expected at most %d", len(given), maxFiles)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	files = append(slices.Clone(given), make([]*os.File, maxFiles-len(given))...)
	for i, file := range files {
		if file == nil {
			files[i] = null
		}
	}
	return files, func() { null.Close() }, nil
}

// ask sends a message with files and waits for the answer. One caller at a time.
func (l *Launcher) ask(message any, files []*os.File) (pid int, err error) {
	head, text, err := frame(message)
	if err != nil {
		return 0, err
	}
	fds := make([]int, 0, len(files))
	for _, file := range files {
		fds = append(fds, int(file.Fd())) // blocking from here on, as a program expects it
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if _, _, err := l.conn.WriteMsgUnix(head[:], rights, nil); err != nil {
		return 0, fmt.Errorf("asking the helper: %w", err)
	}
	if _, err := l.conn.Write(text); err != nil {
		return 0, fmt.Errorf("asking the helper: %w", err)
	}
	var told answer
	if _, err := io.ReadFull(l.conn, head[:]); err != nil {
		return 0, fmt.Errorf("the helper has ended: %w", err)
	}
	if err := readText(l.conn, head, &told); err != nil {
		return 0, fmt.Errorf("reading the helper's answer: %w", err)
	}
	return told.PID, told.err()
}

// remember has reap leave a program alone, which is its supervisor's to wait for. The caller
// holds mu.
func (l *Launcher) remember(pid int) {
	maps.DeleteFunc(l.started, func(pid int, _ struct{}) bool { return errors.Is(unix.Kill(pid, 0), unix.ESRCH) })
	l.started[pid] = struct{}{}
}

// reap waits for a process that did not become a program, which nobody else knows: a child of
// this process that still has the helper's name, and ends. The caller holds mu, so that it is
// none that is about to become one.
//
// A program can give itself that name, and live on: so none that was started is waited for,
// and no other for longer than reapPatience in all. What has not ended by then is left to
// whoever reaps orphans.
func (l *Launcher) reap() {
	folders, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	until := time.Now().Add(reapPatience)
	for _, folder := range folders {
		pid, err := strconv.Atoi(folder.Name())
		if _, started := l.started[pid]; err != nil || started || pid == l.PID() {
			continue
		}
		stat, err := os.ReadFile("/proc/" + folder.Name() + "/stat")
		if _, state, found := bytes.Cut(stat, []byte(" ("+helperName+") ")); err != nil || !found || !bytes.HasPrefix(state[min(1, len(state)):], fmt.Appendf(nil, " %d ", os.Getpid())) {
			continue
		}
		awaitEnd(pid, until)
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // a reaper may have been faster
	}
}

// awaitEnd returns when a child has ended, or at until.
func awaitEnd(pid int, until time.Time) {
	held, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // before Linux 5.3, or it has been reaped
	}
	defer func() { _ = unix.Close(held) }()                        // only watched
	ended := []unix.PollFd{{Fd: int32(held), Events: unix.POLLIN}} //nolint:gosec // a descriptor
	for {
		left := max(time.Until(until), 0)
		if _, err := unix.Poll(ended, int(left.Milliseconds())); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
