package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// modulePath is the product's module.
const modulePath = "github.com/sallyport/sallyport"

// goPackage is what `go list` says of a package.
type goPackage struct {
	Dir, ImportPath, Name string
	GoFiles               []string
	TestGoFiles           []string // in the package itself
	XTestGoFiles          []string // beside it
	Imports, Deps         []string
}

// room is the package's place below the module's root, such as "proxy/session".
func (p goPackage) room() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, modulePath), "/")
}

// top is the first element of a room.
func top(room string) string {
	first, _, _ := strings.Cut(room, "/")
	return first
}

// directions say what each top-level package may import of the others, and
// why no more.
var directions = map[string]struct {
	may []string
	why string
}{
	"cmd":      {[]string{"config", "proxy", "saml", "vaultpki"}, "cmd wires the domain; toys for tests (internal) have no place in the binary"},
	"proxy":    {[]string{"saml"}, "proxy is HTTP in and HTTP out: TLS, keys and settings reach it as standard types, so that it runs without Vault and without a file"},
	"saml":     {nil, "saml is the protocol alone: it knows no cookie, no proxy, no Vault and no file of ours"},
	"vaultpki": {nil, "vaultpki is the identity of the machine: what it is used for is none of its business"},
	"config":   {nil, "config is a leaf: what an operator may write, without knowing who reads it"},
	"internal": {nil, "internal packages are small and stand on nothing of ours"},
}

// fence keeps libraries in the places that know how to hold them. Where two name a
// library, the one that names more of it counts.
type fence struct {
	libraries []string
	rooms     []string // and everything below
	why       string
}

// consulTemplate is the library of the template language.
const consulTemplate = "github.com/hashicorp/consul-template"

var fences = []fence{
	{
		[]string{"github.com/hashicorp/", "github.com/openbao/", "github.com/caddyserver/", "github.com/mholt/acmez", "go.uber.org/zap"},
		[]string{"vaultpki"}, "Vault's client, certmagic and its logger are vaultpki's: everybody else gets *tls.Config and text",
	},
	{[]string{consulTemplate}, []string{"proxy/sidecar/secrets"}, "the language of templates is read where what it may reach is bounded"},
	{
		[]string{"github.com/russellhaering/", "github.com/beevik/etree", "github.com/crewjam/", "encoding/xml"},
		[]string{"saml"}, "XML signatures are judged in one place, behind its limits",
	},
	{
		[]string{"github.com/goccy/go-yaml", "go.yaml.in/", "gopkg.in/yaml", "sigs.k8s.io/yaml"},
		[]string{"config"}, "YAML is parsed strictly, in one place",
	},
	{[]string{"github.com/spf13/"}, []string{"cmd"}, "a command line is cmd's alone"},
	{[]string{"github.com/prometheus/"}, []string{"proxy", "cmd"}, "metrics are made in proxy and gathered in cmd"},
	{[]string{"github.com/gorilla/"}, []string{"proxy/session"}, "cookies are sealed and opened in one place"},
	{
		[]string{"go.opentelemetry.io/otel", "go.opentelemetry.io/proto/", "google.golang.org/protobuf"},
		[]string{"proxy/otlp", "proxy/tracing", "proxy/accesslog/sink/otlp"}, "telemetry is made in two places and delivered in one: everybody else has a *tracing.Span, which may be nil",
	},
	{[]string{"google.golang.org/grpc"}, nil, "of gRPC we need one unary call, which package proxy/otlp makes: the library would double what a sidecar weighs"},
	{[]string{modulePath + "/proxy/accesslog/audit"}, []string{"cmd", "proxy/accesslog/audit", "proxy/auditpage"}, "the log is read back for who asks about it: no request waits for that"},
	{[]string{"github.com/landlock-lsm/", "kernel.org/pub/linux/libs/"}, []string{"proxy/sidecar/confine"}, "what a process may do is given up in one place, whose errors and limits are known"},
	{[]string{"github.com/quic-go/"}, []string{"proxy"}, "QUIC stands beside the TCP listener, where its limits and its stop are the same: cmd hands over a socket"},
}

// forbiddenModules must not be in the product's go.mod: they belong to the
// development stack, which is a module of its own.
var forbiddenModules = []string{
	"github.com/hashicorp/vault", "github.com/hashicorp/vault/sdk", "github.com/openbao/openbao",
	"github.com/chromedp/chromedp", "github.com/crewjam/saml", "github.com/Shopify/toxiproxy/v2", modulePath + "/deploy/dev",
}

// layout has every top-level entry that the repository must have, and those
// that it may have.
var (
	layout = []string{
		".ci", ".github", ".gitignore", ".golangci.yml", "CHANGELOG.md", "Dockerfile", "LICENSE", "Makefile", "README.md",
		"cmd", "config", "deploy", "docs", "go.mod", "go.sum", "internal", "proxy", "saml", "vaultpki",
	}
	layoutOptional = []string{".dockerignore", ".gitattributes"}
)

// TestArchitecture holds the repository to its plan.
func TestArchitecture(t *testing.T) {
	root := repositoryRoot(t)
	packages := listPackages(t, root)
	if len(packages) < 10 {
		t.Fatalf("go list found %d packages, expected the whole module", len(packages))
	}
	t.Run("imports go one way", func(t *testing.T) { report(t, directionFaults(packages)) })
	t.Run("libraries stay behind their fences", func(t *testing.T) { report(t, fenceFaults(packages)) })
	t.Run("production does not depend on testing", func(t *testing.T) { report(t, testingFaults(packages)) })
	t.Run("internal stays small", func(t *testing.T) { report(t, internalFaults(packages)) })
	t.Run("sources keep the habits", func(t *testing.T) {
		for _, p := range packages {
			files, err := parseFiles(p)
			if err != nil {
				t.Fatal(err)
			}
			report(t, commentFaults(p, files))
			report(t, sourceFaults(p, files))
		}
	})
	t.Run("go.mod is the product's alone", func(t *testing.T) { report(t, moduleFaults(requiredModules(t, root))) })
	t.Run("the top level is the layout", func(t *testing.T) { report(t, layoutFaults(topLevel(t, root))) })
}

func report(t *testing.T, faults []string) {
	t.Helper()
	for _, fault := range faults {
		t.Error(fault)
	}
}

func directionFaults(packages []goPackage) (faults []string) {
	for _, p := range packages {
		from := top(p.room())
		direction, known := directions[from]
		if !known {
			faults = append(faults, fmt.Sprintf("%s: no top-level package %q is planned", p.ImportPath, from))
			continue
		}
		for _, imported := range p.Imports {
			room, ours := strings.CutPrefix(imported, modulePath+"/")
			if to := top(room); ours && to != from && !slices.Contains(direction.may, to) {
				faults = append(faults, fmt.Sprintf("%s imports %s: %s", p.room(), room, direction.why))
			}
		}
	}
	return faults
}

func fenceFaults(packages []goPackage) (faults []string) {
	for _, p := range packages {
		for _, imported := range p.Imports {
			f := fenceOf(imported)
			if f != nil && !slices.ContainsFunc(f.rooms, func(room string) bool { return within(p.room(), room) }) {
				faults = append(faults, fmt.Sprintf("%s imports %s, which belongs to %s: %s", p.room(), imported, strings.Join(f.rooms, " and "), f.why))
			}
		}
	}
	return faults
}

// fenceOf is the fence around an imported package, nil if there is none.
func fenceOf(imported string) (around *fence) {
	longest := 0
	for i, f := range fences {
		for _, library := range f.libraries {
			if strings.HasPrefix(imported, library) && len(library) > longest {
				around, longest = &fences[i], len(library)
			}
		}
	}
	return around
}

func within(room, parent string) bool { return room == parent || strings.HasPrefix(room, parent+"/") }

func testingFaults(packages []goPackage) (faults []string) {
	for _, p := range packages {
		if slices.Contains(p.Deps, "testing") {
			faults = append(faults, fmt.Sprintf("%s depends on testing: it would add its flags to the binary, and toys to production", p.room()))
		}
	}
	return faults
}

func internalFaults(packages []goPackage) []string {
	found := map[string]bool{}
	for _, p := range packages {
		if rest, ok := strings.CutPrefix(p.room(), "internal/"); ok {
			found[top(rest)] = true
		}
	}
	if len(found) <= 3 {
		return nil
	}
	return []string{fmt.Sprintf("internal has %d packages (%s), expected at most 3: a noun of the domain belongs at the top level",
		len(found), strings.Join(slices.Sorted(maps.Keys(found)), ", "))}
}

// commentFaults demands one package comment with the first words that godoc
// expects.
func commentFaults(p goPackage, files map[string]*ast.File) []string {
	var comments []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if doc := files[name].Doc; doc != nil {
			comments = append(comments, doc.Text())
		}
	}
	want := "Package " + p.Name + " "
	if p.Name == "main" {
		want = "Command " + path.Base(p.ImportPath) + " "
	}
	switch {
	case len(comments) != 1:
		return []string{fmt.Sprintf("%s has %d package comments, expected one", p.room(), len(comments))}
	case !strings.HasPrefix(comments[0], want):
		return []string{fmt.Sprintf("%s: the package comment begins %.40q, expected %q", p.room(), comments[0], want)}
	}
	return nil
}

// forbiddenNames are selectors of the standard library with shared state or a
// known danger. A test or the process's main may not need them either; here
// production is judged.
var forbiddenNames = map[string]string{
	"http.DefaultClient":                 "it has no timeout, and anybody may change it",
	"http.DefaultTransport":              "it obeys the environment's proxies, and anybody may change it",
	"http.DefaultServeMux":               "any imported package may put a handler on it",
	"http.Handle":                        "it puts a handler on http.DefaultServeMux",
	"http.HandleFunc":                    "it puts a handler on http.DefaultServeMux",
	"http.Get":                           "it uses http.DefaultClient",
	"http.Head":                          "it uses http.DefaultClient",
	"http.Post":                          "it uses http.DefaultClient",
	"http.PostForm":                      "it uses http.DefaultClient",
	"httputil.NewSingleHostReverseProxy": "it sets Director: a client can remove the headers that a Director adds; use Rewrite",
	"flag.CommandLine":                   "it is shared by all packages",
	"slog.SetDefault":                    "loggers are injected",
	"slog.Default":                       "loggers are injected",
	"log.Fatal":                          "only main ends the process",
	"log.Fatalf":                         "only main ends the process",
	"log.Fatalln":                        "only main ends the process",
}

// sourceFaults finds what no production source may hold.
func sourceFaults(p goPackage, files map[string]*ast.File) (faults []string) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		where := p.room() + "/" + name
		ast.Inspect(files[name], func(node ast.Node) bool {
			switch n := node.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == "init" && n.Recv == nil {
					faults = append(faults, where+" has an init function: nothing happens before main")
				}
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Director" {
					faults = append(faults, where+" sets Director: a client can remove the headers that a Director adds; use Rewrite")
				}
			case *ast.SelectorExpr:
				if fault := selectorFault(where, n); fault != "" {
					faults = append(faults, fault)
				}
			}
			return true
		})
	}
	return faults
}

func selectorFault(where string, n *ast.SelectorExpr) string {
	if n.Sel.Name == "Director" {
		return where + " uses Director: a client can remove the headers that a Director adds; use Rewrite"
	}
	left, ok := n.X.(*ast.Ident)
	if !ok {
		return ""
	}
	name := left.Name + "." + n.Sel.Name
	if why, forbidden := forbiddenNames[name]; forbidden {
		return where + " uses " + name + ": " + why
	}
	if name == "os.Exit" && where != "cmd/sallyport/main.go" {
		return where + " calls os.Exit: only main does, so that deferred calls run"
	}
	return ""
}

func moduleFaults(modules []string) (faults []string) {
	for _, module := range modules {
		if slices.Contains(forbiddenModules, module) {
			faults = append(faults, fmt.Sprintf("go.mod requires %s: it belongs to deploy/dev, whose dependencies must not choose the product's", module))
		}
	}
	return faults
}

func layoutFaults(entries []string) (faults []string) {
	for _, entry := range entries {
		if !slices.Contains(layout, entry) && !slices.Contains(layoutOptional, entry) {
			faults = append(faults, fmt.Sprintf("the repository has a top-level %q, which its layout does not know", entry))
		}
	}
	for _, entry := range layout {
		if !slices.Contains(entries, entry) {
			faults = append(faults, fmt.Sprintf("the repository has no top-level %q, which its layout promises", entry))
		}
	}
	return faults
}

// TestArchitectureRulesCanFail shows each rule a violation.
func TestArchitectureRulesCanFail(t *testing.T) {
	pkg := func(room string, imports ...string) []goPackage {
		return []goPackage{{ImportPath: modulePath + "/" + room, Name: path.Base(room), Imports: imports, Deps: imports}}
	}
	source := func(room, name, text string) (goPackage, map[string]*ast.File) {
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		return pkg(room)[0], map[string]*ast.File{name: file}
	}
	internals := slices.Concat(pkg("internal/a"), pkg("internal/b"), pkg("internal/b/c"), pkg("internal/d"))
	tests := map[string]struct {
		faults []string
		want   string // part of the one fault; empty if there must be none
	}{
		"proxy imports vaultpki":            {directionFaults(pkg("proxy", modulePath+"/vaultpki")), "proxy imports vaultpki: proxy is HTTP in"},
		"proxy/session imports config":      {directionFaults(pkg("proxy/session", modulePath+"/config")), "proxy/session imports config"},
		"saml imports proxy/session":        {directionFaults(pkg("saml", modulePath+"/proxy/session")), "saml imports proxy/session"},
		"vaultpki imports saml":             {directionFaults(pkg("vaultpki/provision", modulePath+"/saml")), "vaultpki/provision imports saml"},
		"config imports saml":               {directionFaults(pkg("config", modulePath+"/saml")), "config is a leaf"},
		"cmd imports internal/vaulttest":    {directionFaults(pkg("cmd/sallyport", modulePath+"/internal/vaulttest")), "toys for tests"},
		"an unplanned top-level package":    {directionFaults(pkg("utils")), `"utils" is planned`},
		"proxy imports saml":                {directionFaults(pkg("proxy", modulePath+"/saml", modulePath+"/proxy/header", "net/http")), ""},
		"cmd imports its rooms":             {directionFaults(pkg("cmd/sallyport", modulePath+"/saml", modulePath+"/vaultpki/introduce")), ""},
		"proxy imports consul-template":     {fenceFaults(pkg("proxy/sidecar", consulTemplate+"/template")), "belongs to proxy/sidecar/secrets"},
		"secrets imports consul-template":   {fenceFaults(pkg("proxy/sidecar/secrets", consulTemplate+"/template")), ""},
		"secrets imports the vault client":  {fenceFaults(pkg("proxy/sidecar/secrets", "github.com/hashicorp/vault/api")), "belongs to vaultpki"},
		"proxy imports the vault client":    {fenceFaults(pkg("proxy", "github.com/hashicorp/vault/api")), "belongs to vaultpki"},
		"cmd imports zap":                   {fenceFaults(pkg("cmd/sallyport", "go.uber.org/zap/zapcore")), "belongs to vaultpki"},
		"proxy imports certmagic":           {fenceFaults(pkg("proxy", "github.com/caddyserver/certmagic")), "belongs to vaultpki"},
		"proxy imports goxmldsig":           {fenceFaults(pkg("proxy", "github.com/russellhaering/goxmldsig")), "belongs to saml"},
		"cmd imports etree":                 {fenceFaults(pkg("cmd/sallyport", "github.com/beevik/etree")), "belongs to saml"},
		"cmd imports a YAML parser":         {fenceFaults(pkg("cmd/sallyport", "github.com/goccy/go-yaml")), "belongs to config"},
		"cmd imports landlock":              {fenceFaults(pkg("cmd/sallyport", "github.com/landlock-lsm/go-landlock/landlock")), "belongs to proxy/sidecar/confine"},
		"config imports cobra":              {fenceFaults(pkg("config", "github.com/spf13/cobra")), "belongs to cmd"},
		"vaultpki imports prometheus":       {fenceFaults(pkg("vaultpki", "github.com/prometheus/client_golang/prometheus")), "belongs to proxy and cmd"},
		"proxy/portal imports sessions":     {fenceFaults(pkg("proxy/portal", "github.com/gorilla/sessions")), "belongs to proxy/session"},
		"cmd imports OpenTelemetry":         {fenceFaults(pkg("cmd/sallyport", "go.opentelemetry.io/otel/trace")), "belongs to proxy/otlp and proxy/tracing"},
		"vaultpki imports OpenTelemetry":    {fenceFaults(pkg("vaultpki", "go.opentelemetry.io/otel/trace")), "belongs to proxy/otlp"},
		"proxy/otlp imports gRPC":           {fenceFaults(pkg("proxy/otlp", "google.golang.org/grpc")), "would double"},
		"cmd imports QUIC":                  {fenceFaults(pkg("cmd/sallyport", "github.com/quic-go/quic-go/http3")), "belongs to proxy"},
		"proxy/relay imports the index":     {fenceFaults(pkg("proxy/relay", modulePath+"/proxy/accesslog/audit/index")), "belongs to cmd and proxy/accesslog/audit and proxy/auditpage"},
		"vaultpki/provision imports vault":  {fenceFaults(pkg("vaultpki/provision", "github.com/hashicorp/vault/api")), ""},
		"vaultpkix is not vaultpki":         {fenceFaults(pkg("vaultpkix", "go.uber.org/zap")), "belongs to vaultpki"},
		"a package depends on testing":      {testingFaults(pkg("internal/vaulttest", "testing")), "depends on testing"},
		"a package depends on testing/fs":   {testingFaults(pkg("saml", "testing/fstest")), ""},
		"three internal packages":           {internalFaults(internals), ""},
		"four internal packages":            {internalFaults(append(internals, pkg("internal/e")...)), "internal has 4 packages (a, b, d, e)"},
		"no package comment":                {commentFaults(source("saml", "a.go", "package saml")), "has 0 package comments"},
		"a package comment of other words":  {commentFaults(source("saml", "a.go", "// SAML things.\npackage saml")), `expected "Package saml "`},
		"a package comment":                 {commentFaults(source("saml", "a.go", "// Package saml is.\npackage saml")), ""},
		"an init function":                  {sourceFaults(source("saml", "a.go", "package saml\nfunc init() {}")), "saml/a.go has an init function"},
		"a method called init":              {sourceFaults(source("saml", "a.go", "package saml\nfunc (t T) init() {}")), ""},
		"a Director in a literal":           {sourceFaults(source("proxy", "a.go", "package proxy\nvar p = httputil.ReverseProxy{Director: nil}")), "sets Director"},
		"a Director assigned":               {sourceFaults(source("proxy", "a.go", "package proxy\nfunc f() { p.Director = nil }")), "uses Director"},
		"the default client":                {sourceFaults(source("proxy", "a.go", "package proxy\nvar c = http.DefaultClient")), "it has no timeout"},
		"the default transport, asserted":   {sourceFaults(source("proxy", "a.go", "package proxy\nvar c = http.DefaultTransport.(*http.Transport)")), "http.DefaultTransport"},
		"the default mux":                   {sourceFaults(source("proxy", "a.go", "package proxy\nfunc f() { http.HandleFunc(\"/\", nil) }")), "http.DefaultServeMux"},
		"os.Exit in another file of cmd":    {sourceFaults(source("cmd/sallyport", "exit.go", "package main\nfunc f() { os.Exit(1) }")), "only main does"},
		"os.Exit in main.go":                {sourceFaults(source("cmd/sallyport", "main.go", "package main\nfunc main() { os.Exit(1) }")), ""},
		"a whole Vault in go.mod":           {moduleFaults([]string{"github.com/hashicorp/vault"}), "go.mod requires github.com/hashicorp/vault:"},
		"a browser in go.mod":               {moduleFaults([]string{"github.com/chromedp/chromedp"}), "go.mod requires"},
		"the Vault client in go.mod":        {moduleFaults([]string{"github.com/hashicorp/vault/api"}), ""},
		"an entry that the layout has not":  {layoutFaults(append([]string{"scripts"}, layout...)), `top-level "scripts"`},
		"an entry missing":                  {layoutFaults(layout[1:]), `no top-level ".ci"`},
		"an entry that the layout may have": {layoutFaults(append([]string{".dockerignore"}, layout...)), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			want := 1
			if test.want == "" {
				want = 0
			}
			if len(test.faults) != want {
				t.Fatalf("faults %q, expected %d", test.faults, want)
			}
			if want == 1 && !strings.Contains(test.faults[0], test.want) {
				t.Errorf("fault %q, expected it to say %q", test.faults[0], test.want)
			}
		})
	}
}

// TestEveryTopLevelPackageHasADirection holds the table of directions against
// the layout.
func TestEveryTopLevelPackageHasADirection(t *testing.T) {
	var code []string
	for _, entry := range layout {
		if !strings.Contains(entry, ".") && entry != "LICENSE" && entry != "Dockerfile" && entry != "Makefile" && entry != "docs" && entry != "deploy" {
			code = append(code, entry)
		}
	}
	if diff := cmp.Diff(code, slices.Sorted(maps.Keys(directions))); diff != "" {
		t.Errorf("top-level packages (-layout +directions):\n%s", diff)
	}
}

func parseFiles(p goPackage) (map[string]*ast.File, error) {
	files := map[string]*ast.File{}
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files[name] = file
	}
	return files, nil
}

// listPackages returns every package of the product's module.
func listPackages(t *testing.T, root string) []goPackage {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(output(t, root, "go", "list", "-pgo=off", "-json=Dir,ImportPath,Name,GoFiles,TestGoFiles,XTestGoFiles,Imports,Deps", "./...")))
	var packages []goPackage
	for {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// requiredModules returns what go.mod requires, directly or not.
func requiredModules(t *testing.T, root string) []string {
	t.Helper()
	var file struct{ Require []struct{ Path string } }
	if err := json.Unmarshal([]byte(output(t, root, "go", "mod", "edit", "-json")), &file); err != nil {
		t.Fatal(err)
	}
	var modules []string
	for _, require := range file.Require {
		modules = append(modules, require.Path)
	}
	if len(modules) == 0 {
		t.Fatal("go.mod requires nothing, expected the product's libraries")
	}
	return modules
}

// topLevel returns the first path elements of what is under version control.
func topLevel(t *testing.T, root string) []string {
	t.Helper()
	found := map[string]bool{}
	for line := range strings.Lines(output(t, root, "git", "ls-files")) {
		found[top(strings.TrimSpace(line))] = true
	}
	return slices.Sorted(maps.Keys(found))
}

func repositoryRoot(t *testing.T) string {
	t.Helper()
	return filepath.Dir(strings.TrimSpace(output(t, ".", "go", "env", "GOMOD")))
}

// output runs a command in dir and returns its standard output.
func output(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("running %s: %v\n%s", cmd, err, stderr.String())
	}
	return string(out)
}
