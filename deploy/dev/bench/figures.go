package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// figure is one thing that is measured of each peer.
type figure struct {
	name, title, unit string
	// measure returns one value, less being better; seconds is for how long to load.
	measure func(ctx context.Context, p *peer, seconds int) (float64, error)
	only    string // a peer's name, or "" for all
	once    bool   // in the first round only
}

// spent runs load and returns the processor time of the peer for each of the units
// that load says were done, in microseconds.
func spent(p *peer, load func() (units float64, err error)) (float64, error) {
	before := processorTime(p.child.PID())
	units, err := load()
	if err != nil {
		return 0, err
	}
	if units <= 0 {
		return 0, fmt.Errorf("loading %s: nothing was done", p.name)
	}
	return float64((processorTime(p.child.PID()) - before).Microseconds()) / units, nil
}

var (
	wrkDone    = regexp.MustCompile(`(\d+) requests in`)
	wrkBad     = regexp.MustCompile(`Non-2xx[^\n]*|Socket errors: connect [1-9][^\n]*|Socket errors: connect 0, read [1-9][^\n]*`)
	h2loadDone = regexp.MustCompile(`requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored`)
)

// wrk asks for path over connections that are kept. size is the bytes of a body if
// the cost is told for each megabyte.
func wrk(path string, connections, size int) func(context.Context, *peer, int) (float64, error) {
	return func(ctx context.Context, p *peer, seconds int) (float64, error) {
		return spent(p, func() (float64, error) {
			args := []string{"-t1", "-c" + strconv.Itoa(connections), "-d" + strconv.Itoa(seconds) + "s", "--timeout", "10s"}
			out, err := p.loading(ctx, "wrk", append(p.saying(args, "-H"), p.url+path)...)
			if err != nil {
				return 0, err
			}
			if bad := wrkBad.FindString(out); bad != "" {
				return 0, fmt.Errorf("loading %s: %s", p.name, bad)
			}
			done := wrkDone.FindStringSubmatch(out)
			if done == nil {
				return 0, fmt.Errorf("loading %s: wrk prints\n%s", p.name, out)
			}
			n, err := strconv.ParseFloat(done[1], 64)
			return unitsOf(n, size), err
		})
	}
}

// unitsOf are what n requests count for, of size bytes each: themselves, or megabytes.
func unitsOf(n float64, size int) float64 {
	if size > 1 {
		return n * float64(size) / 1e6
	}
	return n
}

// requests is wrk with a client certificate, which that cannot show.
func requests(path string, connections, size int) func(context.Context, *peer, int) (float64, error) {
	return func(ctx context.Context, p *peer, seconds int) (float64, error) {
		return spent(p, func() (float64, error) {
			n, err := ownLoad(ctx, p, path, seconds, "requests", "-n", strconv.Itoa(connections))
			if err != nil {
				return 0, err
			}
			if len(n) != 2 || n[1] > 0 {
				return 0, fmt.Errorf("loading %s: %v answered, failed", p.name, n)
			}
			return unitsOf(n[0], size), nil
		})
	}
}

// h2load asks for 1 KiB with so many streams on each connection.
func h2load(connections, streams int) func(context.Context, *peer, int) (float64, error) {
	return func(ctx context.Context, p *peer, seconds int) (float64, error) {
		return spent(p, func() (float64, error) {
			args := []string{"-t1", "-c" + strconv.Itoa(connections), "-m" + strconv.Itoa(streams), "-D", strconv.Itoa(seconds)}
			out, err := p.loading(ctx, "h2load", append(p.saying(args, "-H"), p.url+"/1k")...)
			if err != nil {
				return 0, err
			}
			done := h2loadDone.FindStringSubmatch(out)
			if done == nil || done[2] != "0" {
				return 0, fmt.Errorf("loading %s: h2load prints\n%s", p.name, out)
			}
			return strconv.ParseFloat(done[1], 64)
		})
	}
}

// ownLoad runs a load of this program, its kind and its flags, and returns the numbers that
// it prints.
func ownLoad(ctx context.Context, p *peer, path string, seconds int, load ...string) ([]float64, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the bench: %w", err)
	}
	out, err := p.loading(ctx, program, p.own(path, seconds, load...)...)
	if err != nil {
		return nil, err
	}
	words := strings.Fields(out)
	numbers := make([]float64, len(words))
	for i, word := range words {
		if numbers[i], err = strconv.ParseFloat(word, 64); err != nil {
			return nil, fmt.Errorf("loading %s: %w", p.name, err)
		}
	}
	return numbers, nil
}

// connections makes a new connection for each request.
func connections(resumed bool) func(context.Context, *peer, int) (float64, error) {
	return func(ctx context.Context, p *peer, seconds int) (float64, error) {
		return spent(p, func() (float64, error) {
			n, err := ownLoad(ctx, p, "/1k", seconds, "connections", "-n", "16", "-resume="+strconv.FormatBool(resumed))
			switch {
			case err != nil:
				return 0, err
			case len(n) != 3 || n[2] > 0:
				return 0, fmt.Errorf("connecting to %s: %v done, resumed, failed", p.name, n)
			case resumed && n[1] < n[0]*0.9:
				return 0, fmt.Errorf("connecting to %s: %v of %v sessions were resumed", p.name, n[1], n[0])
			}
			return n[0], nil
		})
	}
}

// latency is the median under a load that leaves the proxy idle most of the time.
func latency(ctx context.Context, p *peer, seconds int) (float64, error) {
	n, err := ownLoad(ctx, p, "/1k", seconds, "rate", "-n", "64", "-rate", "500")
	if err != nil {
		return 0, err
	}
	if len(n) != 4 || n[3] > 0 {
		return 0, fmt.Errorf("loading %s: %v answered, p50, p99, failed", p.name, n)
	}
	return n[1], nil
}

// idle is what a connection costs that was used once and stays, of n that are held.
func idle(n int) func(context.Context, *peer, int) (float64, error) {
	return func(ctx context.Context, p *peer, _ int) (float64, error) {
		if _, err := ownLoad(ctx, p, "/1k", 1, "requests", "-n", "1"); err != nil {
			return 0, err
		}
		<-time.After(time.Second)
		before := memory(p.child.PID())
		release, err := p.holding(ctx, n)
		if err != nil {
			return 0, err
		}
		defer release()
		<-time.After(time.Second)
		return float64(memory(p.child.PID())-before) / float64(n), nil
	}
}

// signOns is how many are made for one value.
const signOns = 10

// signOn is a whole one, from the first redirect to the tool's page.
func signOn(ctx context.Context, p *peer, _ int) (float64, error) {
	return spent(p, func() (float64, error) {
		for range signOns {
			if _, err := p.s.signIn(ctx, p.url+"/1k"); err != nil {
				return 0, errors.Join(errors.New("signing in under load"), err)
			}
		}
		return signOns, nil
	})
}
