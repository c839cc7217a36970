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

var figures = []figure{
	{name: "h1", title: "1 KiB, HTTP/1.1", unit: "µs a request", measure: wrk("/1k", 64, 1)},
	{name: "h2", title: "1 KiB, HTTP/2, 64 × 1", unit: "µs a request", measure: h2load(64, 1)},
	{name: "h2m", title: "1 KiB, HTTP/2, 8 × 8", unit: "µs a request", measure: h2load(8, 8)},
	{name: "100k", title: "100 KiB", unit: "µs a MB", measure: wrk("/100k", 16, 100<<10)},
	{name: "10m", title: "10 MiB", unit: "µs a MB", measure: wrk("/10m", 4, 10<<20)},
	{name: "new", title: "new connection, full", unit: "µs a connection", measure: connections(false)},
	{name: "resumed", title: "new connection, resumed", unit: "µs a connection", measure: connections(true)},
	{name: "p50", title: "median at 500 a second", unit: "µs", measure: latency},
	{name: "idle", title: "idle connection", unit: "bytes", measure: idle, once: true},
	{name: "signon", title: "whole sign-on", unit: "µs", measure: signOn, only: "gateway"},
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
			out, err := p.loading(ctx, "wrk", "-t1", "-c"+strconv.Itoa(connections), "-d"+strconv.Itoa(seconds)+"s", "--timeout", "10s",
				"-H", "Cookie: "+p.cookie, p.url+path)
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
			if size > 1 {
				n = n * float64(size) / 1e6
			}
			return n, err
		})
	}
}

// h2load asks for 1 KiB with so many streams on each connection.
func h2load(connections, streams int) func(context.Context, *peer, int) (float64, error) {
	return func(ctx context.Context, p *peer, seconds int) (float64, error) {
		return spent(p, func() (float64, error) {
			out, err := p.loading(ctx, "h2load", "-t1", "-c"+strconv.Itoa(connections), "-m"+strconv.Itoa(streams), "-D", strconv.Itoa(seconds),
				"-H", "Cookie: "+p.cookie, p.url+"/1k")
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

// ownLoad runs a load of this program and returns the numbers that it prints.
func ownLoad(ctx context.Context, p *peer, seconds int, kind string, more ...string) ([]float64, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding the bench: %w", err)
	}
	args := append([]string{"load", kind, "-url", p.url + "/1k", "-cookie", p.cookie, "-seconds", strconv.Itoa(seconds)}, more...)
	out, err := p.loading(ctx, program, args...)
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
			n, err := ownLoad(ctx, p, seconds, "connections", "-n", "16", "-resume="+strconv.FormatBool(resumed))
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
	n, err := ownLoad(ctx, p, seconds, "rate", "-n", "64", "-rate", "500")
	if err != nil {
		return 0, err
	}
	if len(n) != 4 || n[3] > 0 {
		return 0, fmt.Errorf("loading %s: %v answered, p50, p99, failed", p.name, n)
	}
	return n[1], nil
}

// idleConnections is how many are held.
const idleConnections = 3000

// idle is what a connection costs that was used once and stays.
func idle(ctx context.Context, p *peer, _ int) (float64, error) {
	if _, err := wrk("/1k", 1, 1)(ctx, p, 1); err != nil {
		return 0, err
	}
	<-time.After(time.Second)
	before := memory(p.child.PID())
	release, err := p.holding(ctx, idleConnections)
	if err != nil {
		return 0, err
	}
	defer release()
	<-time.After(time.Second)
	return float64(memory(p.child.PID())-before) / idleConnections, nil
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
