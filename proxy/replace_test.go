package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/policy"
)

// replace puts a Gateway with a changed configuration in use.
func (w *world) replace(change func(*proxy.Config)) {
	w.tb.Helper()
	cfg := w.cfg
	cfg.Routes = append([]proxy.Route(nil), cfg.Routes...)
	cfg.Replaces = w.live.Gateway()
	if change != nil {
		change(&cfg)
	}
	g, err := proxy.New(cfg)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.live.Replace(g)
}

// remote is which connection of the gateway's the backend was asked on last.
func (b *backend) remote() string {
	r, _ := b.seen()
	return r.RemoteAddr
}

func TestReplacedGatewayKeepsSessionsAndConnections(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	before := w.backend.remote()

	w.replace(nil)
	if got := b.navigate(w.origin(headersHost) + "/"); got.StatusCode != http.StatusOK {
		t.Fatalf("after a replacement: %d %s", got.StatusCode, got.body)
	}
	if after := w.backend.remote(); after != before {
		t.Errorf("the backend sees another connection, %s in place of %s", after, before)
	}

	w.replace(func(cfg *proxy.Config) {
		for i := range cfg.Routes {
			cfg.Routes[i].TLS = cfg.Routes[i].TLS.Clone() // other roots, say
		}
	})
	if got := b.navigate(w.origin(headersHost) + "/"); got.StatusCode != http.StatusOK {
		t.Fatalf("after the way to the backend changed: %d %s", got.StatusCode, got.body)
	}
	if after := w.backend.remote(); after == before {
		t.Errorf("the backend still sees the connection %s", before)
	}
}

func TestReplacedGatewayDecidesByItsOwnRules(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	w.replace(func(cfg *proxy.Config) { cfg.Routes[0].Rule = policy.NewRule(nil, []string{"support"}, false) })
	if got := b.navigate(w.origin(headersHost) + "/"); got.StatusCode != http.StatusForbidden {
		t.Errorf("a rule that was taken back still lets in: %d", got.StatusCode)
	}
	w.replace(func(cfg *proxy.Config) { cfg.Routes = cfg.Routes[1:] })
	if got := b.navigate(w.origin(headersHost) + "/"); got.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a route that was taken away still answers: %d", got.StatusCode)
	}
}

// What is under way belongs to the gateway that began it, and ends as if nothing
// had happened.
func TestReplacementInTheMiddleOfRequests(t *testing.T) {
	w := newWorld(t, nil)
	began, goOn := make(chan struct{}), make(chan struct{})
	w.backend.mux.HandleFunc("/slow", func(rw http.ResponseWriter, _ *http.Request) {
		close(began)
		<-goOn
		_, _ = io.WriteString(rw, "whole")
	})
	w.backend.mux.HandleFunc("/ws", echo)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, _, err := b.dial(ctx, "wss"+w.origin(headersHost)[len("https"):]+"/ws", w.origin(headersHost))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()

	slow := make(chan answer, 1)
	go func() { slow <- b.navigate(w.origin(headersHost) + "/slow") }()
	<-began
	w.replace(func(cfg *proxy.Config) { cfg.Routes = cfg.Routes[1:] })
	close(goOn)
	if got := <-slow; got.StatusCode != http.StatusOK || got.body != "whole" {
		t.Errorf("a request that was under way: %d %q", got.StatusCode, got.body)
	}
	if err := conn.Write(ctx, websocket.MessageText, []byte("still")); err != nil {
		t.Fatal(err)
	}
	if _, message, err := conn.Read(ctx); err != nil || string(message) != "still" {
		t.Errorf("a WebSocket that was open: %q, %v", message, err)
	}
	// The session's end still reaches it.
	b.post(w.origin(doorHost)+"/.sallyport/sign_out", "same-origin", nil)
	if _, _, err := conn.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("the WebSocket outlives the sign-out: %v", err)
	}
}

// What would not be let in any more is cut in the end, and nothing else.
func TestWithdrawnAccessEndsWhatIsUnderWay(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.mux.HandleFunc("/ws", echo)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	open := map[string]*websocket.Conn{}
	b := w.browser()
	for _, host := range []string{headersHost, notesHost} {
		b.signIn(w.origin(host)+"/", "alice")
		conn, _, err := b.dial(ctx, w.origin(host)+"/ws", w.origin(host))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
		open[host] = conn
	}
	w.replace(func(cfg *proxy.Config) { cfg.Routes[0].Rule = policy.NewRule(nil, []string{"support"}, false) })
	proxy.Withdraw(w.live.Gateway()) // as after a minute
	if _, _, err := open[headersHost].Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("the WebSocket outlives its rule: %v", err)
	}
	if err := open[notesHost].Write(ctx, websocket.MessageText, []byte("still")); err != nil {
		t.Fatal(err)
	}
	if _, message, err := open[notesHost].Read(ctx); err != nil || string(message) != "still" {
		t.Errorf("a WebSocket that is still allowed: %q, %v", message, err)
	}
	found := false
	for _, record := range w.records(10) { // five and four of the sign-ons, and one of the WebSocket that ended
		found = found || record["url.path"] == "/ws" && record["event.reason"] == "access_withdrawn"
	}
	if !found {
		t.Error("no line of the access log says that access was withdrawn")
	}
}

func TestReplacementUnderLoadLosesNothing(t *testing.T) {
	w := newWorld(t, nil)
	b := w.browser()
	b.signIn(w.origin(headersHost)+"/", "alice")
	results := make(chan string)
	for range 4 {
		go func() {
			failed := ""
			for range 50 {
				if got := b.navigate(w.origin(headersHost) + "/"); got.StatusCode != http.StatusOK {
					failed = fmt.Sprintf("%d %s", got.StatusCode, got.body)
				}
			}
			results <- failed
		}()
	}
	for range 50 {
		w.replace(func(cfg *proxy.Config) { cfg.Routes[0].TLS = cfg.Routes[0].TLS.Clone() })
	}
	for range 4 {
		if failed := <-results; failed != "" {
			t.Errorf("a request failed: %s", failed)
		}
	}
}
