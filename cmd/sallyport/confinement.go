package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/sidecar/confine"
	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
	"github.com/sallyport/sallyport/vaultpki"
)

// hostFiles are what any process reads of its host: names and their servers, authorities,
// time zones; of itself, and of the memory that it has.
var hostFiles = [...]string{
	"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/services", "/etc/host.conf", "/etc/gai.conf", "/etc/localtime",
	"/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
	"/usr/share/zoneinfo", "/proc", "/sys/fs/cgroup", "/dev/urandom",
}

// portDNS is where names are asked for by TCP, if an answer is too long for UDP.
const portDNS = 53

// hintConfine is what to do where a process cannot be confined.
const hintConfine = "run it on Linux 6.12 or later with Landlock switched on, let the engine's seccomp filter pass landlock_*, or set confine.required: false"

// confinement is what a sidecar with this configuration keeps: what it reads, writes, listens
// on and connects to. It is the whole list, but for what the files that it names point to.
func confinement(cfg *config.Sidecar, from source, identity *identityFlags) (confine.Config, error) {
	held := confine.Config{Required: cfg.Confine.Required, Read: hostFiles[:], Write: []string{"/dev/null"}, Connect: []uint16{portDNS}}
	read, write := identity.files()
	if !from.inVault() {
		read = append(read, string(from))
	}
	if cfg.Tracing.On() {
		held.Connect = append(held.Connect, port(cfg.Tracing.Origin().Port))
		if !cfg.Tracing.SystemRoots() {
			read = append(read, cfg.Tracing.CAFile)
		}
	}
	for _, file := range read {
		places, err := placesOf(file)
		if err != nil {
			return held, err
		}
		held.Read = append(held.Read, places...)
	}
	for _, file := range write {
		places, err := placesOf(file)
		if err != nil {
			return held, err
		}
		held.Write = append(held.Write, places...)
	}
	held.Read, held.Write = append(held.Read, cfg.Confine.Read...), append(held.Write, cfg.Confine.Write...)
	for _, number := range cfg.Confine.Connect {
		held.Connect = append(held.Connect, port(number))
	}
	secretPlaces(&held, cfg)
	if cfg.App.Port > 0 {
		held.Connect = append(held.Connect, port(cfg.App.Port))
	}
	if at, ok := checkedPort(cfg.Child.Check); ok {
		held.Connect = append(held.Connect, at)
	}
	vault, err := identity.ports()
	held.Connect = append(held.Connect, vault...)
	if err != nil {
		return held, err
	}
	for _, address := range []string{cfg.Listen, cfg.Admin} {
		_, number, err := net.SplitHostPort(address)
		if err != nil {
			return held, fmt.Errorf("reading the address %q: %w", address, err)
		}
		at, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return held, fmt.Errorf("reading the address %q: %w", address, err)
		}
		held.Bind = append(held.Bind, uint16(at))
	}
	return held, nil
}

// secretPlaces adds what keeping the application's secrets fresh takes: the folders in which
// its files are replaced, and the ports at which it is told.
func secretPlaces(held *confine.Config, cfg *config.Sidecar) {
	for _, file := range cfg.Secrets.Files {
		held.Write = append(held.Write, filepath.Dir(file.Path))
		if u, err := url.Parse(file.OnChange.URL); err == nil && file.OnChange.Action == string(secrets.HTTP) {
			if at, err := strconv.ParseUint(cmp.Or(u.Port(), "80"), 10, 16); err == nil {
				held.Connect = append(held.Connect, uint16(at))
			}
		}
	}
}

// port is a number that the configuration has found to be one.
func port(number int) uint16 { return uint16(number) } //nolint:gosec // see above

// checkedPort is where an application is asked whether it answers.
func checkedPort(k config.ChildCheck) (uint16, bool) {
	address := k.TCP
	if u, err := url.Parse(k.HTTP); err == nil && u.Host != "" {
		if address = u.Host; u.Port() == "" {
			address = net.JoinHostPort(u.Hostname(), "80")
		}
	}
	_, number, err := net.SplitHostPort(address)
	if err != nil {
		return 0, false
	}
	at, err := strconv.ParseUint(number, 10, 16)
	return uint16(at), err == nil
}

// placesOf are the paths of a file that may be replaced: the file, what it points to, and the
// folder around each, in which another file takes its place. A folder at the root or directly
// below it holds too much to be one of them.
func placesOf(file string) ([]string, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", file, err)
	}
	places := []string{path}
	if target, err := filepath.EvalSymlinks(path); err == nil && target != path {
		places = append(places, target)
	}
	for _, place := range places {
		if folder := filepath.Dir(place); strings.Count(folder, "/") > 1 {
			places = append(places, folder)
		}
	}
	return places, nil
}

// files are those with which this process proves itself: that it reads, and that it writes.
// A wrapping token is emptied when it was used.
func (f *identityFlags) files() (read, write []string) {
	for _, file := range []string{f.caFile, f.certFile, f.keyFile, f.secretIDFile, f.jwtFile, f.tokenFile} {
		if file != "" {
			read = append(read, file)
		}
	}
	if f.method == "kubernetes" && f.jwtFile == "" {
		read = append(read, vaultpki.ServiceAccountFile)
	}
	if f.method == "approle" && f.wrappingToken == "" {
		write = append(write, f.wrappingFile)
	}
	if f.heirFile != "" {
		write = append(write, f.heirFile)
	}
	return read, write
}

// ports are those of Vault's nodes.
func (f *vaultFlags) ports() ([]uint16, error) {
	var found []uint16
	for address := range strings.SplitSeq(f.address, ",") {
		node, err := url.Parse(strings.TrimSpace(address))
		if err != nil {
			return nil, fmt.Errorf("reading the address of Vault: %w", err)
		}
		number := node.Port()
		if number == "" {
			number = map[string]string{"http": "80", "https": "443"}[node.Scheme]
		}
		at, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("reading the port of Vault %q: %w", number, err)
		}
		found = append(found, uint16(at))
	}
	return found, nil
}

// checkConfinement finds a kernel that cannot do what is required of it, before anything is
// used up.
func checkConfinement(cfg *config.Sidecar) error {
	if cfg.Confine.UnsafeOff || !cfg.Confine.Required {
		return nil
	}
	if err := confine.Check(); err != nil {
		return &hinted{err, hintConfine}
	}
	return nil
}

// confineGuard takes from this process whatever it does not keep, for good, and says what
// that is.
func confineGuard(keeps confine.Config, log *slog.Logger) error {
	state, err := confine.Apply(keeps)
	if err != nil {
		return &hinted{fmt.Errorf("confining the sidecar: %w", err), hintConfine}
	}
	log.Info("confined", "landlock", state.ABI, "keeps", keeps)
	if len(state.Missing) > 0 {
		log.Warn("confined less than wanted", "missing", state.Missing, "landlock", state.ABI)
	}
	return nil
}
