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
	"time"

	"github.com/sallyport/sallyport/deploy/dev/program"
	"github.com/sallyport/sallyport/deploy/dev/serve"
)

func main() { program.Main("notes", run) }

func run(ctx context.Context, args []string, _, stderr io.Writer) error {
	flags := flag.NewFlagSet("notes", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8080", "address to listen on")
	if err := program.Parse(flags, args, stderr); err != nil {
		return err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	return serve.Until(ctx, ln, newServer(log, time.Now).handler(), log)
}
