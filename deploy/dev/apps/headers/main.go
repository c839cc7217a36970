// Command headers is a sample backend that shows what it receives: every header
// of the request, as a page and at /json for programs.
//
// It is what any internal tool looks like to a gateway: plain HTTP on loopback, no
// notion of who stands in front of it. It shows names and values as they came, so
// what a client smuggles past the gateway would be seen here.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/sallyport/sallyport/deploy/dev/serve"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "headers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("headers", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:8080", "address to listen on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	return serve.Until(ctx, ln, handler(), slog.New(slog.NewTextHandler(stderr, nil)))
}
