package serve

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"
)

// up runs a server on loopback and returns its address, its stop and its end.
func up(t *testing.T, handler http.Handler) (address string, stop context.CancelFunc, ended <-chan error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	end := make(chan error, 1)
	go func() { end <- Until(ctx, ln, handler, slog.New(slog.DiscardHandler)) }()
	return ln.Addr().String(), cancel, end
}

func within(t *testing.T, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("the server still runs")
		return nil
	}
}

func TestStopEndsAnOpenStream(t *testing.T) {
	left := make(chan struct{})
	address, stop, ended := up(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(left)
		_, _ = io.WriteString(w, "here\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	resp, err := new(http.Client).Get("http://" + address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := within(t, ended); err != nil {
		t.Errorf("a stop that was asked for: %v", err)
	}
	<-left
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("it still listens")
	}
}

func TestListenerThatBreaksIsAnError(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := Until(t.Context(), ln, http.NotFoundHandler(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no error")
	}
}
