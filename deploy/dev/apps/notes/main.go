// Command notes is a sample backend: a small notice board with pages, a form, a
// chat over a WebSocket and a live list over an event stream.
//
// It is what any internal tool looks like to a gateway: plain HTTP on loopback.
// It takes the user's name from X-Forwarded-User, as Grafana, Jenkins and many
// others can, and trusts whoever reaches its port. Notes live in memory.
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
	"time"

	"github.com/sallyport/sallyport/deploy/dev/serve"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "notes:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("notes", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:8080", "address to listen on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	return serve.Until(ctx, ln, newServer(log, time.Now).handler(), log)
}
