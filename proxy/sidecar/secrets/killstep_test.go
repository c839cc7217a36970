package secrets_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
)

// firstPlaced is the number of the step after which there is a file.
const firstPlaced = 11

// A life of one file, as another process can see it: it is written, replaced and removed.
var lifeOfAFile = []string{
	"its folder is made", "its folder has its owner",
	"an empty file is made", "it has its owner", "it has its mode", "it has its content", // a try, with no content
	"an empty file is made", "it has its owner", "it has its mode", "it has its content", "it is in its place",
	"an empty file is made", "it has its owner", "it has its mode", "it has its content", "it is in its place",
	"the application is told", "a lease is revoked",
	"a lease is revoked", "the file is removed",
}

// stepVariable has the test's binary live such a life in a folder; lastVariable is the
// number of the step after which it stops itself, from 1.
const stepVariable, lastVariable = "SECRETS_TEST_STEPS", "SECRETS_TEST_LAST_STEP"

// stepFile is the file of that life: somebody else's, if the test may give files away, and
// with a size that takes more than one page.
func stepFile(dir string) secrets.File {
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 {
		uid, gid = 4242, 4343
	}
	return secrets.File{
		Path: filepath.Join(dir, "made", "f"), Template: database + strings.Repeat(" ", 20<<10) + "end", Mode: 0o440,
		Owner: strconv.Itoa(uid), Group: strconv.Itoa(gid), OnChange: secrets.Action{Verb: secrets.Signal, Signal: syscall.SIGHUP, Debounce: -1},
	}
}

// liveToStep is the process that is killed. It writes what it has done, one step a line.
func liveToStep(dir string) int {
	last, err := strconv.Atoi(os.Getenv(lastVariable))
	if err != nil {
		last = -1 // none
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e := newEngine(time.Hour, time.Hour)
	cfg := secrets.Config{Vault: e, App: &app{}, Grace: time.Nanosecond, Files: []secrets.File{stepFile(dir)}}
	var n atomic.Int64
	cfg.AtEachStep(func(done string) {
		step := int(n.Add(1))
		_, _ = fmt.Fprintln(os.Stdout, done)
		if step == last {
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			_ = syscall.Pause() // it may take a moment to reach every thread
		}
		if step == len(lifeOfAFile)-2 { // the old lease is revoked: the rest is the end
			cancel()
		}
	})
	s, err := secrets.New(ctx, cfg)
	if err == nil {
		e.set(func() { e.session.Since = e.session.Since.Add(time.Second) }) // another token, which brings other credentials
		err = s.Run(ctx)
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// liveAndDie lives to a step, is stopped there and killed, and returns what was done; with 0
// it lives to its end. Whatever it may leave elsewhere is left in home.
func liveAndDie(t *testing.T, dir, home string, last int) []string {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Dir, child.Stderr = home, os.Stderr
	child.Env = append(os.Environ(), stepVariable+"="+dir, "HOME="+home, "TMPDIR="+home)
	if last > 0 {
		child.Env = append(child.Env, lastVariable+"="+strconv.Itoa(last))
	}
	out, err := child.StdoutPipe()
	if err := errors.Join(err, child.Start()); err != nil {
		t.Fatal(err)
	}
	var done []string
	for lines := bufio.NewScanner(out); len(done) != last || last == 0; done = append(done, lines.Text()) {
		if !lines.Scan() {
			break
		}
	}
	if last > 0 {
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	if err := child.Wait(); (err == nil) != (last == 0) {
		t.Errorf("it ended with %v", err)
	}
	return done
}

// TestAProcessThatIsKilledAtEachStep of writing, replacing and removing a file leaves none of
// its content where others could read it, at most one file beside the one that was asked
// for, and nothing elsewhere; the next process removes that and has the whole file.
func TestAProcessThatIsKilledAtEachStep(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff(lifeOfAFile, liveAndDie(t, stepFolder(t), t.TempDir(), 0)); diff != "" {
		t.Fatal(diff)
	}
	for i, step := range lifeOfAFile {
		t.Run(fmt.Sprintf("%d %s", i+1, step), func(t *testing.T) {
			t.Parallel()
			dir, home := stepFolder(t), t.TempDir()
			if diff := cmp.Diff(lifeOfAFile[:i+1], liveAndDie(t, dir, home, i+1)); diff != "" {
				t.Fatal(diff)
			}
			checkLeft(t, dir, i+1)
			if entries, err := os.ReadDir(home); err != nil || len(entries) > 0 {
				t.Errorf("elsewhere it left %v, %v", entries, err)
			}
			file := stepFile(dir)
			file.OnChange = secrets.Action{}
			if err := put(t, file); err != nil {
				t.Fatal(err)
			}
			entries, err := os.ReadDir(filepath.Dir(file.Path))
			if err != nil || len(entries) != 1 || !checkFile(t, file.Path) {
				t.Errorf("after the next start there are %v, %v", entries, err)
			}
		})
	}
}

// stepFolder is a folder in memory that everybody may look into: what keeps others from a
// file there is the file's own.
func stepFolder(t *testing.T) string {
	t.Helper()
	dir := memory(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// checkLeft judges what there is after so many steps.
func checkLeft(t *testing.T, dir string, steps int) {
	t.Helper()
	made := filepath.Join(dir, "made")
	entries, err := os.ReadDir(made)
	if err != nil {
		t.Fatal(err)
	}
	whole, temps := false, 0
	for _, entry := range entries {
		path := filepath.Join(made, entry.Name())
		switch {
		case entry.Name() == "f":
			whole = checkFile(t, path)
		case strings.HasPrefix(entry.Name(), ".sallyport.f."):
			temps++
			checkTemp(t, path)
		default:
			t.Errorf("%s is there", path)
		}
	}
	placed, unfinished := steps >= firstPlaced && steps < len(lifeOfAFile), 0
	switch lifeOfAFile[steps-1] {
	case "an empty file is made", "it has its owner", "it has its mode", "it has its content":
		unfinished = 1
	}
	if whole != placed || temps != unfinished {
		t.Errorf("the file is there: %v, unfinished ones: %d; expected %v, %d", whole, temps, placed, unfinished)
	}
	if other, err := os.ReadDir(dir); err != nil || len(other) != 1 {
		t.Errorf("beside its folder it left %v, %v", other, err)
	}
}

// checkFile says whether a file is whole, and nobody's but its owner's.
func checkFile(t *testing.T, path string) bool {
	t.Helper()
	text := content(t, path)
	checkOwned(t, path)
	return strings.HasPrefix(text, "user-") && strings.HasSuffix(text, "end")
}

// checkTemp judges a file that was not finished: before anything is in it, it may not have
// its owner and mode yet, but nobody else can open it.
func checkTemp(t *testing.T, path string) {
	t.Helper()
	if content(t, path) != "" {
		checkOwned(t, path)
		return
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 && info.Mode().Perm() != 0o440 {
		t.Errorf("%s: %v, %v", path, info.Mode(), err)
	}
	checkStranger(t, path)
}

// checkOwned holds a file to owner, group and mode that were asked for, and has a stranger
// try to read it.
func checkOwned(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	stat, want := info.Sys().(*syscall.Stat_t), stepFile("")
	if owner := fmt.Sprint(stat.Uid); info.Mode() != want.Mode || owner != want.Owner || fmt.Sprint(stat.Gid) != want.Group {
		t.Errorf("%s has mode %v, owner %d, group %d", path, info.Mode(), stat.Uid, stat.Gid)
	}
	checkStranger(t, path)
}

// checkStranger has somebody who is neither owner nor in the group open a file, in a folder
// that anybody may enter for once.
func checkStranger(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return // nobody else is to be had
	}
	if err := os.Chmod(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	cat := exec.CommandContext(t.Context(), "cat", path)
	cat.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cat.CombinedOutput(); err == nil || !strings.Contains(string(out), fs.ErrPermission.Error()) && !strings.Contains(string(out), "Permission denied") {
		t.Errorf("a stranger read %s: %v, %s", path, err, out)
	}
}
