// Command sallyport is the front door for a company's internal tools: SAML
// sign-on in front, mutual TLS behind, and Vault underneath.
//
// It is one binary with a subcommand for each part that somebody runs: the
// gateway, the sidecar beside each tool, and what a deployer needs. This package
// is the only place that knows both the configuration and the domain; wire.go
// translates between them.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// stdio is how a command talks to whoever started it.
type stdio struct {
	Out, Err io.Writer
	// Env looks up one environment variable, as os.LookupEnv does.
	Env func(name string) (string, bool)
}

func main() {
	harden()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], stdio{Out: os.Stdout, Err: os.Stderr, Env: os.LookupEnv})
	os.Exit(code)
}
