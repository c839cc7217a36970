package secrets_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
)

// killVariable has the test's binary render into a folder, again and again, until it is
// killed.
const killVariable = "SECRETS_TEST_RENDER"

// renderForEver is the process that is killed.
func renderForEver(dir string) {
	for i := 0; ; i++ {
		_, err := secrets.New(context.Background(), secrets.Config{Vault: newEngine(time.Hour, time.Hour), Files: []secrets.File{{
			Path: filepath.Join(dir, "made", "f"), Template: strings.Repeat(fmt.Sprint(i%10), 300<<10),
		}}})
		if err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			return
		}
		_, _ = fmt.Fprintln(os.Stdout, "rendered")
	}
}

// TestAProcessThatIsKilled, at whatever step, leaves a whole file or none, nothing that
// anybody else could read, and nothing at all that the next one does not remove.
func TestAProcessThatIsKilled(t *testing.T) {
	t.Parallel()
	dir := memory(t)
	left := 0
	for n := range 40 {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), killVariable+"="+dir)
		out, err := child.StdoutPipe()
		if err := errors.Join(err, child.Start()); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil { // it is at work
			t.Fatal(err)
		}
		time.AfterFunc(time.Duration(n)*97*time.Microsecond, func() { _ = child.Process.Signal(syscall.SIGKILL) })
		_ = child.Wait()
		err = filepath.WalkDir(filepath.Join(dir, "made"), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			if info.Mode().Perm()&0o077 != 0 {
				t.Errorf("%s has mode %s", path, info.Mode())
			}
			if name := entry.Name(); strings.HasPrefix(name, ".sallyport.f.") {
				left++
			} else if name == "f" {
				raw, err := os.ReadFile(path)
				if err != nil || len(raw) != 300<<10 || len(bytes.Trim(raw, string(raw[:1]))) > 0 {
					t.Errorf("a file of %d bytes is not whole, or %v", len(raw), err)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("of 40 processes %d left a file that was not finished", left)
	if err := put(t, secrets.File{Path: filepath.Join(dir, "made", "f")}); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "made")); err != nil || len(entries) != 1 {
		t.Errorf("the next left %v, error %v", entries, err)
	}
}
