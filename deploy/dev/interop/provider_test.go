package interop

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/deploy/dev/localhost"
	"github.com/sallyport/sallyport/deploy/dev/process"
)

// provider is an identity provider.
type provider interface {
	// configure has it go on as the settings say. Who is signed in stays so.
	configure(s settings)
	// describe fetches its metadata.
	describe() []byte
	// browser is one in front of which alice or bob sits.
	browser(person string) *browser
	// signOut is the address where somebody who is signed in begins a logout there.
	signOut() string
	// unsolicited is the address of a sign-on that begins there; empty if it has none.
	unsolicited() string
	// can says what can be asked of it.
	can() ability
}

// ability is what an identity provider can be told.
type ability struct {
	signings  []signing // which signatures it can be told to make
	refusals  bool      // to refuse requests that are not signed
	publishes bool      // a key in its metadata before the key is used
	context   string    // class of authentication that it says
}

// signing is what an identity provider signs.
type signing string

const (
	signsResponse  signing = "response"
	signsAssertion signing = "assertion"
	signsBoth      signing = "both"
)

// settings are those of an identity provider.
type settings struct {
	signs   signing
	encrypt bool
	strict  bool   // whether to refuse requests that are not signed
	key     string // name of the pair that signs
	next    string // name of a pair that is in the metadata as well; empty for none
	door    []byte // the door's metadata
}

// start runs a program until the test ends. The kernel ends a child with the thread
// that started it, so all are started by one that never ends.
func (s *stage) start(spec process.Spec) *process.Child {
	s.t.Helper()
	type result struct {
		child *process.Child
		err   error
	}
	started := make(chan result)
	starters <- func() {
		child, err := process.Start(spec)
		started <- result{child, err}
	}
	got := <-started
	if got.err != nil {
		s.t.Fatal(got.err)
	}
	s.all.Cleanup(func() {
		if s.all.Failed() {
			s.all.Logf("the last lines of %s:\n%s", spec.Name, got.child.Tail(30))
		}
		stop(s.all, got.child)
	})
	return got.child
}

// stop ends a child; none of those here ends itself with code 0.
func stop(t *testing.T, child *process.Child) {
	t.Helper()
	child.Kill()
	select {
	case <-child.Done():
	case <-time.After(10 * time.Second):
		t.Errorf("%s does not end", child.Name())
	}
}

// starters is where the thread takes what it has to start.
var starters = func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
}()

// awaitMetadata fetches an identity provider's metadata once it serves it.
func (s *stage) awaitMetadata(child *process.Child, address string) []byte {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 60*time.Second)
	defer cancel()
	client := s.client()
	if err := localhost.WaitOK(ctx, client, address); err != nil {
		s.t.Fatalf("%v\nits log ends\n%s", err, child.Tail(30))
	}
	return fetch(s.t, client, address)
}

func fetch(t *testing.T, client *http.Client, address string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", address, resp.Status, err)
	}
	return data
}

// installed is a file or folder that a Debian package brings.
func installed(t *testing.T, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run `make packages` as root once", err)
	}
	return path
}

// testdata is the absolute path of a file in testdata.
func testdata(t *testing.T, path ...string) string {
	t.Helper()
	name, err := filepath.Abs(filepath.Join(append([]string{"testdata"}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// environment is this process's, with changes.
func environment(change ...string) []string {
	var kept []string
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		switch name {
		case "PATH", "HOME", "LANG", "TMPDIR":
			kept = append(kept, variable)
		}
	}
	return append(kept, change...)
}

func base64Of(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) }

// hostOf is where an identity provider is, without the port.
func hostOf(p provider) string {
	switch p.(type) {
	case *simpleSAMLphp:
		return "simplesamlphp.localhost"
	case *lemonLDAP:
		return "lemonldap.localhost"
	}
	return "crewjam.localhost"
}
