package vaulttest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type secretAnswer struct {
	Data struct {
		Value string `json:"value"`
	} `json:"data"`
}

func TestServerKeepsItsStorageAcrossRestartAndSeal(t *testing.T) {
	ctx := t.Context()
	s, err := Start(ctx, Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	mount := map[string]any{"type": "kv", "options": map[string]string{"version": "1"}}
	if err := s.Call(ctx, "POST", "sys/mounts/kept", mount, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Call(ctx, "PUT", "kept/a", map[string]string{"value": "survives"}, nil); err != nil {
		t.Fatal(err)
	}

	if err := s.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Call(ctx, "GET", "kept/a", nil, nil); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("reading from a sealed vault: error %v, expected status 503", err)
	}
	if err := s.Unseal(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	var got secretAnswer
	if err := s.Call(ctx, "GET", "kept/a", nil, &got); err != nil {
		t.Fatal(err)
	}
	if got.Data.Value != "survives" {
		t.Errorf("value after a restart: %q, expected %q", got.Data.Value, "survives")
	}

	// A second Start in the same folder takes up the same storage.
	s.Stop()
	again, err := Start(ctx, Options{Dir: s.Dir, Addr: strings.TrimPrefix(s.Address, "https://")})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Stop()
	if again.RootToken != s.RootToken {
		t.Error("the root token changed between two starts in one folder")
	}
}

func TestPausedServerDoesNotAnswer(t *testing.T) {
	s, err := Start(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := s.Call(ctx, "GET", "sys/mounts", nil, nil); err == nil {
		t.Error("a paused vault answered")
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if err := s.Call(t.Context(), "GET", "sys/mounts", nil, nil); err != nil {
		t.Errorf("after Resume: %v", err)
	}
}

func TestStopLeavesNoProcess(t *testing.T) {
	s, err := Start(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	proc := s.proc
	s.Stop()
	s.Stop() // a second call is harmless
	select {
	case <-proc.done:
	default:
		t.Error("Stop returned before the process was reaped")
	}
}

func TestBinaryComesFromTheVariableFirst(t *testing.T) {
	fake := filepath.Join(t.TempDir(), "vault")
	t.Setenv(BinaryVariable, fake)
	if _, err := Binary(); err == nil || !strings.Contains(err.Error(), BinaryVariable) {
		t.Errorf("a missing file: error %v, expected one that names %s", err, BinaryVariable)
	}
	if err := os.WriteFile(fake, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := Binary()
	if err != nil || got != fake {
		t.Errorf("Binary() = %q, %v; expected %q", got, err, fake)
	}
}

func TestPluginIsWhatTheRepositoryLinksTo(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	built, below := filepath.Join(root, "cache", "plugin"), filepath.Join(root, "a", "package")
	for _, dir := range []string{filepath.Dir(built), below, filepath.Join(root, ".build")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for path, content := range map[string]string{filepath.Join(root, "go.mod"): moduleLine + "\n", built: ""} {
		if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(below)
	if _, err := Plugin(MySQLPlugin); err == nil || !strings.Contains(err.Error(), "run `make vault`") {
		t.Errorf("a missing plugin: error %v, expected one that says what to run", err)
	}
	if err := os.Symlink(built, filepath.Join(root, ".build", MySQLPlugin)); err != nil {
		t.Fatal(err)
	}
	// A server runs nothing that a link leads to out of its plugin folder.
	if got, err := Plugin(MySQLPlugin); err != nil || got != built {
		t.Errorf("Plugin() = %q, %v; expected %q", got, err, built)
	}
}

func TestStartSaysWhyTheServerDidNotStart(t *testing.T) {
	fake := filepath.Join(t.TempDir(), "vault")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\necho broken >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv(BinaryVariable, fake)
	dir := t.TempDir()
	_, err := Start(t.Context(), Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "vault.log")) {
		t.Fatalf("error %v, expected one that names the log file", err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "vault.log"))
	if err != nil || !strings.Contains(string(raw), "broken") {
		t.Errorf("log file %q, %v; expected the process's output", raw, err)
	}
}
