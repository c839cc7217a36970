package secrets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// App is the application that is told of changes. Its methods are not called concurrently.
type App interface {
	// Signal sends a signal to it.
	Signal(signal os.Signal) error
	// Restart ends it in order, and starts it with these variables beside its own, and
	// this input.
	Restart(ctx context.Context, env []string, stdin []byte) error
}

// Config says what to render. It must not be modified after [New].
type Config struct {
	Vault Vault // required
	Files []File
	Env   map[string]string // templates of environment variables, by name
	// Stdin is the template of what the application reads from its standard input; empty
	// for none.
	Stdin string
	// App is told of changes. Without one nobody can be signalled or restarted, leases are
	// not revoked when Run ends and files stay: whoever uses them may go on.
	App App
	// Exec runs the program of an action, with both its outputs going to output, until it
	// has ended or ctx has, which kills it. Without it no action can be a command.
	Exec func(ctx context.Context, argv []string, output *os.File) error
	// Variable looks up what the template function env is asked for; nil knows nothing.
	Variable func(name string) (string, bool)

	// Refresh is how often what has no lease is read again; default 1m.
	Refresh time.Duration
	// Grace is how long replaced credentials stay valid after the application has taken
	// over the new ones; default 30s. A negative value is none.
	Grace time.Duration
	// Wait is how long New waits for a Vault that is away; default 2m.
	Wait time.Duration
	// UnsafeDisk permits files on other file systems than those in memory.
	UnsafeDisk bool

	Log *slog.Logger // nil discards

	// passed is called after each step that another process could see the traces of: a
	// test ends the process there. It is called concurrently; nil for nothing.
	passed func(step)
}

// step is a step of writing files, of telling the application, and of cleaning up.
type step string

// The steps, in the order in which a file is written, and replaced, and goes.
const (
	folderMade  step = "its folder is made"
	folderOwned step = "its folder has its owner"
	fileMade    step = "an empty file is made"
	fileOwned   step = "it has its owner"
	modeSet     step = "it has its mode"
	fileWritten step = "it has its content"
	filePlaced  step = "it is in its place"
	appTold     step = "the application is told"
	leaseEnded  step = "a lease is revoked"
	fileRemoved step = "the file is removed"
)

// File is one file that is rendered.
type File struct {
	// Path is where it is put: absolute and clean. Its folder must be in memory.
	Path string
	// Template is its text, and Name what errors call it, such as its own file; default
	// the path.
	Template, Name string
	// Owner and Group are names or numbers; default those of the process, which are the
	// application's.
	Owner, Group string
	// Mode are its permission bits; default 0400.
	Mode fs.FileMode
	// UnsafeOthers permits a Mode that lets everybody read the file.
	UnsafeOthers bool
	// OnChange is what to do when its content has changed.
	OnChange Action
}

// Verb is a kind of action.
type Verb string

// What can be done about a change.
const (
	None    Verb = "none"    // the application looks by itself
	Signal  Verb = "signal"  // it gets a signal
	Restart Verb = "restart" // it is restarted
	HTTP    Verb = "http"    // a URL of it gets a POST
	Command Verb = "command" // a command is run
)

// Action is what is done when a file has changed.
type Action struct {
	Verb    Verb          // default None
	Signal  os.Signal     // of Signal
	URL     string        // of HTTP: http, on a literal loopback address
	Command []string      // of Command: a program by its absolute path, and its arguments; no shell
	Timeout time.Duration // of HTTP and Command; default 10s
	// Debounce is how long to wait for further changes, which then share one action, but
	// never more than five times that; default 2s. A negative value does not wait.
	Debounce time.Duration
	// Jitter is the longest of a random delay beyond, so that replicas do not act as one.
	Jitter time.Duration
}

const (
	defaultRefresh  = time.Minute
	defaultGrace    = 30 * time.Second
	defaultWait     = 2 * time.Minute
	defaultTimeout  = 10 * time.Second
	defaultDebounce = 2 * time.Second
	defaultMode     = 0o400
)

// withDefaults returns the Config with its defaults filled in, and every fault in it joined
// into one error.
func (cfg Config) withDefaults() (Config, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Variable == nil {
		cfg.Variable = func(string) (string, bool) { return "", false }
	}
	if cfg.passed == nil {
		cfg.passed = func(step) {}
	}
	setDefault(&cfg.Refresh, defaultRefresh)
	setDefault(&cfg.Grace, defaultGrace)
	cfg.Grace = max(cfg.Grace, 0)
	setDefault(&cfg.Wait, defaultWait)
	var faults []error
	if cfg.App == nil && (len(cfg.Env) > 0 || cfg.Stdin != "") {
		faults = append(faults, errors.New("there is no application to give an environment or an input to"))
	}
	for name := range cfg.Env {
		if err := checkVariable(name); err != nil {
			faults = append(faults, err)
		}
	}
	files := make([]File, len(cfg.Files))
	paths := map[string]bool{}
	for i, file := range cfg.Files {
		file.setDefaults()
		if err := file.check(&cfg); err != nil {
			faults = append(faults, fmt.Errorf("file %q: %w", file.Path, err))
		}
		if paths[file.Path] {
			faults = append(faults, fmt.Errorf("file %q: expected each path once", file.Path))
		}
		paths[file.Path] = true
		files[i] = file
	}
	cfg.Files = files
	return cfg, errors.Join(faults...)
}

// setDefault sets an empty value.
func setDefault[T comparable](field *T, value T) {
	var empty T
	if *field == empty {
		*field = value
	}
}

func (f *File) setDefaults() {
	setDefault(&f.Name, f.Path)
	setDefault(&f.Mode, defaultMode)
	f.OnChange.setDefaults()
}

func (a *Action) setDefaults() {
	setDefault(&a.Verb, None)
	setDefault(&a.Timeout, defaultTimeout)
	setDefault(&a.Debounce, defaultDebounce)
	a.Debounce = max(a.Debounce, 0)
}

// check says what is wrong with a file.
func (f *File) check(cfg *Config) error {
	var faults []error
	if !filepath.IsAbs(f.Path) || filepath.Clean(f.Path) != f.Path || filepath.Dir(f.Path) == f.Path {
		faults = append(faults, errors.New("expected an absolute path, and none of its segments to be a dot or two"))
	}
	if strings.HasPrefix(filepath.Base(f.Path), tempPrefix) {
		faults = append(faults, fmt.Errorf("names that begin with %q are for files that are being written", tempPrefix))
	}
	if err := f.checkMode(); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(append(faults, f.OnChange.check(cfg))...)
}

// checkMode accepts modes that make a secret readable to those whom it is for.
func (f *File) checkMode() error {
	switch {
	case f.Mode&^fs.ModePerm != 0 || f.Mode&0o222&^0o200 != 0:
		return fmt.Errorf("mode %#o: expected permission bits, and nobody but the owner to write", uint32(f.Mode))
	case f.Mode&0o400 == 0:
		return fmt.Errorf("mode %#o: expected the owner to read it", uint32(f.Mode))
	case f.Mode&0o007 != 0 && !f.UnsafeOthers:
		return fmt.Errorf("mode %#o lets everybody on the machine at it: expected 0400, 0440 or the like", uint32(f.Mode))
	}
	return nil
}

// check says what is wrong with an action.
func (a *Action) check(cfg *Config) error {
	switch a.Verb {
	case None:
	case Signal, Restart:
		if cfg.App == nil {
			return fmt.Errorf("action %q: there is no application that could be told", a.Verb)
		}
		if a.Verb == Signal && a.Signal == nil {
			return errors.New("action \"signal\": no signal given")
		}
	case HTTP:
		return checkLoopback(a.URL)
	case Command:
		if cfg.Exec == nil {
			return errors.New("action \"command\": nothing is given to run it with")
		}
		if len(a.Command) == 0 || !filepath.IsAbs(a.Command[0]) {
			return errors.New("action \"command\": expected the absolute path of a program, and its arguments")
		}
	default:
		return fmt.Errorf("action %q: expected none, signal, restart, http or command", a.Verb)
	}
	return nil
}

// checkLoopback accepts plain HTTP to a literal loopback address: what a name means is for
// a resolver to say.
func checkLoopback(address string) error {
	u, err := url.Parse(address)
	if err == nil && u.Scheme == "http" && u.User == nil {
		if host, err := netip.ParseAddr(u.Hostname()); err == nil && host.IsLoopback() {
			return nil
		}
	}
	return fmt.Errorf("action \"http\": URL %q: expected http://127.0.0.1:PORT/PATH", address)
}

// checkVariable accepts the name of an environment variable.
func checkVariable(name string) error {
	for i, r := range name {
		letter := r == '_' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return fmt.Errorf("environment variable %q: expected letters, digits and _", name)
		}
	}
	if name == "" {
		return errors.New("environment variable \"\": expected a name")
	}
	return nil
}
