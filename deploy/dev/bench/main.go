package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/sallyport/sallyport/deploy/dev/program"
)

const (
	portBackend = 19400
	portGateway = 19450
	portAdmin   = 19451
)

func main() { program.Main("bench", run) }

func run(ctx context.Context, args []string, stdout, _ io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir := args[0]
	s, err := newStand(ctx, dir, filepath.Dir(self))
	if err != nil {
		return err
	}
	defer s.close()
	child, err := s.startGateway(ctx, "0")
	if err != nil {
		return err
	}
	defer child.Stop(10e9)
	fmt.Fprintf(stdout, "certificates are there; start the backend and say so\n")
	var line string
	fmt.Fscanln(os.Stdin, &line)
	cookie, err := s.signIn(ctx, fmt.Sprintf("https://%s:%d/1k", toolHost, portGateway))
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "GW_URL=https://%s:%d\nGW_PID=%d\nGW_COOKIE='%s'\n", toolHost, portGateway, child.PID(), cookie)
	<-ctx.Done()
	return nil
}
