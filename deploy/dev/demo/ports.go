package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// portUse is one port and what it is for.
type portUse struct {
	port    int
	purpose string
}

func (s settings) portUses() []portUse {
	uses := []portUse{{s.Port, "the gateway"}}
	if s.IdPMetadata == "" {
		uses = append(uses, portUse{s.idpPort(), "the identity provider"})
	}
	uses = append(uses, portUse{s.vaultPort(), "Vault"}, portUse{s.clusterPort(), "Vault's cluster"},
		portUse{s.adminPort(), "the gateway's probes and metrics"})
	for _, t := range s.tools() {
		uses = append(uses,
			portUse{t.Sidecar, "the sidecar of " + t.Name},
			portUse{t.Admin, "the probes of that sidecar"},
			portUse{t.App, "the backend " + t.Name})
	}
	return uses
}

// checkPorts tries each port, so that a taken one is told of before anything is
// started, with all the others that are taken too.
func checkPorts(ctx context.Context, uses []portUse) error {
	var errs []error
	for _, use := range uses {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", loopback(use.port))
		switch {
		case err == nil:
			ln.Close()
		case errors.Is(err, syscall.EADDRINUSE):
			errs = append(errs, fmt.Errorf("port %d, for %s, is taken%s", use.port, use.purpose, holder(use.port)))
		default:
			errs = append(errs, fmt.Errorf("port %d, for %s, cannot be used: %w", use.port, use.purpose, err))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	errs = append(errs, fmt.Errorf("set DEMO_PORT=N to use the ports N to N+%d instead", portCount-1))
	return errors.Join(errs...)
}

// holder says which process listens on the port, as " by NAME (process PID)", if
// /proc tells: on Linux, for processes that we may look into.
func holder(port int) string {
	inodes := listeningInodes(port)
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !inodes[target] {
			continue
		}
		process := filepath.Dir(filepath.Dir(link))
		name, err := os.ReadFile(filepath.Join(process, "comm"))
		if err != nil {
			continue
		}
		return fmt.Sprintf(" by %s (process %s)", strings.TrimSpace(string(name)), filepath.Base(process))
	}
	return ""
}

// listeningInodes returns the sockets that listen on the port, named as the links
// in /proc/PID/fd name them.
func listeningInodes(port int) map[string]bool {
	const stateListen = "0A"
	inodes := make(map[string]bool)
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(line)
			if len(fields) > 9 && fields[3] == stateListen && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
				inodes["socket:["+fields[9]+"]"] = true
			}
		}
	}
	return inodes
}
