package localhost

import (
	"context"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// server is an https server on loopback; its CA is in the file ca.
func server(t *testing.T, handler http.HandlerFunc) (port, ca string) {
	t.Helper()
	ts := httptest.NewTLSServer(handler)
	t.Cleanup(ts.Close)
	_, port, err := net.SplitHostPort(ts.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ca = filepath.Join(t.TempDir(), "ca.pem")
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ts.Certificate().Raw})
	if err := os.WriteFile(ca, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return port, ca
}

func TestDial(t *testing.T) {
	port, _ := server(t, func(http.ResponseWriter, *http.Request) {})
	tests := []struct {
		host  string
		reach bool
	}{
		{"door.sallyport.localhost", true},
		{"DOOR.Sallyport.LocalHost.", true},
		{"localhost", true},
		{"127.0.0.1", true},
		{"example.com", false},
		{"localhost.example.com", false},
		{"notlocalhost", false},
		{"192.0.2.1", false},
	}
	for _, tt := range tests {
		t.Run(tt.host, func(t *testing.T) {
			conn, err := Dial(t.Context(), "tcp", net.JoinHostPort(tt.host, port))
			if err == nil {
				conn.Close()
			}
			if (err == nil) != tt.reach {
				t.Errorf("error %v, want to reach it: %v", err, tt.reach)
			}
		})
	}
	if _, err := Dial(t.Context(), "tcp", "no port"); err == nil {
		t.Error("an address without a port was dialled")
	}
}

func TestClientTrustsOnlyTheFile(t *testing.T) {
	port, ca := server(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://elsewhere.localhost/", http.StatusFound)
	})
	for _, tt := range []struct {
		name, ca string
		good     bool
	}{{"the server's", ca, true}, {"none", "", false}} {
		t.Run(tt.name, func(t *testing.T) {
			client, err := Client(tt.ca)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Get("https://127.0.0.1:" + port)
			if (err == nil) != tt.good {
				t.Fatalf("error %v, want it trusted: %v", err, tt.good)
			}
			if err != nil {
				return
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusFound {
				t.Errorf("status %d: the redirect was followed", resp.StatusCode)
			}
		})
	}
}

func TestClientSaysWhatIsWrongWithTheFile(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ca := range []string{"/nowhere.pem", empty} {
		if _, err := Client(ca); err == nil || !strings.Contains(err.Error(), ca) {
			t.Errorf("%s: error %v does not name it", ca, err)
		}
	}
}

func TestWaitOKWaitsForTheFirstGoodAnswer(t *testing.T) {
	var asked atomic.Int32
	port, ca := server(t, func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	client, err := Client(ca)
	if err != nil {
		t.Fatal(err)
	}
	if err := WaitOK(t.Context(), client, "https://127.0.0.1:"+port); err != nil {
		t.Fatal(err)
	}
	if got := asked.Load(); got != 3 {
		t.Errorf("asked %d times, want 3", got)
	}
}

func TestWaitOKSaysWhyItGaveUp(t *testing.T) {
	port, ca := server(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	client, err := Client(ca)
	if err != nil {
		t.Fatal(err)
	}
	died := errors.New("the process died")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, died)
	defer cancel()
	err = WaitOK(ctx, client, "https://127.0.0.1:"+port)
	if !errors.Is(err, died) {
		t.Errorf("error %v, want the cause of the end", err)
	}
	if err == nil || !strings.Contains(err.Error(), "418") && !strings.Contains(err.Error(), "deadline") {
		t.Errorf("error %v does not say what came last", err)
	}
}
