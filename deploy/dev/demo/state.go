package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// marker is the file that makes a folder the demo's. It is locked while a demo
// uses the folder; the kernel unlocks it however that demo ends.
const marker = "sallyport-demo"

const markerText = "This folder belongs to the Sallyport demo, which wipes it at each start.\n"

// prepareState makes the folder empty and ours, with mode 0700. What an earlier
// demo left is wiped: each run starts from nothing, which is what it shows. A
// folder that is not a demo's is refused unless it is empty.
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

// wipe removes everything but the marker and makes the folders that are needed.
func wipe(dir string, entries []os.DirEntry) error {
	for _, entry := range entries {
		if entry.Name() == marker {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return fmt.Errorf("wiping the state folder: %w", err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a folder is entered by its x bit
		return fmt.Errorf("closing the state folder to others: %w", err)
	}
	for _, sub := range []string{"vault", "vault/raft", "idp", "run", "log"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
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
