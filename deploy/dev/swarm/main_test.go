//go:build swarm

package swarm

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// Where the inner run finds what the outer one prepared.
const (
	folderVariable = "SALLYPORT_SWARM_FOLDER" // of this run; set in the inner one only
	rootVariable   = "SALLYPORT_SWARM_ROOT"   // of the repository
)

// address is the only one that everything in the namespace can reach. Containers
// get there by their gateway.
const address = "10.99.0.1"

// folder and root are the values of the variables above.
var folder, root string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	folder, root = os.Getenv(folderVariable), os.Getenv(rootVariable)
	if folder == "" {
		return report(runInside())
	}
	flag.Parse()
	// These tests wait for an engine and for leases to end, and less for a processor.
	if err := flag.Set("test.parallel", "8"); err != nil {
		return report(err)
	}
	if code := report(enter()); code != 0 {
		return code
	}
	return m.Run()
}

// report prints an error and returns the exit code for it.
func report(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "swarm:", err)
	return 1
}

// runInside runs this very program in new namespaces. It is process 1 there.
func runInside() (err error) {
	if os.Geteuid() != 0 {
		return errors.New("an engine needs root: run sudo make swarm")
	}
	for _, tool := range []string{"dockerd", "docker", "ip", "setpriv", "psql"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("no %s on PATH: run `make swarm` as root once", tool)
		}
	}
	if root, err = filepath.Abs("../../.."); err != nil {
		return err
	}
	if err := command("make", "-C", root, "plugin", "vault").Run(); err != nil {
		return fmt.Errorf("building what is tested: %w", err)
	}
	dir, err := os.MkdirTemp("", "sallyport-swarm-")
	if err != nil {
		return err
	}
	runtime.LockOSThread() // whose end would be the inner one's
	inner := command("/proc/self/exe", os.Args[1:]...)
	inner.Env = append(os.Environ(), folderVariable+"="+dir, rootVariable+"="+root)
	inner.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	err = inner.Run()
	removeCgroups(filepath.Base(dir))
	if err != nil {
		return fmt.Errorf("%w; the logs stay in %s", err, dir)
	}
	return os.RemoveAll(dir)
}

func command(name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd
}

// enter makes the namespaces fit for an engine. /run is fresh, so that nothing of
// the machine's own engine is seen, nor anything left there.
func enter() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making the mounts private: %w", err)
	}
	for _, m := range [][2]string{{"proc", "/proc"}, {"sysfs", "/sys"}, {"cgroup2", "/sys/fs/cgroup"}, {"tmpfs", "/run"}} {
		if err := syscall.Mount(m[0], m[1], m[0], 0, ""); err != nil {
			return fmt.Errorf("mounting %s on %s: %w", m[0], m[1], err)
		}
	}
	return errors.Join(
		command("ip", "link", "set", "lo", "up").Run(),
		command("ip", "addr", "add", address+"/24", "dev", "lo").Run(),
	)
}

// removeCgroups removes what is left of the engine's: empty, because every process
// that was in there has ended.
func removeCgroups(name string) {
	mounts, err := os.Open("/proc/self/mounts")
	if err != nil {
		return
	}
	defer mounts.Close()
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 || fields[2] != "cgroup2" {
			continue
		}
		var groups []string
		_ = filepath.WalkDir(filepath.Join(fields[1], name), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				groups = append(groups, path)
			}
			return nil
		})
		for i := len(groups) - 1; i >= 0; i-- { // the innermost first
			_ = os.Remove(groups[i])
		}
	}
}
