// Command sallyport is the front door for a company's internal tools: SAML
// sign-on in front, mutual TLS behind, and Vault underneath.
//
// It is one binary with a subcommand for each part that somebody runs: the
// gateway, the sidecar beside each tool, and what a deployer needs. This package
// is the only place that knows both the configuration and the domain; wire.go
// translates between them.
//
// It holds no rule of the domain: what is a good response, session, certificate
// or configuration is judged by the packages that own it. Its own are the order
// of a start (what this host can refuse comes before the introduction is used,
// and nothing listens before everything is there), the two phases of a stop, and
// what a person and an orchestrator are told: an explanation with a hint on
// standard error, and an exit code of docs/exit-codes.md.
//
// Inputs are the command line, the environment variables that the help of each
// flag names and no others, configuration files, and what a process logs in with:
// the wrapping token's file, which is hostile until Vault has said where it comes
// from, the heir's, a JWT's, an agent's token's, and certificates. Besides, the
// identity provider's metadata from a file or a URL, and what the Docker socket
// answers. A secret is never an argument: command lines are visible to everybody
// on a machine. Outputs are
// the log (JSON, standard error), the access log (JSON, standard output or a
// file) and, for the commands that are run by hand, plain text. What is
// written for people holds no secret; `introduce` without --file prints one,
// because it is asked to.
package main

import (
	"context"
	"io"
	"log"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/sallyport/sallyport/proxy/sidecar/launch"
)

// stdio is how a command talks to whoever started it.
type stdio struct {
	In       io.Reader
	Out, Err io.Writer
	// Env looks up one environment variable, as os.LookupEnv does.
	Env func(name string) (string, bool)
}

// main is the only place that ends the process, so that whatever is deferred
// elsewhere runs.
func main() {
	harden() // before there is anything in memory to protect
	if launch.Helper(os.Args) {
		os.Exit(help(os.Stderr))
	}
	silence()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	profiled := profile(os.LookupEnv)
	code := run(ctx, os.Args[1:], stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.LookupEnv})
	profiled()
	os.Exit(code)
}

// help is the life of a process that starts programs for a confined one, and its exit code.
func help(errors io.Writer) int {
	runtime.LockOSThread() // to the first thread, whose name and whose death others see
	ctx, end := context.WithCancel(context.Background())
	defer end()
	go giveBackWhileIdle(ctx)
	if err := launch.Help(); err != nil {
		explain(errors, "sallyport", err)
		return exitFailure
	}
	return exitOK
}

// silence has nothing come out of log's own logger: net/http writes there, of a backend
// that sends more than it was asked for, what that was, and it may be another person's.
// Our own log is slog's, and is injected.
func silence() { log.SetOutput(io.Discard) } //nolint:forbidigo // this is why
