package confine

import (
	"fmt"
	"os"
	"slices"

	"github.com/landlock-lsm/go-landlock/landlock"
	kernel "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

const (
	readFile = landlock.AccessFSSet(kernel.AccessFSReadFile)
	readTree = readFile | landlock.AccessFSSet(kernel.AccessFSReadDir)
	// No devices, sockets or pipes are made, and nothing is executed.
	writeFile = readFile | landlock.AccessFSSet(kernel.AccessFSWriteFile|kernel.AccessFSTruncate)
	writeTree = writeFile | readTree |
		landlock.AccessFSSet(kernel.AccessFSMakeReg|kernel.AccessFSMakeDir|kernel.AccessFSRemoveFile|kernel.AccessFSRemoveDir)
)

// Apply confines every thread of this process, for good. It is for once in a life: what is
// applied again only takes away more. With an error the process may be confined in part.
func Apply(cfg Config) (State, error) {
	cfg, err := cfg.normal()
	if err != nil {
		return State{}, err
	}
	state := found()
	if cfg.Required {
		if err := state.check(); err != nil {
			return state, err
		}
	}
	if err := kernel.AllThreadsPrctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return state, fmt.Errorf("setting no_new_privs: %w", err)
	}
	if state.ABI == 0 {
		return state, nil
	}
	if err := restriction(cfg).Restrict(rules(cfg)...); err != nil {
		return state, fmt.Errorf("restricting this process: %w", err)
	}
	return state, nil
}

// found is what the kernel can do. It has no Landlock if that is not built in or switched off,
// and seems to have none if a seccomp filter keeps it from us.
func found() State {
	abi, err := kernel.LandlockGetABIVersion()
	if err != nil {
		abi = 0
	}
	return State{ABI: abi, Missing: missing(abi)}
}

// restriction is what is forbidden unless a rule allows it.
func restriction(cfg Config) landlock.Config {
	all := landlock.V6
	if cfg.Signals {
		all.Scoped &^= kernel.ScopeSignal
	}
	return all.BestEffort() // what it leaves out is in State.Missing
}

// rules are what is allowed.
func rules(cfg Config) []landlock.Rule {
	allowed := slices.Concat(pathRules(cfg.Read, readTree, readFile), pathRules(cfg.Write, writeTree, writeFile))
	for _, port := range cfg.Bind {
		allowed = append(allowed, landlock.BindTCP(port))
	}
	for _, port := range cfg.Connect {
		allowed = append(allowed, landlock.ConnectTCP(port))
	}
	return allowed
}

// pathRules allow one thing in folders and another at files: the kernel refuses for a file
// what makes sense only of a folder. What is not there, or out of reach, is left out.
func pathRules(paths []string, folder, file landlock.AccessFSSet) (allowed []landlock.Rule) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		access := file
		if info.IsDir() {
			access = folder
		}
		allowed = append(allowed, landlock.PathAccess(access, path).IgnoreIfMissing()) // it may go just now
	}
	return allowed
}
