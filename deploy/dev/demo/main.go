// Command demo runs the whole of Sallyport on one machine, as separate processes
// on loopback: a real Vault, provisioned from nothing; a SAML identity provider;
// two sample backends, each behind its own sidecar; and the gateway. It prints an
// address and two users to sign in with, and stops everything on Ctrl-C or TERM.
//
// Environment:
//
//	DEMO_PORT          first of the ports that are used (default 8443)
//	DEMO_STATE         folder for keys, logs and Vault's storage (default .demo);
//	                   Vault and what it issues are kept from run to run
//	DEMO_IDP_METADATA  file with the metadata of an identity provider to use in
//	                   place of the built-in one
//
// It does by hand what a deployment does with an orchestrator: introduce each
// process to Vault with a wrapped, single-use SecretID. What is fixed here (one
// unseal key and a root token, both in files) is for a demo only.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	runtime.LockOSThread()                                 // the children's death signal is tied to this thread
	err := run(context.Background(), os.Stdout, os.Getenv) //nolint:forbidigo // main makes the root
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1) //nolint:forbidigo // main ends the process
	}
}

// errAsked is the cause of a stop by signal.
var errAsked = errors.New("asked to stop")

// run starts the stack, waits for a reason to stop, and stops it. A stop that was
// asked for is no error.
func run(ctx context.Context, out io.Writer, getenv func(string) string) error {
	set, err := readSettings(getenv)
	if err != nil {
		return err
	}
	if err := checkPorts(ctx, set.portUses()); err != nil {
		return err
	}
	release, err := prepareState(set.State)
	if err != nil {
		return err
	}
	defer release()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := newStack(set, out, cancel)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(signals)
	go s.obey(signals, cancel)

	err = s.bringUp(ctx)
	if asError(err) != nil && s.vault.again {
		err = fmt.Errorf("%w\nif what an earlier run left is in the way, begin anew: rm -r %s", err, set.State)
	}
	for err == nil {
		err = s.wait(ctx)
	}
	return errors.Join(asError(err), s.stopAll())
}

// asError drops the error of a stop that was asked for.
func asError(err error) error {
	if errors.Is(err, errAsked) {
		return nil
	}
	return err
}

// obey turns signals into what they ask for: the first of INT, TERM and HUP stops
// in order, the second kills at once; USR1 restarts Vault.
func (s *stack) obey(signals <-chan os.Signal, cancel context.CancelCauseFunc) {
	asked := false
	for sig := range signals {
		switch {
		case sig == syscall.SIGUSR1:
			s.askRestart()
		case !asked:
			asked = true
			s.say.line("\nstopping (once more to kill at once)")
			cancel(errAsked)
		default:
			s.killAll()
		}
	}
}

// wait blocks until something has to be done, and returns nil if the stack goes on.
func (s *stack) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.restart:
		return s.restartVault(ctx)
	}
}
