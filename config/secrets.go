package config

import (
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Secrets are what a sidecar renders of Vault for the application.
type Secrets struct {
	// Files are rendered before the application starts, and again when what they are made
	// of changes. Paths are unique.
	Files []SecretFile `yaml:"files"`
	// Env are environment variables of the application. Names are unique.
	Env []SecretVariable `yaml:"env"`
	// Stdin is the template of what it reads from its standard input. Default "none".
	Stdin string `yaml:"stdin"`
	// Grace is how long replaced credentials stay valid after the application has taken
	// over the new ones. Default 30s, 0 to 1h.
	Grace Duration `yaml:"grace"`
	// UnsafeDisk permits files on other file systems than those in memory. Default false.
	UnsafeDisk bool `yaml:"unsafe_disk"`
}

// On says whether anything is rendered.
func (s *Secrets) On() bool { return len(s.Files) > 0 || len(s.Env) > 0 || s.HasStdin() }

// HasStdin says whether there is a standard input.
func (s *Secrets) HasStdin() bool { return s.Stdin != none }

// SecretFile is one file, with one of Template and TemplateFile.
type SecretFile struct {
	// Path is absolute, and not in the root folder. Its folder is in memory, and is kept by a
	// sidecar that is confined, with all that is in it. Required.
	Path string `yaml:"path"`
	// Template is in the language of consul-template.
	Template string `yaml:"template"`
	// TemplateFile is the absolute path of a file with it.
	TemplateFile string `yaml:"template_file"`
	// Owner is a user's name or number. Default "process", the sidecar's own, which is the
	// application's.
	Owner string `yaml:"owner"`
	// Group is a group's name or number. Default "process".
	Group string `yaml:"group"`
	// Mode are octal digits, in quotes. Default "0400".
	Mode string `yaml:"mode"`
	// UnsafeOthers permits a Mode that lets everybody read the file. Default false.
	UnsafeOthers bool `yaml:"unsafe_others"`
	// OnChange is how the application learns of a new content.
	OnChange SecretChange `yaml:"on_change"`
}

// SecretVariable is one environment variable.
type SecretVariable struct {
	// Name is letters, digits and _. Required.
	Name string `yaml:"name"`
	// Template is in the language of consul-template. Required.
	Template string `yaml:"template"`
}

// SecretChange is how an application learns of a change.
type SecretChange struct {
	// Action is "none", "signal", "restart", "http" or "command". Default "none".
	Action string `yaml:"action"`
	// Signal is which. Default HUP.
	Signal string `yaml:"signal"`
	// URL is on loopback and gets a POST. Required for http.
	URL string `yaml:"url"`
	// Command is the absolute path of a program and its arguments. Required for command.
	Command []string `yaml:"command"`
	// Timeout is how long http and command may take. Default 10s, 100ms to 5m.
	Timeout Duration `yaml:"timeout"`
	// Debounce is how long further changes are waited for. Default 2s, 0 to 5m.
	Debounce Duration `yaml:"debounce"`
	// Jitter is the longest of a random delay beyond. Default 0s, at most 1h.
	Jitter Duration `yaml:"jitter"`
}

// ofProcess is the word for the process's own user or group.
const ofProcess = "process"

// setDefaults makes f what an empty entry of secrets.files means.
func (f *SecretFile) setDefaults() {
	f.Owner, f.Group, f.Mode = ofProcess, ofProcess, "0400"
	f.OnChange = SecretChange{
		Action: secretActions[0], Signal: "HUP", Timeout: Duration{10 * time.Second}, Debounce: Duration{2 * time.Second},
	}
}

// FileMode is Mode as a number.
func (f *SecretFile) FileMode() fs.FileMode {
	mode, _ := strconv.ParseUint(f.Mode, 8, 32) // validated
	return fs.FileMode(mode)
}

// User is Owner, and "" for the process's own.
func (f *SecretFile) User() string { return notOfProcess(f.Owner) }

// GroupName is Group, and "" for the process's own.
func (f *SecretFile) GroupName() string { return notOfProcess(f.Group) }

func notOfProcess(name string) string {
	if name == ofProcess {
		return ""
	}
	return name
}

// Words of secrets.
var (
	secretActions = [...]string{none, "signal", "restart", "http", "command"}
	// secretSignals are what applications take for a wish to read their files again.
	secretSignals = [...]string{"HUP", "USR1", "USR2", "INT", "TERM", "QUIT", "WINCH"}

	secretMode   = regexp.MustCompile(`^0[0-7]{3}$`)
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	accountName  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*\$?$`)
)

func defaultSecrets() Secrets { return Secrets{Stdin: none, Grace: Duration{30 * time.Second}} }

// secrets reports what is wrong with what is rendered.
func (c *collector) secrets(at string, s Secrets) {
	paths, names := map[string]string{}, map[string]string{}
	for i, f := range s.Files {
		here := entry(join(at, "files"), i)
		c.secretFile(here, f)
		c.unique(join(here, "path"), paths, f.Path)
	}
	for i, v := range s.Env {
		here := entry(join(at, "env"), i)
		if !variableName.MatchString(v.Name) {
			c.refuse(join(here, "name"), "letters, digits and _, such as DB_PASSWORD")
		}
		if v.Template == "" {
			c.refuse(join(here, "template"), "a template, such as '{{ with secret \"secret/app\" }}{{ .Data.data.password }}{{ end }}'")
		}
		c.unique(join(here, "name"), names, v.Name)
	}
	c.within(join(at, "grace"), s.Grace, 0, time.Hour)
}

// secretFile reports what is wrong with one file.
func (c *collector) secretFile(at string, f SecretFile) {
	switch {
	case !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || !isPrintable(f.Path) || path.Dir(f.Path) == f.Path:
		c.refuse(join(at, "path"), "an absolute path without . and .., such as /run/secrets/db.ini")
	case path.Dir(f.Path) == "/": // the sidecar would have to keep the whole file system to replace it
		c.refuse(join(at, "path"), "a file in a folder of its own, such as /run/secrets/db.ini")
	}
	switch {
	case f.Template == "" && f.TemplateFile == "":
		c.refuse(join(at, "template"), "a template, or template_file with the path of one")
	case f.Template != "" && f.TemplateFile != "":
		c.refuse(join(at, "template_file"), "nothing: there is a template already")
	case f.TemplateFile != "" && !path.IsAbs(f.TemplateFile):
		c.refuse(join(at, "template_file"), "an absolute path")
	}
	for _, account := range [...]struct{ key, name string }{{"owner", f.Owner}, {"group", f.Group}} {
		if !accountName.MatchString(account.name) {
			c.refuse(join(at, account.key), "a name or a number")
		}
	}
	c.secretMode(at, f)
	c.secretChange(join(at, "on_change"), f.OnChange)
}

// wideFolders tells of files in folders directly below the root, such as /etc: a sidecar
// that is confined keeps the whole folder, since a file in it takes the place of another.
func (s *Secrets) wideFolders(at string) []string {
	var warnings []string
	for i, f := range s.Files {
		if folder := path.Dir(f.Path); path.Dir(folder) == "/" {
			warnings = append(warnings, fmt.Sprintf("%s.path: the sidecar keeps all of %s, to replace the file; a folder of its own, such as /run/secrets, holds less", entry(join(at, "files"), i), folder))
		}
	}
	return warnings
}

// secretMode reports a mode that shows a secret to whom it is not for.
func (c *collector) secretMode(at string, f SecretFile) {
	mode := f.FileMode()
	switch {
	case !secretMode.MatchString(f.Mode):
		c.refuse(join(at, "mode"), `four octal digits in quotes, such as "0400"`)
	case mode&0o400 == 0 || mode&0o022 != 0:
		c.refuse(join(at, "mode"), "that the owner may read the file, and nobody else write to it")
	case mode&0o007 != 0 && !f.UnsafeOthers:
		c.refuse(join(at, "mode"), "that it is not for everybody, such as 0400 or 0440; or unsafe_others")
	}
}

// secretChange reports what is wrong with how an application is told.
func (c *collector) secretChange(at string, s SecretChange) {
	c.oneOf(join(at, "action"), s.Action, secretActions[:])
	c.oneOf(join(at, "signal"), s.Signal, secretSignals[:])
	if s.Action == "http" && (!strings.HasPrefix(s.URL, "http://") || !isLoopbackURL(s.URL)) {
		c.refuse(join(at, "url"), "http:// and a literal address of loopback, such as http://127.0.0.1:3000/reload")
	}
	if s.Action == "command" && (len(s.Command) == 0 || !path.IsAbs(s.Command[0])) {
		c.refuse(join(at, "command"), "the absolute path of a program, and its arguments")
	}
	c.within(join(at, "timeout"), s.Timeout, 100*time.Millisecond, 5*time.Minute)
	c.within(join(at, "debounce"), s.Debounce, 0, 5*time.Minute)
	c.within(join(at, "jitter"), s.Jitter, 0, time.Hour)
}

// isLoopbackURL accepts a URL whose host is a literal address of loopback.
func isLoopbackURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.User != nil || u.Fragment != "" {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return err == nil && addr.IsLoopback()
}
