package verify

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/assertion"
	"github.com/sallyport/sallyport/proxy/session"
)

const (
	issuer   = "https://door.example.com"
	audience = "sallyport:route:notes"
	person   = "jürgen@example.com"
)

var clientCertificate = []byte("the client certificate of the gateway, as DER")

// door is what a backend knows of a door: its authority, or its keys.
type door struct {
	authority         authority
	current, previous pair
	good              map[string]string // assertions that the product has signed
	roots             string            // a file
	keys              string            // an address
}

func newDoor(t *testing.T) *door {
	t.Helper()
	d := &door{authority: newAuthority(t), good: map[string]string{}}
	d.current, d.previous = leaf(t, d.authority.intermediate, nil), leaf(t, d.authority.intermediate, nil)
	issuers := map[string]*assertion.Issuer{}
	for what, keys := range map[string][2]pair{"": {d.current, d.previous}, " by the key before": {d.previous, d.current}} {
		with := func(p pair) assertion.Key {
			return assertion.Key{Signer: p.key, Chain: []*x509.Certificate{p.cert, d.authority.intermediate.cert}}
		}
		var err error
		if issuers[what], err = assertion.New(assertion.Config{
			Origin: issuer, ClientCertificate: clientCertificate, Current: with(keys[0]), Others: []assertion.Key{with(keys[1])},
		}); err != nil {
			t.Fatal(err)
		}
		state := &session.State{ID: "id", User: person, Email: "j@example.com", AuthnAt: time.Now().Unix(), Expires: time.Now().Add(time.Hour).Unix(), Groups: []string{"engineers"}}
		if d.good["an assertion"+what], err = issuers[what].For("notes", nil).Assert(state); err != nil {
			t.Fatal(err)
		}
	}
	d.good["what the forgeries are made from"] = d.forge(t, func(*token) {})
	d.roots = filepath.Join(t.TempDir(), "roots.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.authority.root.cert.Raw})
	if err := os.WriteFile(d.roots, text, 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_, _ = w.Write(issuers[""].KeySet())
	}))
	t.Cleanup(server.Close)
	d.keys = server.URL
	return d
}

// question is one token for a verifier.
type question struct {
	What  string `json:"what"`
	Way   string `json:"way"` // "roots" or "keys"
	Token string `json:"token"`
	Peer  string `json:"peer"` // of the connection, as base64; empty for none

	good bool
}

// questions are all that is asked.
func (d *door) questions(t *testing.T) []question {
	t.Helper()
	var all []question
	for _, way := range []string{"roots", "keys"} {
		for what, token := range d.good {
			all = append(all, question{What: what, Way: way, Token: token, good: true},
				question{What: what + " on the gateway's connection", Way: way, Token: token, Peer: base64.StdEncoding.EncodeToString(clientCertificate), good: true},
				question{What: what + " on another's connection", Way: way, Token: token, Peer: base64.StdEncoding.EncodeToString([]byte("another"))})
		}
		for what, token := range d.forgeries(t) {
			all = append(all, question{What: what, Way: way, Token: token})
		}
	}
	for what, token := range d.misissued(t) {
		all = append(all, question{What: what, Way: "roots", Token: token})
	}
	return all
}

// stack is a language, and how its page is run.
type stack struct {
	page, fence string
	snippet     string            // the file that the page's code is
	driver      string            // in testdata; reads questions and writes answers
	more        map[string]string // other files
	command     []string
}

var stacks = map[string]stack{
	"Go": {
		page: "verify-go.md", fence: "go", snippet: "sallyport/verify.go", driver: "main.go",
		more: map[string]string{"go.mod": "module example.com/tool\n\ngo 1.26\n"}, command: []string{"go", "run", "."},
	},
	// Debian's own Python: the libraries are packages of it.
	"Python":  {page: "verify-python.md", fence: "python", snippet: "sallyport.py", driver: "driver.py", command: []string{"/usr/bin/python3", "driver.py"}},
	"Node.js": {page: "verify-node.md", fence: "js", snippet: "sallyport.mjs", driver: "driver.mjs", command: []string{"node", "driver.mjs"}},
	"PHP":     {page: "verify-php.md", fence: "php", snippet: "sallyport.php", driver: "driver.php", command: []string{"php", "driver.php"}},
	"Ruby":    {page: "verify-ruby.md", fence: "ruby", snippet: "sallyport.rb", driver: "driver.rb", command: []string{"ruby", "driver.rb"}},
}

// TestVerifiersOfThePages runs each verifier as its page has it: what the product
// signed is believed, and no forgery is.
func TestVerifiersOfThePages(t *testing.T) {
	d := newDoor(t)
	asked := d.questions(t)
	for name, s := range stacks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			answers := s.ask(t, d, asked)
			for _, q := range asked {
				got, ok := answers[q.Way+": "+q.What]
				switch {
				case !ok:
					t.Errorf("%s, %s: no answer", q.Way, q.What)
				case q.good && got.Subject != person:
					t.Errorf("%s, %s: refused: %s", q.Way, q.What, got.Refusal)
				case !q.good && (got.Subject != "" || got.Refusal == ""):
					t.Errorf("%s, %s: believed", q.Way, q.What)
				}
			}
		})
	}
}

// answer is what a verifier says of one question.
type answer struct {
	Subject string `json:"sub"`
	Refusal string `json:"refusal"`
}

// ask runs the verifier over all questions, in one process.
func (s stack) ask(t *testing.T, d *door, asked []question) map[string]answer {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(s.snippet, code(t, s.page, s.fence))
	driver, err := os.ReadFile(filepath.Join("testdata", s.driver+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	write(s.driver, string(driver))
	for name, text := range s.more {
		write(name, text)
	}
	input, err := json.Marshal(map[string]any{"issuer": issuer, "audience": audience, "roots": d.roots, "keys": d.keys, "questions": asked})
	if err != nil {
		t.Fatal(err)
	}
	var out, complaints bytes.Buffer
	cmd := exec.CommandContext(t.Context(), s.command[0], s.command[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, bytes.NewReader(input), &out, &complaints
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "LANG=C.UTF-8")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v (make packages installs what is missing)\n%s", s.command, err, complaints.String())
	}
	var answers map[string]answer
	if err := json.Unmarshal(out.Bytes(), &answers); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.String(), complaints.String())
	}
	return answers
}

// code is the one block of that language in a page of docs/backends.
func code(t *testing.T, page, fence string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "backends", page))
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "\n```"+fence+"\n")
	if len(blocks) != 2 {
		t.Fatalf("%s has %d blocks of %s, expected one", page, len(blocks)-1, fence)
	}
	block, _, ok := strings.Cut(blocks[1], "\n```\n")
	if !ok {
		t.Fatalf("%s: the block has no end", page)
	}
	return block + "\n"
}

// TestEveryPageIsRun finds a page that no test runs.
func TestEveryPageIsRun(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join("..", "..", "..", "docs", "backends", "verify-*.md"))
	if err != nil {
		t.Fatal(err)
	}
	run := map[string]bool{}
	for _, s := range stacks {
		run[s.page] = true
	}
	for _, page := range pages {
		if !run[filepath.Base(page)] {
			t.Errorf("%s is run by no test", page)
		}
	}
	if len(pages) != len(stacks) {
		t.Errorf("%d pages, %d stacks", len(pages), len(stacks))
	}
}
