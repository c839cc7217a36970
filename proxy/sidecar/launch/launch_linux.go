package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Launcher has a helper start programs. Its methods may be used concurrently.
type Launcher struct {
	cfg    Config
	helper *exec.Cmd
	mu     sync.Mutex // one request at a time, with what it may leave to be reaped
	conn   *net.UnixConn
}

// Start starts the helper, which lives until [Launcher.Close] or the end of this process. It
// is to be called before the process confines itself, by a program whose main begins with
// [Helper].
func Start(ctx context.Context, cfg Config) (*Launcher, error) {
	ours, theirs, err := pair()
	if err != nil {
		return nil, fmt.Errorf("making a socket pair: %w", err)
	}
	defer theirs.Close()
	//nolint:gosec // this program itself; it ends by the end of the socket
	helper := exec.CommandContext(context.WithoutCancel(ctx), "/proc/self/exe", helperArgument)
	helper.Args[0] = os.Args[0]
	helper.ExtraFiles = []*os.File{theirs}
	helper.Stderr = os.Stderr                                // for what a runtime says before it dies
	helper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's signals are for the guard
	if err := helper.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the helper: %w", err), ours.Close())
	}
	l := &Launcher{cfg: cfg, helper: helper, conn: ours}
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

// Start is [exec.Cmd.Start] for one of the commands that the helper may start. The process is
// a child of this one. Of cmd count Args, Env, and Stdin, Stdout and Stderr, which are nil or
// an *os.File, and stay the caller's; and of SysProcAttr Setpgid and Setsid. cmd's own
// context does not end it.
func (l *Launcher) Start(cmd *exec.Cmd) error {
	if cmd.Err != nil {
		return cmd.Err
	}
	if cmd.Process != nil {
		return errors.New("launch: already started")
	}
	req, err := l.request(cmd)
	if err != nil {
		return err
	}
	files, closing, err := standardFiles(cmd)
	if err != nil {
		return err
	}
	defer closing()
	l.mu.Lock()
	defer l.mu.Unlock()
	pid, err := l.ask(req, files)
	if err != nil {
		l.reap()
		return fmt.Errorf("starting %s: %w", cmd.Args[0], err)
	}
	cmd.Process, err = os.FindProcess(pid)
	return err
}

// request is what to ask the helper for.
func (l *Launcher) request(cmd *exec.Cmd) (request, error) {
	req := request{
		Command: slices.IndexFunc(l.cfg.Commands, func(known []string) bool { return slices.Equal(known, cmd.Args) }),
		Env:     cmd.Environ(),
	}
	if req.Command < 0 {
		return req, fmt.Errorf("starting %q: not one of the commands that were known before this process confined itself", cmd.Args)
	}
	if cmd.Dir != "" || len(cmd.ExtraFiles) > 0 {
		return req, errors.New("launch: a folder or further files cannot be given")
	}
	if attr := cmd.SysProcAttr; attr != nil {
		req.Group, req.Session = attr.Setpgid, attr.Setsid
	}
	return req, nil
}

// standardFiles are the program's input, output and errors. closing lets go of those that
// are made here.
func standardFiles(cmd *exec.Cmd) (files []*os.File, closing func(), err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	for _, given := range []any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		switch file, ok := given.(*os.File); {
		case ok:
			files = append(files, file)
		case given == nil:
			files = append(files, null)
		default:
			return nil, nil, errors.Join(fmt.Errorf("launch: a standard stream is a %T, expected an *os.File", given), null.Close())
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
		fds = append(fds, int(file.Fd())) //nolint:gosec // a descriptor; and blocking from here on, as a program expects it
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
	if told.Error != "" {
		return 0, errors.New(told.Error)
	}
	return told.PID, nil
}

// reap waits for a process that did not become a program, which nobody else knows: a child of
// this process that still has the helper's name, and ends. The caller holds mu, so that it is
// none that is about to become one.
func (l *Launcher) reap() {
	folders, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, folder := range folders {
		pid, err := strconv.Atoi(folder.Name())
		if err != nil || pid == l.PID() {
			continue
		}
		stat, err := os.ReadFile("/proc/" + folder.Name() + "/stat")
		if _, state, found := bytes.Cut(stat, []byte(" ("+helperName+") ")); err != nil || !found || !bytes.HasPrefix(state[min(1, len(state)):], fmt.Appendf(nil, " %d ", os.Getpid())) {
			continue
		}
		_, _ = unix.Wait4(pid, nil, 0, nil) // a reaper may have been faster
	}
}
