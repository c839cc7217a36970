package launch

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// helperArgument is the only argument of a helper.
	helperArgument = "launch-helper"
	// helperName is what the kernel calls it, 15 bytes at most.
	helperName = "launch-helper"
	// helperSocket is the first descriptor after the standard ones.
	helperSocket = 3
	// maxFiles is how many files come with a request: the standard ones.
	maxFiles = 3
)

// Helper says whether this process was started by [Start] as its helper; args are os.Args. If
// so, the program has to call [Help] and end.
func Helper(args []string) bool { return len(args) == 2 && args[1] == helperArgument }

// Help starts programs until the guard ends, and returns nil then.
func Help() error {
	if err := KeepDescriptors(); err != nil { // the socket's among them
		return err
	}
	file := os.NewFile(helperSocket, "helper")
	conn, err := connOf(file)
	if err != nil {
		return fmt.Errorf("this command is for the program itself: %w", err)
	}
	defer func() { _ = conn.Close() }()  // the guard is gone
	if err := file.Close(); err != nil { // conn is a copy, and its end must be the last
		return err
	}
	// A service manager that ends everybody at once means the guard, which will tell.
	// They are not ignored, which the programs would inherit.
	signal.Notify(make(chan os.Signal, 1), unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	runtime.LockOSThread() // whose name a program has until it is one
	name := append([]byte(helperName), 0)
	if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0); err != nil { //nolint:gosec // is how the kernel takes a name
		return fmt.Errorf("naming the helper: %w", err)
	}
	h := &helper{conn: conn, own: os.Environ()}
	defer h.killAll()
	if err := h.begin(); err != nil {
		return err
	}
	for {
		if err := h.serve(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// helper is one that runs. It is used by one goroutine.
type helper struct {
	conn    *net.UnixConn
	cfg     Config
	own     []string // environment
	started []started
}

// started is a program that may still run.
type started struct {
	pid   int
	pidfd int // names the process even when it has ended and its number is another's
	group bool
}

// begin is told what may be started.
func (h *helper) begin() error {
	files, err := h.read(&h.cfg)
	closeAll(files)
	if err != nil {
		return err
	}
	return h.tell(answer{})
}

// serve answers one request.
func (h *helper) serve() error {
	var req request
	files, err := h.read(&req)
	defer closeAll(files)
	if err != nil {
		return err
	}
	pid, err := h.start(req, files)
	if err != nil {
		return h.tell(refusal(err))
	}
	return h.tell(answer{PID: pid})
}

// read reads one message and the files that came with it, which are the caller's even if
// there is an error.
func (h *helper) read(message any) (files []int, err error) {
	var head [4]byte
	rights := make([]byte, unix.CmsgSpace(maxFiles*4))
	n, attached, _, _, err := h.conn.ReadMsgUnix(head[:], rights)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	if attached > 0 {
		if files, err = filesOf(rights[:attached]); err != nil {
			return files, err
		}
	}
	if _, err := io.ReadFull(h.conn, head[n:]); err != nil {
		return files, err
	}
	return files, readText(h.conn, head, message)
}

// filesOf takes descriptors out of a control message. They are closed on exec, as those of
// ReadMsgUnix are.
func filesOf(rights []byte) (files []int, err error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		more, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return files, err
		}
		files = append(files, more...)
	}
	return files, nil
}

func closeAll(files []int) {
	for _, file := range files {
		_ = unix.Close(file) // another process holds it too
	}
}

func (h *helper) tell(told answer) error {
	head, text, err := frame(told)
	if err != nil {
		return err
	}
	_, err = h.conn.Write(append(head[:], text...))
	return err
}

// start starts a program, as a child of the guard. With an error, there may be a process that
// did not become one: it has this thread's name, and the guard reaps it.
func (h *helper) start(req request, files []int) (pid int, err error) {
	command, err := h.cfg.judge(req, h.own)
	if err != nil {
		return 0, err
	}
	if len(files) != maxFiles {
		return 0, fmt.Errorf("%d files, expected %d", len(files), maxFiles)
	}
	path, err := exec.LookPath(command.Argv[0])
	if err != nil {
		return 0, err
	}
	h.forget()
	one := started{pidfd: -1, group: req.Group || req.Session}
	sys := &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT, Setpgid: req.Group, Setsid: req.Session, PidFD: &one.pidfd}
	//nolint:gosec // a command of those that were told at the beginning
	one.pid, err = syscall.ForkExec(path, command.Argv, &syscall.ProcAttr{
		Dir: command.Dir, Env: req.Env, Files: []uintptr{uintptr(files[0]), uintptr(files[1]), uintptr(files[2])}, Sys: sys,
	})
	if err != nil {
		return 0, err
	}
	h.started = append(h.started, one)
	return one.pid, nil
}

// forget lets go of programs that have ended.
func (h *helper) forget() {
	var running []started
	for _, one := range h.started {
		ended := []unix.PollFd{{Fd: int32(one.pidfd), Events: unix.POLLIN}} //nolint:gosec // a descriptor
		if n, err := unix.Poll(ended, 0); err == nil && n > 0 {
			_ = unix.Close(one.pidfd)
			continue
		}
		running = append(running, one)
	}
	h.started = running
}

// killAll kills what still runs, with its process group: the guard is gone.
func (h *helper) killAll() {
	h.forget()
	for _, one := range h.started {
		if one.pidfd < 0 { // before Linux 5.2
			continue
		}
		if one.group { // it runs, so that its number is still its own
			_ = unix.Kill(-one.pid, unix.SIGKILL)
		}
		_ = unix.PidfdSendSignal(one.pidfd, unix.SIGKILL, nil, 0) // it may just have ended
	}
}
