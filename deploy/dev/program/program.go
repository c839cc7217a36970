// Package program is the main function that the demo's small programs share:
// signals in, exit code out.
//
// The orchestrator has a main of its own, because it treats signals otherwise.
package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Run is a program: it returns nil when its work is done or ctx has ended.
type Run func(ctx context.Context, args []string, stdout, stderr io.Writer) error

// Main runs the program called name until it ends or SIGINT or SIGTERM asks it to,
// and does not return: exit code 0 after a clean end, 2 after flags that are
// wrong, 1 after any other error, which it prints.
func Main(name string, run Run) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM) //nolint:forbidigo // this is main
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(exitCode(name, err, os.Stderr)) //nolint:forbidigo // this is main
}

// exitCode says what err means. The flag package has printed its errors already.
func exitCode(name string, err error, stderr io.Writer) int {
	var usage UsageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &usage):
		return 2
	}
	_, _ = fmt.Fprintf(stderr, "%s: %v\n", name, err)
	return 1
}

// UsageError marks an error that the flag package has printed.
type UsageError struct{ Err error }

// Error implements error.
func (e UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the flag package's error.
func (e UsageError) Unwrap() error { return e.Err }

// Parse parses args and marks what is wrong with them.
func Parse(flags *flag.FlagSet, args []string, stderr io.Writer) error {
	flags.SetOutput(stderr)
	if err := flags.Parse(args); err != nil {
		return UsageError{err}
	}
	return nil
}
