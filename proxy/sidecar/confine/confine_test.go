package confine

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCovers(t *testing.T) {
	held := Config{Read: []string{"/etc/sallyport", "/proc"}, Write: []string{"/run/secrets"}, Bind: []uint16{8443}, Connect: []uint16{8200, 3000}}
	tests := map[string]struct {
		next Config
		want []string
	}{
		"nothing":                    {Config{}, nil},
		"the same":                   {held, nil},
		"a file in a folder":         {Config{Read: []string{"/etc/sallyport/sidecar.yaml", "/run/secrets/x/y"}}, nil},
		"a folder of a like name":    {Config{Read: []string{"/etc/sallyport2"}}, []string{"reading /etc/sallyport2"}},
		"the way out of a folder":    {Config{Read: []string{"/etc/sallyport/../shadow"}}, []string{"reading /etc/sallyport/../shadow"}},
		"writing what may be read":   {Config{Write: []string{"/etc/sallyport/x"}}, []string{"writing /etc/sallyport/x"}},
		"another port to listen on":  {Config{Bind: []uint16{3000}}, []string{"listening on port 3000"}},
		"another port to connect to": {Config{Connect: []uint16{3000, 8443}}, []string{"connecting to port 8443"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, held.Covers(test.next)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNormal(t *testing.T) {
	got, err := Config{
		Read: []string{"/b/../a", "/a", "/w"}, Write: []string{"/w/"}, Bind: []uint16{2, 1, 2}, Connect: []uint16{3, 3},
	}.normal()
	want := Config{Read: []string{"/a"}, Write: []string{"/w"}, Bind: []uint16{1, 2}, Connect: []uint16{3}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, path := range []string{"", "etc", "./etc"} {
		if _, err := (Config{Read: []string{path}}).normal(); err == nil {
			t.Errorf("path %q: no error", path)
		}
	}
}

func TestWhatAKernelDoesNotKnowIsNamed(t *testing.T) {
	tests := map[int][]string{
		0: {"opening files", "truncating files", "TCP ports", "commands to devices", "abstract sockets and signals"},
		1: {"truncating files", "TCP ports", "commands to devices", "abstract sockets and signals"},
		3: {"TCP ports", "commands to devices", "abstract sockets and signals"},
		4: {"commands to devices", "abstract sockets and signals"},
		6: nil, 9: nil,
	}
	for abi, want := range tests {
		if got := missing(abi); !slices.Equal(got, want) {
			t.Errorf("ABI %d: %q, expected %q", abi, got, want)
		}
	}
}

func TestALogShowsWhatMayBeTouched(t *testing.T) {
	var text bytes.Buffer
	slog.New(slog.NewJSONHandler(&text, nil)).Info("confined", "keeps", Config{Read: []string{"/etc"}, Connect: []uint16{8200}})
	var line struct {
		Keeps struct {
			Read    []string
			Connect []uint16
		}
	}
	if err := json.Unmarshal(text.Bytes(), &line); err != nil || line.Keeps.Read[0] != "/etc" || line.Keeps.Connect[0] != 8200 {
		t.Errorf("%v: %s", err, strings.TrimSpace(text.String()))
	}
}
