package secrets

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// tempPrefix begins the names of files that are being written. What a process that was
// killed left of them is removed by the next.
const tempPrefix = ".sallyport."

// place is where one file goes. It is used by one goroutine.
type place struct {
	file      File
	dir, base string
	uid, gid  int // -1 for those of the process
	onDisk    bool
	owners    []int      // of all files: they may have a folder together
	passed    func(step) // of the Config
}

// newPlace looks up who is to own the file. The error is an [*Error].
func newPlace(file File, cfg *Config) (*place, error) {
	p := &place{file: file, dir: filepath.Dir(file.Path), base: filepath.Base(file.Path), onDisk: cfg.UnsafeDisk, passed: cfg.passed}
	var err error
	if p.uid, err = lookup(file.Owner, func(name string) (string, error) {
		found, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return found.Uid, nil
	}); err != nil {
		return nil, p.fail(fmt.Errorf("owner %q: %w", file.Owner, err), "give the user's number: this machine, or image, may have no list of users")
	}
	if p.gid, err = lookup(file.Group, func(name string) (string, error) {
		found, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return found.Gid, nil
	}); err != nil {
		return nil, p.fail(fmt.Errorf("group %q: %w", file.Group, err), "give the group's number: this machine, or image, may have no list of groups")
	}
	return p, nil
}

// lookup turns a name or a number into a number, and nothing into -1.
func lookup(name string, find func(string) (string, error)) (int, error) {
	if name == "" {
		return -1, nil
	}
	if number, err := strconv.ParseUint(name, 10, 31); err == nil {
		return int(number), nil
	}
	text, err := find(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

// fail is an error about the file.
func (p *place) fail(err error, hint string) error {
	return &Error{Where: "file " + p.file.Path, Err: err, Hint: hint}
}

// prepare makes the folder if it is absent, removes what a process that was killed left
// there, and tries whether a file can be given to its owner.
func (p *place) prepare() error {
	err := os.Mkdir(p.dir, 0o700)
	made := err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return p.fail(fmt.Errorf("making its folder: %w", err), "mount a tmpfs there, and let the process write to it")
	}
	if made {
		p.passed(folderMade)
	}
	root, err := p.open()
	if err == nil && made && (p.uid >= 0 || p.gid >= 0) {
		err = root.Chown(".", p.uid, p.gid)
		p.passed(folderOwned)
	}
	if err != nil {
		if made {
			err = errors.Join(err, os.Remove(p.dir))
		}
		if root != nil {
			err = errors.Join(err, root.Close())
		}
		return err
	}
	return errors.Join(p.sweep(root), p.try(root), root.Close())
}

// try makes a file without a content, and removes it.
func (p *place) try(root *os.Root) error {
	temp := p.temps() + rand.Text()
	return errors.Join(p.write(root, temp, nil), ignoreAbsent(root.Remove(temp)))
}

// open opens the folder, if it is one in which secrets may be.
func (p *place) open() (*os.Root, error) {
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return nil, p.fail(fmt.Errorf("opening its folder: %w", err), "")
	}
	if err := p.judge(root); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// judge accepts a folder in memory in which nobody else can replace what is ours.
func (p *place) judge(root *os.Root) error {
	folder, err := root.Open(".")
	if err != nil {
		return p.fail(err, "")
	}
	defer folder.Close()
	info, err := folder.Stat()
	if err != nil {
		return p.fail(err, "")
	}
	if info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return p.fail(fmt.Errorf("others may write to its folder, which has mode %s", info.Mode().Perm()), "give the folder mode 0700")
	}
	if owner := ownerOf(info); owner > 0 && owner != os.Geteuid() && !slices.Contains(p.owners, owner) {
		return p.fail(fmt.Errorf("its folder belongs to user %d, who may put another file in its place", owner), fmt.Sprintf("let the folder belong to user %d, or to the owner of the file", os.Geteuid()))
	}
	if !p.onDisk {
		if err := checkMemory(folder); err != nil {
			return p.fail(err, "mount a tmpfs at its folder, or another above: secrets are not put on disks")
		}
	}
	if err := checkWritable(folder); err != nil {
		return p.fail(err, fmt.Sprintf("let the folder belong to user %d: it may have been made, or mounted, for another", os.Geteuid()))
	}
	return nil
}

// temps begins the names of what is written for this file.
func (p *place) temps() string { return tempPrefix + p.base + "." }

// sweep removes what was not finished.
func (p *place) sweep(root *os.Root) error {
	folder, err := root.Open(".")
	if err != nil {
		return p.fail(err, "")
	}
	defer folder.Close()
	names, err := folder.Readdirnames(-1)
	if err != nil {
		return p.fail(fmt.Errorf("looking into its folder: %w", err), "")
	}
	for _, name := range names {
		if !p.isTemp(name) {
			continue
		}
		// In a folder where everybody may put files somebody else may have one of that name:
		// it is none of ours, and no reason not to start.
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EPERM) {
			return p.fail(fmt.Errorf("removing what was left of an earlier process: %w", err), "")
		}
	}
	return nil
}

// isTemp recognises what put names, and nothing else: another process may write to the same
// folder, and to a file whose name begins with that of this one.
func (p *place) isTemp(name string) bool {
	random, begins := strings.CutPrefix(name, p.temps())
	return begins && len(random) == len(rand.Text()) && strings.Trim(random, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// put makes content the content of the file, at once and as a whole: whoever opens the
// file has the old one or the new one. Owner, group and mode are set while it is empty. On
// an error the old one stays.
func (p *place) put(content []byte) error {
	root, err := p.open()
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	if info, err := root.Lstat(p.base); err == nil && !info.Mode().IsRegular() {
		return p.fail(fmt.Errorf("there is something else in its place: %s", info.Mode().Type()), "remove it, or put the file elsewhere")
	}
	temp := p.temps() + rand.Text()
	if err := p.write(root, temp, content); err != nil {
		return errors.Join(err, ignoreAbsent(root.Remove(temp)))
	}
	if err := root.Rename(temp, p.base); err != nil {
		return errors.Join(p.fail(fmt.Errorf("putting it in place: %w", err), ""), ignoreAbsent(root.Remove(temp)))
	}
	p.passed(filePlaced)
	return nil
}

// write makes a new file that is finished but for its name.
func (p *place) write(root *os.Root, name string, content []byte) (err error) {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return p.fail(spaceFault(fmt.Errorf("making it: %w", err)), "let the process write to the folder")
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	p.passed(fileMade)
	if p.uid >= 0 || p.gid >= 0 {
		if err := f.Chown(p.uid, p.gid); err != nil {
			return p.fail(fmt.Errorf("giving it to its owner: %w", err), "run as the owner, or with CAP_CHOWN")
		}
		p.passed(fileOwned)
	}
	if err := f.Chmod(p.file.Mode); err != nil {
		return p.fail(fmt.Errorf("setting its mode: %w", err), "")
	}
	p.passed(modeSet)
	if _, err := f.Write(content); err != nil {
		return p.fail(spaceFault(fmt.Errorf("writing it: %w", err)), "give the tmpfs more room: it has to hold the old file and the new one")
	}
	p.passed(fileWritten)
	return nil
}

// spaceFault says of a full file system that the old file is whole.
func spaceFault(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: the old one stays as it is", err)
	}
	return err
}

// remove removes the file.
func (p *place) remove() error {
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return ignoreAbsent(err)
	}
	defer func() { _ = root.Close() }()
	err = ignoreAbsent(root.Remove(p.base))
	p.passed(fileRemoved)
	return err
}

// ignoreAbsent is nil for an error that says that there is nothing.
func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
