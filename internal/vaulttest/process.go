package vaulttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// BinaryVariable names the environment variable that says which binary to run.
const BinaryVariable = "SALLYPORT_VAULT_BIN"

// moduleLine identifies the repository's root among nested modules.
const moduleLine = "module github.com/sallyport/sallyport"

// Binary returns the path of the Vault binary to run: $SALLYPORT_VAULT_BIN, else
// .build/vault in the repository that the working directory lies in, else
// "vault" or "bao" on PATH.
func Binary() (string, error) {
	if path := os.Getenv(BinaryVariable); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("finding the Vault binary of %s: %w", BinaryVariable, err)
		}
		return filepath.Abs(path)
	}
	if root, ok := repositoryRoot(); ok {
		built := filepath.Join(root, ".build", "vault")
		if info, err := os.Stat(built); err == nil && info.Mode().IsRegular() {
			return built, nil
		}
	}
	for _, name := range []string{"vault", "bao"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("no Vault binary: run `make vault` or set " + BinaryVariable)
}

// Plugins that the minimal build of the server is without.
const (
	KubernetesPlugin = "vault-plugin-auth-kubernetes"
	MySQLPlugin      = "vault-plugin-database-mysql"
	PostgreSQLPlugin = "vault-plugin-database-postgresql"
)

// Plugin returns the path of one of them: what .build links to in the repository
// that the working directory lies in. All lie in one folder.
func Plugin(name string) (string, error) {
	root, ok := repositoryRoot()
	if !ok {
		return "", fmt.Errorf("finding Vault's plugin %s: not in the repository", name)
	}
	path, err := filepath.EvalSymlinks(filepath.Join(root, ".build", name))
	if err != nil {
		return "", fmt.Errorf("no plugin %s for Vault: run `make vault`: %w", name, err)
	}
	return path, nil
}

// repositoryRoot walks up from the working directory to the root module's go.mod.
func repositoryRoot() (string, bool) {
	dir, err := os.Getwd()
	if err != nil {
		return "", false
	}
	for {
		raw, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil {
			first, _, _ := strings.Cut(string(raw), "\n")
			if strings.TrimSpace(first) == moduleLine {
				return dir, true
			}
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", false
		}
		dir = parent
	}
}

// process is one running server process.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended and been reaped
}

// startProcess runs `BINARY server` with its output appended to logFile.
//
// The kernel sends Pdeathsig when the *thread* that started the child ends, not
// the process; so one goroutine starts the child and waits for it on a thread
// that it keeps to itself.
func startProcess(ctx context.Context, binary, dir, logFile string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of vault: %w", err)
	}
	defer log.Close() // the child has its own descriptor
	// The process outlives the call that starts it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), binary, "server", "-config", filepath.Join(dir, "vault.json"))
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	// No variable of the caller's reaches the server, least of all VAULT_TOKEN.
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // a signalled exit is what stop asks for
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", binary, err)
	}
	return p, nil
}

// stop asks the process to end, insists after ten seconds, and waits for it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // a paused process cannot end
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		p.kill()
	}
}

// kill ends the process as a power cut does, and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // one that has ended is what is wanted
	<-p.done
}

func (p *process) pause() error  { return p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *process) resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }
