package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The demo's names. The identity provider is on another site than the tools, as
// it is in a company, so that the browser's cookie rules are the real ones.
const (
	doorHost = "door.sallyport.localhost"
	idpHost  = "idp.corp.localhost"
)

// settings is what the environment decides.
type settings struct {
	Bin         string // folder with the programs, where this one is
	State       string // absolute
	Port        int    // the first port
	IdPMetadata string // absolute; "" for the built-in identity provider
	VaultWay    string // address by which the product reaches Vault; "" for Vault's own
}

// tool is one sample backend with its sidecar and its route.
type tool struct {
	Name, Title, Description string
	Groups                   []string // who may open it
	Sidecar, Admin, App      int      // ports
}

// portCount is how many ports follow each other from settings.Port on.
const portCount = 11

func readSettings(getenv func(string) string) (settings, error) {
	program, err := os.Executable()
	if err != nil {
		return settings{}, fmt.Errorf("finding the demo's programs: %w", err)
	}
	bin := filepath.Dir(program)
	set := settings{Bin: bin, State: filepath.Join(filepath.Dir(bin), ".demo"), Port: 8443}
	if text := getenv("DEMO_PORT"); text != "" {
		set.Port, err = strconv.Atoi(text)
		if err != nil || set.Port < 1 || set.Port > 65536-portCount {
			return settings{}, fmt.Errorf("reading DEMO_PORT: %q is not a number from 1 to %d", text, 65536-portCount)
		}
	}
	if path := getenv("DEMO_STATE"); path != "" {
		if set.State, err = filepath.Abs(path); err != nil {
			return settings{}, fmt.Errorf("reading DEMO_STATE: %w", err)
		}
	}
	if path := getenv("DEMO_IDP_METADATA"); path != "" {
		if set.IdPMetadata, err = filepath.Abs(path); err != nil {
			return settings{}, fmt.Errorf("reading DEMO_IDP_METADATA: %w", err)
		}
		if _, err := os.Stat(set.IdPMetadata); err != nil {
			return settings{}, fmt.Errorf("reading DEMO_IDP_METADATA: %w", err)
		}
	}
	set.VaultWay = getenv("DEMO_VAULT_ADDR")
	if set.VaultWay != "" && !strings.HasPrefix(set.VaultWay, "https://127.0.0.1:") {
		return settings{}, fmt.Errorf("reading DEMO_VAULT_ADDR: %q does not begin with https://127.0.0.1:, for which Vault's certificate is", set.VaultWay)
	}
	return set, nil
}

func (s settings) idpPort() int   { return s.Port + 1 }
func (s settings) vaultPort() int { return s.Port + 2 }
func (s settings) adminPort() int { return s.Port + 3 }

// clusterPort is where the nodes of a Vault cluster talk; the storage demands one.
func (s settings) clusterPort() int { return s.Port + 10 }

func (s settings) tools() []tool {
	return []tool{
		{
			Name: "headers", Title: "Request headers", Description: "Shows what a backend receives",
			Groups:  []string{"engineers", "support"},
			Sidecar: s.Port + 4, Admin: s.Port + 5, App: s.Port + 6,
		},
		{
			Name: "notes", Title: "Notes", Description: "A notice board with a chat",
			Groups:  []string{"engineers"},
			Sidecar: s.Port + 7, Admin: s.Port + 8, App: s.Port + 9,
		},
	}
}

// browserURL returns https://HOST:PORT with the port that browsers use.
func browserURL(host string, port int) string {
	if port == 443 {
		return "https://" + host
	}
	return "https://" + host + ":" + strconv.Itoa(port)
}

func (s settings) doorURL() string       { return browserURL(doorHost, s.Port) }
func (s settings) idpURL() string        { return browserURL(idpHost, s.idpPort()) }
func (s settings) toolURL(t tool) string { return browserURL(t.host(), s.Port) }
func (s settings) vaultAddress() string  { return "https://" + loopback(s.vaultPort()) }

func (t tool) host() string    { return t.Name + ".sallyport.localhost" }
func (t tool) backend() string { return t.Name + ".backend.sallyport.internal" }

func loopback(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// in returns a path in the state folder.
func (s settings) in(elements ...string) string {
	return filepath.Join(append([]string{s.State}, elements...)...)
}

func (s settings) caFile() string      { return s.in("ca.pem") }
func (s settings) vaultCAFile() string { return s.in("vault", "ca.pem") }
func (s settings) raftDir() string     { return s.in("vault", "raft") }
func (s settings) storageFile() string { return s.in("vault", "storage.json") }
func (s settings) tokenFile() string   { return s.in("vault", "root-token") }

// program returns the path of one of the demo's programs.
func (s settings) program(name string) string { return filepath.Join(s.Bin, name) }
