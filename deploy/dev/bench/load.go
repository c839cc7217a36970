package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/deploy/dev/program"
)

// load makes what wrk and h2load cannot: new connections, a fixed rate, and
// connections that stay. What it prints, one line of numbers, is read by figures.go.
type load struct {
	target  *url.URL
	request []byte
	tls     *tls.Config
}

// runLoad is the subcommand: load requests|connections|rate|idle -url U [-header H]… [-certificate C] [-seconds S] …
func runLoad(ctx context.Context, args []string, in io.Reader, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return errors.New("load of which kind?")
	}
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	address := flags.String("url", "", "address to ask")
	var headers []string
	flags.Func("header", "\"Name: value\", as often as wanted", func(line string) error { headers = append(headers, line); return nil })
	certificate := flags.String("certificate", "", "file with a certificate and its key to show")
	seconds := flags.Float64("seconds", 2, "for how long")
	resume := flags.Bool("resume", false, "resume the TLS sessions of earlier connections")
	number := flags.Int("n", 16, "connections")
	rate := flags.Float64("rate", 500, "requests a second")
	if err := program.Parse(flags, args[1:], stderr); err != nil {
		return err
	}
	u, err := url.Parse(*address)
	if err != nil {
		return fmt.Errorf("reading -url: %w", err)
	}
	l := &load{target: u, request: rawRequest(u, headers), tls: &tls.Config{
		InsecureSkipVerify: true, ServerName: u.Hostname(), NextProtos: []string{"http/1.1"}, //nolint:gosec // whose time is measured, not whose name
		CurvePreferences: []tls.CurveID{tls.X25519}, // which all peers know
	}}
	if *certificate != "" {
		pair, err := tls.LoadX509KeyPair(*certificate, *certificate)
		if err != nil {
			return fmt.Errorf("reading -certificate: %w", err)
		}
		l.tls.Certificates = []tls.Certificate{pair}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(*seconds*float64(time.Second)))
	defer cancel()
	switch args[0] {
	case "requests":
		return l.requests(ctx, *number, stdout)
	case "connections":
		return l.connections(ctx, *number, *resume, stdout)
	case "rate":
		return l.rate(ctx, *number, *rate, stdout)
	case "idle":
		return l.idle(ctx, *number, in, stdout)
	}
	return fmt.Errorf("load of kind %q?", args[0])
}

func rawRequest(u *url.URL, headers []string) []byte {
	lines := append([]string{"GET " + u.RequestURI() + " HTTP/1.1", "Host: " + u.Host, "User-Agent: bench", "Accept: */*"}, headers...)
	return []byte(strings.Join(lines, "\r\n") + "\r\n\r\n")
}

// dial makes one connection.
func (l *load) dial(ctx context.Context, config *tls.Config) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", l.target.Port()))
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	c := tls.Client(raw, config)
	if err := c.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("shaking hands: %w", err)
	}
	return c, nil
}

// ask asks once.
func (l *load) ask(c *tls.Conn, br *bufio.Reader) error {
	if _, err := c.Write(l.request); err != nil {
		return fmt.Errorf("asking: %w", err)
	}
	res, err := http.ReadResponse(br, nil)
	if err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return nil
}

// requests asks again and again over workers connections that are kept, and prints how
// many requests were answered, and how many failed.
func (l *load) requests(ctx context.Context, workers int, stdout io.Writer) error {
	var done, failed atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		c, err := l.dial(ctx, l.tls)
		if err != nil {
			return err
		}
		wg.Go(func() {
			defer c.Close()
			br := bufio.NewReaderSize(c, 64<<10)
			for ctx.Err() == nil {
				if err := l.ask(c, br); err != nil {
					failed.Add(1)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	_, err := fmt.Fprintln(stdout, done.Load(), failed.Load())
	return err
}

// connections makes one connection for each request, workers at once, and prints how
// many, how many of them resumed a session, and how many failed.
func (l *load) connections(ctx context.Context, workers int, resume bool, stdout io.Writer) error {
	var done, resumed, failed atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			config := l.tls.Clone()
			if resume {
				config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
			}
			br := bufio.NewReader(nil)
			for ctx.Err() == nil {
				c, err := l.dial(ctx, config)
				if err == nil {
					br.Reset(c)
					err = l.ask(c, br)
					if c.ConnectionState().DidResume {
						resumed.Add(1)
					}
					c.Close()
				}
				if err != nil {
					failed.Add(1)
					continue
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	_, err := fmt.Fprintln(stdout, done.Load(), resumed.Load(), failed.Load())
	return err
}

// rate asks at random moments, whether earlier requests are answered or not, over
// connections that are made before, and prints how many requests were answered, the
// median and the 99th percentile of the time from when each was due, in microseconds,
// and how many failed.
func (l *load) rate(ctx context.Context, workers int, rate float64, stdout io.Writer) error {
	due := make(chan time.Time, 1<<16)
	var mu sync.Mutex
	var took []time.Duration
	var failed atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		c, err := l.dial(ctx, l.tls)
		if err != nil {
			return err
		}
		br := bufio.NewReader(c)
		wg.Go(func() {
			defer c.Close()
			for at := range due {
				if err := l.ask(c, br); err != nil {
					failed.Add(1)
					return
				}
				mu.Lock()
				took = append(took, time.Since(at))
				mu.Unlock()
			}
		})
	}
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same moments for everybody
	for at := time.Now(); ctx.Err() == nil; due <- at {
		at = at.Add(time.Duration(random.ExpFloat64() / rate * float64(time.Second)))
		<-time.After(time.Until(at))
	}
	close(due)
	wg.Wait()
	if len(took) == 0 {
		return errors.New("no request was answered")
	}
	slices.Sort(took)
	_, err := fmt.Fprintln(stdout, len(took), took[len(took)/2].Microseconds(), took[len(took)*99/100].Microseconds(), failed.Load())
	return err
}

// idle makes n connections, asks once on each, prints how many there are, and keeps
// them until in ends.
func (l *load) idle(ctx context.Context, n int, in io.Reader, stdout io.Writer) error {
	kept := make([]*tls.Conn, 0, n)
	for range n {
		c, err := l.dial(ctx, l.tls)
		if err != nil {
			return err
		}
		if err := l.ask(c, bufio.NewReader(c)); err != nil {
			return err
		}
		kept = append(kept, c)
	}
	if _, err := fmt.Fprintln(stdout, len(kept)); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, in)
	for _, c := range kept {
		c.Close()
	}
	return err
}
