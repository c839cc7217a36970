package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/config"
)

// unit reads the keys of a unit file, in whatever section they stand.
func unit(t *testing.T, name string) map[string][]string {
	t.Helper()
	return unitIn(t, "systemd", name)
}

// unitIn is unit for one in another folder of deploy.
func unitIn(t *testing.T, folder, name string) map[string][]string {
	t.Helper()
	keys := map[string][]string{}
	for line := range strings.Lines(read(t, filepath.Join("..", "..", "deploy", folder, name))) {
		line = strings.TrimSpace(line)
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			keys[key] = append(keys[key], value)
		}
	}
	return keys
}

// TestSystemdUnitsFitTheCommand holds deploy/systemd to the names of our sockets, to the
// flags of the command and to how long a stop takes.
func TestSystemdUnitsFitTheCommand(t *testing.T) {
	service := unit(t, "sallyport-gateway.service")
	words := strings.Fields(service["ExecStart"][0])
	command, rest, err := newRoot(nowhere()).Find(words[1:])
	if err != nil || command.Name() != "gateway" {
		t.Fatalf("ExecStart runs %v: %v", command, err)
	}
	for _, word := range rest {
		if name, isFlag := strings.CutPrefix(word, "--"); isFlag && command.Flags().Lookup(name) == nil {
			t.Errorf("ExecStart: there is no --%s", name)
		}
	}
	cfg, err := config.LoadGateway("f", []byte("door: {host: door}"))
	if err != nil {
		t.Fatal(err)
	}
	if limit, err := time.ParseDuration(service["TimeoutStopSec"][0]); err != nil || limit < cfg.Stop.Announce.Duration+cfg.Stop.Drain.Duration+lastRecords+lastCheckpoint+5*time.Second {
		t.Errorf("TimeoutStopSec=%s, which is less than a stop may take (%v)", limit, err)
	}
	if service["Type"][0] != "notify" {
		t.Errorf("Type=%s, though the gateway says when it is ready", service["Type"])
	}
	files, err := os.ReadDir(filepath.Join("..", "..", "deploy", "systemd"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".socket") {
			continue
		}
		socket := unit(t, file.Name())
		names[socket["FileDescriptorName"][0]] = file.Name()
		if socket["Service"][0] != "sallyport-gateway.service" || !slices.Contains(strings.Fields(service["Sockets"][0]), file.Name()) {
			t.Errorf("%s is not the service's, and the service's are %s", file.Name(), service["Sockets"])
		}
	}
	if len(names) != 2 || names[socketHTTPS] == "" || names[socketAdmin] == "" {
		t.Errorf("sockets %v, expected one called %s and one called %s", names, socketHTTPS, socketAdmin)
	}
}

// TestSystemdRecipeOfASidecarLeavesOneWayIn holds the units of deploy/sidecar/systemd to each
// other: the tool has no network, its door stands in the tool's, and the only socket of that
// is the one that the sidecar's configuration names, and its user may open.
func TestSystemdRecipeOfASidecarLeavesOneWayIn(t *testing.T) {
	const folder = "sidecar/systemd"
	tool, door, way := unitIn(t, folder, "notes.service"), unitIn(t, folder, "notes-door.service"), unitIn(t, folder, "notes-door.socket")
	sidecar, socket := unitIn(t, folder, "notes-sidecar.service"), unitIn(t, folder, "notes-sidecar.socket")
	if tool["PrivateNetwork"][0] != "yes" || door["PrivateNetwork"][0] != "yes" || door["JoinsNamespaceOf"][0] != "notes.service" {
		t.Errorf("the tool's network is %v, its door's %v of %v", tool["PrivateNetwork"], door["PrivateNetwork"], door["JoinsNamespaceOf"])
	}
	if _, listens, _ := strings.Cut(tool["Environment"][0], "LISTEN="); !strings.HasSuffix(door["ExecStart"][0], " "+listens) {
		t.Errorf("the tool listens on %s, its door runs %s", listens, door["ExecStart"])
	}
	if way["SocketUser"][0] != sidecar["User"][0] || way["SocketMode"][0] != "0600" {
		t.Errorf("the socket is for %s with mode %s, the sidecar runs as %s", way["SocketUser"], way["SocketMode"], sidecar["User"])
	}
	if yaml := read(t, filepath.Join("..", "..", "deploy", folder, "notes-sidecar.yaml")); !strings.Contains(yaml, "\napp: unix:"+way["ListenStream"][0]+"\n") {
		t.Errorf("the tool is reached at %s, the sidecar looks for it elsewhere:\n%s", way["ListenStream"], yaml)
	}
	if socket["FileDescriptorName"][0] != socketHTTPS || socket["Service"][0] != "notes-sidecar.service" {
		t.Errorf("socket %v", socket)
	}
	words := strings.Fields(sidecar["ExecStart"][0])
	command, rest, err := newRoot(nowhere()).Find(words[1:])
	if err != nil || command.Name() != "sidecar" {
		t.Fatalf("ExecStart runs %v: %v", command, err)
	}
	for _, word := range rest {
		if name, isFlag := strings.CutPrefix(word, "--"); isFlag && command.Flags().Lookup(name) == nil {
			t.Errorf("ExecStart: there is no --%s", name)
		}
	}
	if !strings.Contains(sidecar["SystemCallFilter"][0], "landlock_restrict_self") {
		t.Errorf("the sidecar cannot confine itself under %s", sidecar["SystemCallFilter"])
	}
}
