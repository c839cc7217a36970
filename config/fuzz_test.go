package config

import (
	"errors"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// seed adds every file of a kind, good and bad, and its reference.
func seed(f *testing.F, k kind) {
	f.Helper()
	f.Add([]byte(k.reference))
	files, err := filepath.Glob(filepath.Join("testdata", k.name, "*.yaml"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no files to begin with: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
}

// FuzzLoadGateway shows that whatever the file, there is either a list of
// faults that is fit to print or a configuration that the gateway can rely on.
func FuzzLoadGateway(f *testing.F) {
	seed(f, kinds()[0])
	f.Fuzz(func(t *testing.T, text []byte) {
		gateway, err := LoadGateway("f", text)
		if err != nil {
			checkFaults(t, err)
			return
		}
		checkGateway(t, gateway)
	})
}

// FuzzLoadSidecar is FuzzLoadGateway for the sidecar.
func FuzzLoadSidecar(f *testing.F) {
	seed(f, kinds()[1])
	f.Fuzz(func(t *testing.T, text []byte) {
		sidecar, err := LoadSidecar("f", text)
		if err != nil {
			checkFaults(t, err)
			return
		}
		checkSidecar(t, sidecar)
	})
}

// FuzzLoadSecretDriver is FuzzLoadGateway for the secret driver.
func FuzzLoadSecretDriver(f *testing.F) {
	seed(f, kinds()[2])
	f.Fuzz(func(t *testing.T, text []byte) {
		driver, err := LoadSecretDriver("f", text)
		if err != nil {
			checkFaults(t, err)
			return
		}
		checkSecretDriver(t, driver)
	})
}

// FuzzLoadProvision is FuzzLoadGateway for what Vault must hold.
func FuzzLoadProvision(f *testing.F) {
	seed(f, kinds()[3])
	f.Fuzz(func(t *testing.T, text []byte) {
		provision, err := LoadProvision("f", text)
		if err != nil {
			checkFaults(t, err)
			return
		}
		checkProvision(t, provision)
	})
}

// checkFaults fails unless each fault is one printable line with a place in it.
func checkFaults(t *testing.T, err error) {
	t.Helper()
	var faults *Faults
	if !errors.As(err, &faults) || len(faults.List) == 0 || len(faults.List) > maxFaults+1 {
		t.Fatalf("error %v of type %T, want 1 to %d faults", err, err, maxFaults+1)
	}
	for _, fault := range faults.List {
		if fault.Line < 1 || fault.Value == "" || fault.Expected == "" || !isPrintable(fault.String()) || len(fault.String()) > 2048 {
			t.Errorf("fault %+q", fault)
		}
	}
}

// checkGateway states what the rest of the gateway relies on, in other words
// than the validation does.
func checkGateway(t *testing.T, g *Gateway) {
	t.Helper()
	names := map[string]bool{}
	for _, host := range g.Hosts() {
		door, err := url.Parse("https://" + host + "/")
		if err != nil || door.Host != host || host == "" || names[host] {
			t.Errorf("host %q cannot stand in a URL, or stands twice (%v)", host, err)
		}
		names[host] = true
	}
	places := map[string]bool{}
	for _, route := range g.Routes {
		checkRouting(t, route)
		if place := string(route.Host) + " " + route.Path; places[place] || string(route.Host) == string(g.Door.Host) {
			t.Errorf("route %s is where another is: %s", route.Name, place)
		} else {
			places[place] = true
		}
		own := route.Redirect.On() || route.Respond.On()
		first := route.Backend.Upstreams()[0]
		backed := first.Scheme == "https" && first.Port != 0 && route.Backend.Name != ""
		if backed == own || route.Title == "" || route.Path == "" || route.Path[0] != '/' {
			t.Errorf("route %+v", route)
		}
		for _, name := range append(route.Allow.Groups, route.Allow.Users...) {
			if name == "" || strings.ContainsAny(name, ",\r\n\x00") {
				t.Errorf("route %s allows %q", route.Name, name)
			}
		}
	}
	if g.SAML.EntityID == "" || len(g.SAML.Attributes.User) == 0 || g.SAML.ClockSkew.Duration > 5*time.Minute {
		t.Errorf("saml %+v", g.SAML)
	}
	if g.Session.Idle.Duration <= 0 || g.Session.Idle.Duration > g.Session.Absolute.Duration {
		t.Errorf("session %+v", g.Session)
	}
	checkPKI(t, g.Vault.EdgePKI)
	checkPKI(t, g.Vault.BackendPKI)
}

// checkRouting states what must hold of paths, which are compared byte by byte.
func checkRouting(t *testing.T, route Route) {
	t.Helper()
	names := map[string]bool{}
	paths := []string{route.Path}
	for _, rule := range route.Rules {
		if names[rule.Name] || rule.Name == "" || len(rule.Methods)+len(rule.Paths)+len(rule.Exact) == 0 {
			t.Errorf("route %s: rule %+v", route.Name, rule)
		}
		names[rule.Name] = true
		paths = append(append(paths, rule.Paths...), rule.Exact...)
	}
	for _, at := range paths {
		cleaned := path.Clean(at)
		if at != cleaned && at != cleaned+"/" || !under(at, route.Path) || under(at, "/.sallyport") || strings.ContainsAny(at, "%;\\?#") {
			t.Errorf("route %s has the path %q under %q", route.Name, at, route.Path)
		}
	}
}

func checkSidecar(t *testing.T, s *Sidecar) {
	t.Helper()
	if s.Name == "" || len(s.Gateways) == 0 || s.App == (App{}) || s.App.Path == "" && !isLoopback(s.App.Host) || s.TCP() && s.App.Scheme == "http" {
		t.Errorf("sidecar %+v", s)
	}
	checkPKI(t, s.PKI)
}

// checkProvision states what must hold of a name that goes into a policy, where
// a wildcard would allow more than was written.
func checkProvision(t *testing.T, p *Provision) {
	t.Helper()
	names := slices.Concat(p.Gateway.Hosts, p.Gateway.SPIFFEIDs, p.SecretDriver.KVPaths, []string{
		p.KV.Mount, p.KV.SAMLPath, p.KV.ACMEPath, p.EdgePKI.Mount, p.BackendPKI.RootMount, p.AppRole.Mount, p.Gateway.Role, p.Transit.Key,
	})
	accesses := []Access{p.AppRole.Access, p.Gateway.Access, p.SecretDriver.Access}
	for _, s := range p.Sidecars {
		names, accesses = append(names, string(s.Name), s.Role, s.PKIRole, s.ConfigPath), append(accesses, s.Access)
	}
	for _, name := range names {
		if strings.ContainsAny(name, "*+\"{}\\ ") {
			t.Errorf("name %q is a pattern or ends a path", name)
		}
	}
	for _, a := range accesses {
		if a.TokenTTL.Duration < time.Minute || a.SecretIDTTL.Duration < time.Minute || a.TokenMaxTTL.Duration < 0 {
			t.Errorf("access %+v", a)
		}
	}
}

// checkSecretDriver states that nothing is for every service.
func checkSecretDriver(t *testing.T, s *SecretDriver) {
	t.Helper()
	for _, role := range s.Roles {
		if role.Role == "" || len(role.Services)+len(role.Stacks) == 0 || role.WrapTTL.Duration < time.Second || role.WrapTTL.Duration > time.Hour {
			t.Errorf("role %+v", role)
		}
		for _, pattern := range role.Services {
			if matched, err := path.Match(pattern, "\x00"); matched || err != nil {
				t.Errorf("pattern %q fits any character (%v)", pattern, err)
			}
		}
	}
	for _, secret := range s.Secrets {
		if len(secret.Services)+len(secret.Stacks) == 0 || (len(secret.Fields) == 0 && !secret.Wrapped) || strings.Contains("/"+secret.Path, "/.") {
			t.Errorf("secret %+v", secret)
		}
	}
}

func checkPKI(t *testing.T, pki PKI) {
	t.Helper()
	path := "/v1/" + pki.Mount + "/sign/" + pki.Role
	joined, err := url.JoinPath("https://vault", path)
	if err != nil || joined != "https://vault"+path || pki.TTL.Duration < 5*time.Minute {
		t.Errorf("pki %+v: its path becomes %s (%v)", pki, joined, err)
	}
}
