package proxy_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/session"
)

// takeover answers an upgrade byte by byte: it tells what came with the request
// before it was answered, answers, and tells what came then.
func takeover(answer string, before, after chan<- string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		read := func(patience time.Duration) string {
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			text := make([]byte, 100)
			n, err := buffered.Read(text)
			if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				return "error: " + err.Error()
			}
			return string(text[:n])
		}
		before <- read(300 * time.Millisecond)
		_, _ = io.WriteString(conn, answer)
		after <- read(time.Second)
	}
}

// TestNothingFollowsAnUpgradeBeforeTheBackendAgrees: what a client sends behind its
// request is no WebSocket's until there is one (CVE-2026-2833).
func TestNothingFollowsAnUpgradeBeforeTheBackendAgrees(t *testing.T) {
	upgrade := "GET /ws HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n%s"
	agreed := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	declined := "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
	other := "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
	for name, test := range map[string]struct {
		answer, early string
		status        int
		after         string
	}{
		"it agrees":                  {agreed, "\x81\x05hello", http.StatusSwitchingProtocols, "\x81\x05hello"},
		"it declines":                {declined, "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusForbidden, ""},
		"it agrees to another thing": {other, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", http.StatusBadGateway, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			before, after := make(chan string, 1), make(chan string, 1)
			w.backend.mux.HandleFunc("/ws", takeover(test.answer, before, after))
			b := w.signedIn("1.1")
			conn, answers := w.connect()
			_, _ = fmt.Fprintf(conn, upgrade, headersHost, b.cookies(), test.early)
			if got := receive(t, before, "what came before"); got != "" {
				t.Errorf("before it agreed, the backend got %q", got)
			}
			res, err := http.ReadResponse(answers, nil)
			if err != nil || res.StatusCode != test.status {
				t.Fatalf("answer %v, %v", res, err)
			}
			if got := receive(t, after, "what came after"); !strings.HasPrefix(got, "error: ") && got != test.after || test.after != "" && got != test.after {
				t.Errorf("after it, the backend got %q, want %q", got, test.after)
			}
		})
	}
}

// limit has the world's sessions last as long as given.
func (w *world) limit(idle, absolute time.Duration) {
	w.tb.Helper()
	hosts := []string{doorHost}
	for _, rt := range w.cfg.Routes {
		hosts = append(hosts, rt.Host)
	}
	cfg := w.cfg
	var err error
	if cfg.Sessions, err = session.New(session.Config{
		Keys: session.Keys{Current: bytes.Repeat([]byte{7}, session.KeySize)}, Hosts: hosts, Idle: idle, Absolute: absolute,
	}); err != nil {
		w.tb.Fatal(err)
	}
	cfg.Replaces = w.gateway
	if w.gateway, err = proxy.New(cfg); err != nil {
		w.tb.Fatal(err)
	}
	w.live.Replace(w.gateway)
}

// TestAnOpenWebSocketEndsWithItsSession: with its absolute end, or when its client has
// sent nothing for the idle time.
func TestAnOpenWebSocketEndsWithItsSession(t *testing.T) {
	for name, test := range map[string]struct {
		idle, absolute time.Duration
		talks          time.Duration // for how long the client says something
		least          time.Duration // until the end
		reason         string
	}{
		"idle from the beginning": {2 * time.Second, time.Hour, 0, 1500 * time.Millisecond, "session_idle"},
		"idle after a while":      {3 * time.Second, time.Hour, 2 * time.Second, 3500 * time.Millisecond, "session_idle"},
		"expired while in use":    {4 * time.Second, 4 * time.Second, time.Hour, time.Second, "session_ended"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // time has to pass
			w := newWorld(t, nil)
			w.limit(test.idle, test.absolute)
			w.backend.mux.HandleFunc("/ws", echo)
			b := w.browser()
			b.signIn(w.origin(headersHost)+"/", "alice")
			conn, _, err := b.dial(t.Context(), w.origin(headersHost)+"/ws", w.origin(headersHost))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.CloseNow()
			ended := make(chan struct{})
			begun := time.Now()
			go func() {
				defer close(ended)
				for {
					if _, _, err := conn.Read(t.Context()); err != nil {
						return
					}
				}
			}()
			talking := time.NewTicker(200 * time.Millisecond)
			defer talking.Stop()
			for open := true; open; {
				if time.Since(begun) > time.Minute {
					t.Fatal("it never ends")
				}
				select {
				case <-ended:
					open = false
				case <-talking.C:
					if time.Since(begun) < test.talks {
						_ = conn.Write(t.Context(), websocket.MessageText, []byte("still here"))
					}
				}
			}
			// Other tests run beside this one, so much later is no fault.
			if took := time.Since(begun); took < test.least || took > test.least+patience {
				t.Errorf("it ended after %v, want %v", took, test.least)
			}
			if line := w.lastRecord(6); line["url.path"] != "/ws" || line["event.reason"] != test.reason || line["http.response.status_code"] != 101.0 {
				t.Errorf("line %v", line)
			}
		})
	}
}

// TestAnAnswerUnderWayIsUse: what its client only reads does not end for that.
func TestAnAnswerUnderWayIsUse(t *testing.T) {
	t.Parallel() // time has to pass
	w := newWorld(t, nil)
	w.limit(time.Second, time.Hour)
	w.backend.mux.HandleFunc("/events", func(rw http.ResponseWriter, _ *http.Request) {
		for i := range 5 {
			_, _ = fmt.Fprintf(rw, "event %d\n", i)
			_ = http.NewResponseController(rw).Flush()
			<-time.After(500 * time.Millisecond)
		}
	})
	b := w.signedIn("1.1")
	res := b.begin(b.request(http.MethodGet, w.origin(headersHost)+"/events", nil))
	events := bufio.NewScanner(res.Body)
	n := 0
	for events.Scan() {
		n++
	}
	if n != 5 || events.Err() != nil {
		t.Errorf("%d events, %v", n, events.Err())
	}
}
