package vaultpki

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// told is one line of a log, with its time.
type told struct {
	Time  time.Time `json:"time"`
	Msg   string    `json:"msg"`
	Cause string    `json:"cause"`
}

func linesOf(t *testing.T, buf *bytes.Buffer) []told {
	t.Helper()
	var lines []told
	for line := range strings.Lines(buf.String()) {
		var l told
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	return lines
}

// resetBy is what a dropped connection looks like: with another local port each time.
func resetBy(port int) error {
	return &wire.TransportError{Sent: true, Err: &net.OpError{
		Op: "read", Net: "tcp", Source: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, Err: syscall.ECONNRESET,
	}}
}

func TestWaitingIsToldOncePerCauseAndEveryTenSeconds(t *testing.T) {
	tests := map[string]func(ctx context.Context, attempt int) error{
		"refused at once": func(context.Context, int) error { return away },
		"reset, from another port each time": func(_ context.Context, attempt int) error {
			return resetBy(40000 + attempt)
		},
		"silence until the deadline": func(ctx context.Context, _ int) error {
			<-ctx.Done()
			return &wire.TransportError{Sent: true, Err: ctx.Err()}
		},
	}
	for name, fail := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var buf bytes.Buffer
				p := patience{wait: 5 * time.Minute, log: slog.New(slog.NewJSONHandler(&buf, nil))}
				attempt := 0
				err := p.do(t.Context(), "testing", func(ctx context.Context) error {
					attempt++
					return fail(ctx, attempt)
				})
				if err == nil || !strings.Contains(err.Error(), "giving up after") {
					t.Fatalf("error %v", err)
				}
				lines := linesOf(t, &buf)
				for i, line := range lines[1:] {
					if gap := line.Time.Sub(lines[i].Time); gap > progressEvery {
						t.Errorf("%s of silence", gap)
					}
					if line.Cause != lines[0].Cause {
						t.Errorf("cause changed from %q to %q", lines[0].Cause, line.Cause)
					}
				}
				if len(lines) < 30 || len(lines) > 150 {
					t.Errorf("%d lines in 5 minutes", len(lines))
				}
			})
		})
	}
}

func TestChangeOfCauseIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var buf bytes.Buffer
		p := patience{wait: time.Minute, log: slog.New(slog.NewJSONHandler(&buf, nil))}
		failures := []error{away, away, resetBy(1), resetBy(2), &wire.StatusError{Status: 503, Messages: []string{"Vault is sealed"}}}
		err := p.do(t.Context(), "testing", func(context.Context) error {
			if len(failures) == 0 {
				return nil
			}
			defer func() { failures = failures[1:] }()
			return failures[0]
		})
		if err != nil {
			t.Fatal(err)
		}
		var story []string
		for _, line := range linesOf(t, &buf) {
			story = append(story, fmt.Sprintf("%s: %s", line.Msg, line.Cause))
		}
		want := "waiting for vault: connection refused|waiting for vault: read: connection reset by peer|" +
			"waiting for vault: vault answered 503: Vault is sealed|vault answers: "
		if got := strings.Join(story, "|"); got != want {
			t.Errorf("log tells %s\nexpected   %s", got, want)
		}
	})
}

func TestWhatCannotPassIsNotWaitedFor(t *testing.T) {
	for name, err := range map[string]error{
		"refusal":    denied,
		"absence":    &wire.StatusError{Status: 404},
		"bad answer": errors.New("not what was asked for"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin, calls := time.Now(), 0
				p := patience{wait: time.Hour, log: slog.New(slog.DiscardHandler)}
				got := p.do(t.Context(), "testing", func(context.Context) error { calls++; return err })
				if !errors.Is(got, err) || calls != 1 || time.Since(begin) != 0 {
					t.Errorf("%v after %d calls and %s", got, calls, time.Since(begin))
				}
			})
		})
	}
}

func TestVaultsWishToBeLeftAloneIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := patience{wait: time.Minute, log: slog.New(slog.DiscardHandler)}
		var second time.Duration
		begin, calls := time.Now(), 0
		err := p.do(t.Context(), "testing", func(context.Context) error {
			if calls++; calls == 1 {
				return &wire.StatusError{Status: 429, RetryAfter: 17 * time.Second}
			}
			second = time.Since(begin)
			return nil
		})
		if err != nil || second < 17*time.Second || second > 18*time.Second {
			t.Errorf("second call after %s, %v; expected 17s", second, err)
		}
	})
}

func TestDelaysAreBounded(t *testing.T) {
	for _, first := range []time.Duration{time.Millisecond, time.Second, time.Hour} {
		delays := newDelays(first, 2*time.Second)
		for n := range 30 {
			if delay := delays.NextBackOff(); delay < first/2 && delay < time.Second || delay > 3*time.Second {
				t.Errorf("delay %d, of those from %s: %s", n, first, delay)
			}
		}
	}
}
