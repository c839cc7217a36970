package secrets_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
)

// put renders one file without asking Vault.
func put(t *testing.T, file secrets.File) error {
	t.Helper()
	if file.Template == "" {
		file.Template = "content"
	}
	_, err := secrets.New(t.Context(), secrets.Config{Vault: newEngine(time.Hour, time.Hour), Files: []secrets.File{file}})
	return err
}

// TestAFileHasOwnerGroupAndMode, by default those that nobody else can read it with.
func TestAFileHasOwnerGroupAndMode(t *testing.T) {
	dir := memory(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		file     secrets.File
		uid, gid int
		mode     fs.FileMode
	}{
		"defaults":         {secrets.File{}, os.Geteuid(), os.Getegid(), 0o400},
		"another mode":     {secrets.File{Mode: 0o440}, os.Geteuid(), os.Getegid(), 0o440},
		"for everybody":    {secrets.File{Mode: 0o444, UnsafeOthers: true}, os.Geteuid(), os.Getegid(), 0o444},
		"its own numbers":  {secrets.File{Owner: fmt.Sprint(os.Geteuid()), Group: fmt.Sprint(os.Getegid())}, os.Geteuid(), os.Getegid(), 0o400},
		"its own names":    {secrets.File{Owner: "root", Group: "root"}, 0, 0, 0o400},
		"somebody else's":  {secrets.File{Owner: "4242", Group: "4343", Mode: 0o640}, 4242, 4343, 0o640},
		"a new folder too": {secrets.File{Path: filepath.Join(dir, "new", "file"), Owner: "4242"}, 4242, os.Getegid(), 0o400},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.uid != os.Geteuid() && os.Geteuid() != 0 {
				test.uid, test.gid = os.Geteuid(), os.Getegid()
				test.file.Owner, test.file.Group = "", ""
			}
			if test.file.Path == "" {
				test.file.Path = filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			}
			if err := put(t, test.file); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(test.file.Path)
			if err != nil {
				t.Fatal(err)
			}
			stat := info.Sys().(*syscall.Stat_t)
			if info.Mode() != test.mode || int(stat.Uid) != test.uid || int(stat.Gid) != test.gid {
				t.Errorf("mode %v, owner %d, group %d; expected %v, %d, %d", info.Mode(), stat.Uid, stat.Gid, test.mode, test.uid, test.gid)
			}
			if folder, err := os.Stat(filepath.Join(dir, "new")); err == nil && folder.Mode().Perm() != 0o700 {
				t.Errorf("the new folder has mode %v", folder.Mode())
			}
		})
	}
}

// TestWhatIsNoPlaceForASecretIsRefused, before Vault is asked.
func TestWhatIsNoPlaceForASecretIsRefused(t *testing.T) {
	dir := memory(t)
	path := func(name string) string { return filepath.Join(dir, name) }
	open := path("open")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777), os.Symlink("/etc/passwd", path("link")), os.Mkdir(path("folder"), 0o700)); err != nil {
		t.Fatal(err)
	}
	disk := t.TempDir()
	tests := map[string]struct {
		file secrets.File
		want string
	}{
		"a disk":                       {secrets.File{Path: filepath.Join(disk, "f")}, "is not in memory"},
		"a new folder on a disk":       {secrets.File{Path: filepath.Join(disk, "new", "f")}, "is not in memory"},
		"a folder that others write":   {secrets.File{Path: filepath.Join(open, "f")}, "others may write"},
		"a folder of a folder":         {secrets.File{Path: path("no/such/f")}, "making its folder"},
		"a link":                       {secrets.File{Path: path("link")}, "something else in its place"},
		"a folder":                     {secrets.File{Path: path("folder")}, "something else in its place"},
		"a relative path":              {secrets.File{Path: "f"}, "absolute path"},
		"a path that leads up":         {secrets.File{Path: dir + "/../f"}, "absolute path"},
		"the name of a temporary file": {secrets.File{Path: path(".sallyport.f")}, "being written"},
		"a mode for everybody":         {secrets.File{Path: path("f"), Mode: 0o404}, "lets everybody"},
		"a mode that a group writes":   {secrets.File{Path: path("f"), Mode: 0o420}, "nobody but the owner to write"},
		"a mode nobody reads":          {secrets.File{Path: path("f"), Mode: 0o200}, "owner to read"},
		"setuid":                       {secrets.File{Path: path("f"), Mode: 0o400 | fs.ModeSetuid}, "permission bits"},
		"a user that there is not":     {secrets.File{Path: path("f"), Owner: "nobody-by-that-name"}, "unknown user"},
		"a group that there is not":    {secrets.File{Path: path("f"), Group: "nobody-by-that-name"}, "unknown group"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := put(t, test.file); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, expected %q", err, test.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(disk, "new")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a folder was left on the disk")
	}
	if text := content(t, "/etc/passwd"); strings.Contains(text, "content") {
		t.Error("a link was followed")
	}
	_, err := secrets.New(t.Context(), secrets.Config{
		Vault: newEngine(time.Hour, time.Hour), UnsafeDisk: true, Files: []secrets.File{{Path: filepath.Join(disk, "f"), Template: "x"}},
	})
	if err != nil {
		t.Errorf("with UnsafeDisk: %v", err)
	}
}

// TestLeftoversOfAKilledProcessAreRemoved by the next, and nothing else.
func TestLeftoversOfAKilledProcessAreRemoved(t *testing.T) {
	dir := memory(t)
	random := rand.Text()
	others := []string{".sallyport.f", ".sallyport.f.ABC", ".sallyport.f." + strings.ToLower(random), ".sallyport.f.bak." + random, ".sallyport.other." + random, "f.bak"}
	for _, name := range append([]string{".sallyport.f." + random, ".sallyport.f." + rand.Text()}, others...) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(t, secrets.File{Path: filepath.Join(dir, "f")}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	want := append(others, "f")
	slices.Sort(want)
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

// smallMemory is a folder on a tmpfs of that many KiB, in a mount namespace that a process
// of its own keeps.
func smallMemory(t *testing.T, kib int) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
		`mount -t tmpfs -o "size=$1k,mode=0700" none "$2" && echo mounted && exec cat`, "sh", fmt.Sprint(kib), dir)
	stdin, inErr := cmd.StdinPipe()
	stdout, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close(); _ = cmd.Wait() })
	said := make([]byte, len("mounted\n"))
	if _, err := stdout.Read(said); err != nil {
		t.Fatalf("mounting a small tmpfs: %v", err)
	}
	return fmt.Sprintf("/proc/%d/root%s", cmd.Process.Pid, dir)
}

// TestAFullTmpfsKeepsTheOldFileWhole, says so, and the new one comes when there is room.
func TestAFullTmpfsKeepsTheOldFileWhole(t *testing.T) {
	write(t, "app/big", map[string]string{"value": strings.Repeat("a", 30<<10)})
	dir, told, log := smallMemory(t, 64), &app{}, &journal{}
	file := filepath.Join(dir, "f")
	s, err := secrets.New(t.Context(), secrets.Config{
		Vault: session{login(t, vault, "app")}, App: told, Refresh: 50 * time.Millisecond, Log: log.logger(),
		Files: []secrets.File{{Path: file, Template: `{{ with secret "secret/app/big" }}{{ .Data.data.value }}{{ end }}`, OnChange: secrets.Action{Verb: secrets.Signal, Signal: syscall.SIGHUP, Debounce: -1}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	running(t, s)
	write(t, "app/big", map[string]string{"value": strings.Repeat("b", 50<<10)})
	await(t, "the tmpfs to be full", func() bool { return strings.Contains(log.String(), "no space left on device: the old one stays") })
	if got := content(t, file); got != strings.Repeat("a", 30<<10) {
		t.Errorf("the old file has %d bytes", len(got))
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files, expected no half of one", len(entries))
	}
	write(t, "app/big", map[string]string{"value": strings.Repeat("c", 30<<10)})
	await(t, "the signal", func() bool { return told.count("hangup") == 1 })
	if got := content(t, file); got != strings.Repeat("c", 30<<10) {
		t.Errorf("the new file has %d bytes", len(got))
	}
	if faults := s.State().Faults; len(faults) > 0 {
		t.Errorf("faults %v", faults)
	}
}

// TestAReaderSeesTheOldFileOrTheNew, never a part or none.
func TestAReaderSeesTheOldFileOrTheNew(t *testing.T) {
	e, file := newEngine(time.Hour, time.Hour), filepath.Join(memory(t), "f")
	render := func(text string) {
		t.Helper()
		_, err := secrets.New(t.Context(), secrets.Config{Vault: e, Files: []secrets.File{{Path: file, Template: text}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	contents := [][]byte{bytes.Repeat([]byte("a"), 200<<10), bytes.Repeat([]byte("b"), 100<<10)}
	render(string(contents[0]))
	stop := make(chan struct{})
	read := make(chan error, 1)
	go func() {
		for {
			raw, err := os.ReadFile(file)
			if err == nil && !bytes.Equal(raw, contents[0]) && !bytes.Equal(raw, contents[1]) {
				err = fmt.Errorf("a reader found %d bytes", len(raw))
			}
			select {
			case <-stop:
				read <- err
				return
			default:
			}
			if err != nil {
				<-stop
				read <- err
				return
			}
		}
	}()
	for i := range 100 {
		render(string(contents[i%2]))
	}
	close(stop)
	if err := <-read; err != nil {
		t.Error(err)
	}
}
