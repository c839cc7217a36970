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

	"github.com/sallyport/sallyport/deploy/dev/program"
	"github.com/sallyport/sallyport/deploy/dev/serve"
)

func main() { program.Main("headers", run) }

func run(ctx context.Context, args []string, _, stderr io.Writer) error {
	flags := flag.NewFlagSet("headers", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8080", "address to listen on")
	if err := program.Parse(flags, args, stderr); err != nil {
		return err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	return serve.Until(ctx, ln, handler(), log)
}
