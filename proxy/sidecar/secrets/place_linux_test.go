package secrets_test

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

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
