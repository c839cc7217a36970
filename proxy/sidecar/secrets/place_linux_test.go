package secrets_test

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
)

// TestSomebodyElsesFileIsNoReasonNotToStart: in a folder for everybody others may put a file
// that is named as one of ours, and only they may remove it.
func TestSomebodyElsesFileIsNoReasonNotToStart(t *testing.T) {
	dir := memory(t)
	foreign := filepath.Join(dir, ".sallyport.f."+rand.Text())
	if err := errors.Join(os.Chmod(dir, 0o777|os.ModeSticky), os.WriteFile(foreign, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the function
		if os.Geteuid() == 0 {
			// Of this thread alone, which has no power over others' files then.
			_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0)
		}
		ended <- put(t, secrets.File{Path: filepath.Join(dir, "f")})
	}()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(foreign); os.Geteuid() == 0 && err != nil {
		t.Errorf("somebody else's file: %v", err)
	}
}

// TestAFolderOfSomebodyElseIsRefused: whoever has the folder may put another file in the
// place of ours, and may have made it before we could.
func TestAFolderOfSomebodyElseIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		return // nobody else can write to a folder that is another's
	}
	dir := filepath.Join(memory(t), "taken")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, 4242, 4242)); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		owner, other string
		refused      bool
	}{
		"a file of ours":                 {"", "", true},
		"a file of another one":          {"4343", "", true},
		"its own file":                   {"4242", "", false},
		"ours, beside a file of its own": {"", "4242", false},
	} {
		t.Run(name, func(t *testing.T) {
			files := []secrets.File{{Path: filepath.Join(dir, "f"), Owner: test.owner, Template: "content"}}
			if test.other != "" {
				files = append(files, secrets.File{Path: filepath.Join(dir, "g"), Owner: test.other, Template: "content"})
			}
			_, err := secrets.New(t.Context(), secrets.Config{Vault: newEngine(time.Hour, time.Hour), Files: files})
			if refused := err != nil && strings.Contains(err.Error(), "belongs to user 4242"); refused != test.refused || err != nil && !refused {
				t.Errorf("error %v", err)
			}
		})
	}
}
