package proxy_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
)

// breaking is a listener that breaks when it is told to.
type breaking struct {
	net.Listener
	broken func() bool
}

var errTooManyFiles = errors.New("too many open files in system")

func (l breaking) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil && l.broken() {
		err = errTooManyFiles
	}
	return conn, err
}

// TestABrokenListenerEndsNoRequestThatIsInHand: whoever closes the access log once Serve
// has returned loses no line.
func TestABrokenListenerEndsNoRequestThatIsInHand(t *testing.T) {
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	arrived, release, broken := make(chan struct{}), make(chan struct{}), make(chan struct{})
	ended := make(chan struct{})
	served := make(chan error, 1)
	go func() {
		served <- proxy.Serve(context.WithoutCancel(t.Context()), proxy.ServerConfig{
			Listener: breaking{inner, func() bool { close(broken); return true }}, Drain: time.Minute, Announce: time.Hour,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				defer close(ended)
				close(arrived)
				<-release
				_, _ = io.WriteString(w, "whole")
			}),
		})
	}()
	var body []byte
	var client sync.WaitGroup
	client.Go(func() {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+inner.Addr().String(), http.NoBody)
		if err != nil {
			t.Error(err)
			return
		}
		res, err := (&http.Transport{}).RoundTrip(request)
		if err != nil {
			t.Error(err)
			return
		}
		defer res.Body.Close()
		body, _ = io.ReadAll(res.Body)
	})
	<-arrived
	_ = inner.Close()
	<-broken
	select {
	case err := <-served:
		t.Errorf("Serve has returned before its request has ended: %v", err)
	case <-time.After(200 * time.Millisecond): // it would have at once
	}
	close(release)
	<-ended
	client.Wait()
	if err := <-served; !errors.Is(err, errTooManyFiles) || !strings.Contains(err.Error(), "serving on") || errors.Is(err, proxy.ErrDrain) {
		t.Errorf("Serve = %v", err)
	}
	if string(body) != "whole" {
		t.Errorf("the answer is %q", body)
	}
}
