package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// marker is the file that makes a folder the demo's. It is locked while a demo
// uses the folder; the kernel unlocks it however that demo ends.
const marker = "sallyport-demo"

const markerText = "This folder belongs to the Sallyport demo. To begin anew, delete it.\n"

// kept says which entries of the folder outlive a run: Vault with the certificate
// authority that somebody may have imported and the key pair that an identity
// provider may have been told of, and the signing key of the built-in one.
func kept(name string) bool {
	return name == marker || name == "vault" || name == "idp"
}

// prepareState makes the folder ours, with mode 0700, and takes it for as long as
// release is not called. Of an earlier demo what is kept stays, and the rest goes.
// A folder that is not a demo's is refused unless it is empty.
func prepareState(dir string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the state folder: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the state folder: %w", err)
	}
	path := filepath.Join(dir, marker)
	if _, err := os.Lstat(path); len(entries) > 0 && err != nil {
		return nil, fmt.Errorf("using %s: it is not empty and not a demo's; set DEMO_STATE to a new folder", dir)
	}
	file, err := lockMarker(path)
	if err != nil {
		return nil, err
	}
	if err := wipe(dir, entries); err != nil {
		file.Close()
		return nil, err
	}
	return func() { file.Close() }, nil
}

func lockMarker(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the state folder's marker: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("using %s: another demo runs with it; set DEMO_STATE and DEMO_PORT to run two", filepath.Dir(path))
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	if _, err := file.WriteAt([]byte(markerText), 0); err != nil {
		file.Close()
		return nil, fmt.Errorf("writing %s: %w", path, err)
	}
	return file, nil
}

// wipe removes what is not kept and makes the folders that are needed.
func wipe(dir string, entries []os.DirEntry) error {
	for _, entry := range entries {
		if kept(entry.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return fmt.Errorf("wiping the state folder: %w", err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder is entered by its x bit
		return fmt.Errorf("closing the state folder to others: %w", err)
	}
	for _, sub := range []string{"vault", "idp", "run", "log"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return fmt.Errorf("making the state folder: %w", err)
		}
	}
	return nil
}

// save writes a file that only we can read.
func save(path string, data []byte) error {
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("saving: %w", err)
	}
	return nil
}

// storage is what the demo keeps to open Vault again.
type storage struct {
	Server    string // what wrote it: the first word of the server's version
	UnsealKey string
	RootToken string
}

// readStorage returns what an earlier run kept, or makes Vault's storage empty if
// that is not whole or is of another server: it could not be opened.
func (s settings) readStorage(server string) (found storage, ok bool, err error) {
	data, err := os.ReadFile(s.storageFile())
	if err == nil && json.Unmarshal(data, &found) == nil && found.Server == server {
		return found, true, nil
	}
	if err := os.RemoveAll(s.raftDir()); err != nil {
		return storage{}, false, fmt.Errorf("emptying Vault's storage: %w", err)
	}
	if err := os.Mkdir(s.raftDir(), 0o700); err != nil {
		return storage{}, false, fmt.Errorf("making Vault's storage: %w", err)
	}
	return storage{}, false, nil
}

func (s settings) saveStorage(made storage) error {
	data, err := json.Marshal(made)
	if err != nil {
		return fmt.Errorf("keeping the unseal key: %w", err)
	}
	return save(s.storageFile(), data)
}
