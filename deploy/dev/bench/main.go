package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/deploy/dev/program"
)

func main() {
	runtime.LockOSThread() // the children's death signal is tied to this thread
	program.Main("bench", run)
}

// run is the bench, or one of its parts.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	switch {
	case len(args) == 2 && args[0] == "backend":
		return backend(ctx, args[1])
	case len(args) == 4 && args[0] == "floor":
		port, err := strconv.Atoi(args[3])
		if err != nil {
			return fmt.Errorf("reading a port: %w", err)
		}
		return floor(ctx, args[2], args[1], port)
	case len(args) > 0 && args[0] == "load":
		return runLoad(ctx, args[1:], os.Stdin, stdout, stderr)
	}
	return measure(ctx, args, stdout, stderr)
}

// options are the flags.
type options struct {
	rounds, seconds        int
	places, peers, figures []string
	profile                string
	hold                   bool
}

func parse(args []string, stderr io.Writer) (options, error) {
	o := options{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 5, "how often everything is measured")
	flags.IntVar(&o.seconds, "seconds", 2, "how long each load takes")
	places := flags.String("places", "door,sidecar", "where is measured")
	peers := flags.String("peers", "nginx,haproxy,floor,gateway,sidecar", "who is measured")
	named := flags.String("figures", "", "what is measured; all if empty")
	flags.StringVar(&o.profile, "profile", "", "folder for processor profiles, gateway.pprof and sidecar.pprof, of a build with the tag \"profile\"")
	flags.BoolVar(&o.hold, "hold", false, "start everything, print how to load it, and wait")
	if err := program.Parse(flags, args, stderr); err != nil {
		return o, err
	}
	o.places, o.peers = strings.Split(*places, ","), strings.Split(*peers, ",")
	if *named != "" {
		o.figures = strings.Split(*named, ",")
	}
	return o, nil
}

// measure starts everything, measures, prints the table, and stops everything.
func measure(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding the bench: %w", err)
	}
	dir, err := os.MkdirTemp("", "sallyport-bench-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the system's folder for such things
	s, err := newStand(ctx, dir, filepath.Dir(self))
	if err != nil {
		return err
	}
	defer s.close()
	s.profile = o.profile
	if err := s.startBackend(ctx); err != nil {
		return err
	}
	for _, at := range placesOf(o.places) {
		if err := s.measure(ctx, at, o, stdout, stderr); err != nil {
			return err
		}
	}
	return nil
}

// measure starts the peers of one place, measures them, and prints their table.
func (s *stand) measure(ctx context.Context, at place, o options, stdout, stderr io.Writer) error {
	var peers []*peer
	var names []string
	for i, name := range at.peers {
		if !slices.Contains(o.peers, name) {
			continue
		}
		p, err := s.startPeer(ctx, at, i, name)
		if err != nil {
			return err
		}
		defer p.child.Stop(stopWithin) //nolint:errcheck // was measured, and is of no more use
		peers, names = append(peers, p), append(names, name)
	}
	if len(peers) == 0 {
		return nil
	}
	if o.hold {
		for _, p := range peers {
			_, _ = fmt.Fprintf(stdout, "%s: process %d, %s\n", p.name, p.child.PID(), p.byHand())
		}
		<-ctx.Done()
		return nil
	}
	measured, err := rounds(ctx, at, o, peers, stderr)
	_, printing := io.WriteString(stdout, table(at, names, measured))
	return errors.Join(err, printing)
}

// rounds measures every figure of every peer, again and again.
func rounds(ctx context.Context, at place, o options, peers []*peer, progress io.Writer) (map[string]series, error) {
	measured := make(map[string]series)
	var errs []error
	for round := range o.rounds {
		for _, f := range at.figures {
			if o.figures != nil && !slices.Contains(o.figures, f.name) || f.once && round > 0 {
				continue
			}
			for _, p := range peers {
				if f.only != "" && f.only != p.name {
					continue
				}
				value, err := f.measure(ctx, p, o.seconds)
				if ctx.Err() != nil {
					return measured, context.Cause(ctx)
				}
				if err != nil {
					errs = append(errs, err)
					continue
				}
				if measured[f.name] == nil {
					measured[f.name] = make(series)
				}
				measured[f.name][p.name] = append(measured[f.name][p.name], value)
			}
		}
		_, _ = fmt.Fprintf(progress, "bench: %s: round %d of %d\n", at.name, round+1, o.rounds)
	}
	return measured, errors.Join(errs...)
}
