package relay

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// recordsOf serves one request by a handler that a tool stands behind, and returns what
// the log says of it: action, status, stream and bytes of each line.
func recordsOf(t *testing.T, method string, serve func(ex *Exchange, r *http.Request)) []string {
	t.Helper()
	var out bytes.Buffer
	access := accesslog.New(&out, "gateway")
	rec := &Recorder{Access: access, Log: slog.New(slog.DiscardHandler), Now: time.Now}
	rec.Serve(httptest.NewRecorder(), httptest.NewRequest(method, "https://tool.example.com/", nil), func(ex *Exchange, r *http.Request) {
		ex.Note(accesslog.ActionAccess, accesslog.DecisionAllow, "group_allowed")
		ex.Record.Upstream = "10.0.0.7:8443"
		serve(ex, r)
	})
	if err := access.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(r["event.action"], r["event.type"], " ", r["http.response.status_code"], " ", r["sallyport.stream"], " ", r["http.response.body.bytes"]))
	}
	return got
}

func TestAStreamHasARecordWhenItBegins(t *testing.T) {
	type step struct {
		after time.Duration
		text  string
	}
	tests := []struct {
		name, method, kind string
		status             int
		steps              []step
		want               []string
	}{
		{"an answer that ends", "GET", "text/html", 200, []step{{0, "a"}, {time.Second, "b"}}, []string{"access[access] 200 <nil> 2"}},
		{"an event stream", "GET", "text/event-stream; charset=utf-8", 200, []step{{time.Hour, "data\n"}}, []string{"stream_begin[access start] 200 events 0", "access[access end] 200 events 5"}},
		{"an event stream that is refused", "GET", "text/event-stream", 403, []step{{0, "no"}}, []string{"access[access] 403 <nil> 2"}},
		{"what there would be", "HEAD", "text/event-stream", 200, nil, []string{"access[access] 200 <nil> 0"}},
		{"pictures that follow each other", "GET", "Multipart/X-Mixed-Replace; boundary=x", 200, nil, []string{"stream_begin[access start] 200 events 0", "access[access end] 200 events 0"}},
		{"a short call of gRPC", "POST", "application/grpc", 200, []step{{grpcAfter / 2, "x"}}, []string{"access[access] 200 <nil> 1"}},
		{"a stream of gRPC", "POST", "application/grpc+proto", 200, []step{{0, "x"}, {2 * grpcAfter, "y"}}, []string{"stream_begin[access start] 200 grpc 0", "access[access end] 200 grpc 2"}},
		{"what is not gRPC", "POST", "application/grpc-web", 200, []step{{2 * grpcAfter, "y"}}, []string{"access[access] 200 <nil> 1"}},
		{"a long download", "GET", "application/zip", 200, []step{{0, "abc"}, {accesslog.LastsAfter + 1, "de"}, {time.Hour, "f"}}, []string{"stream_begin[access start] 200 lasting 3", "access[access end] 200 lasting 6"}},
		{"one that has ended by then", "GET", "application/zip", 200, []step{{0, "abc"}, {accesslog.LastsAfter, "de"}}, []string{"access[access] 200 <nil> 5"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := recordsOf(t, test.method, func(ex *Exchange, _ *http.Request) {
					ex.Header().Set("Content-Type", test.kind)
					ex.WriteHeader(test.status)
					for _, s := range test.steps {
						<-time.After(s.after)
						_, _ = io.WriteString(ex, s.text)
					}
				})
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("records (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestNothingOfOurOwnLasts: a page of ours that is slow to be taken is no stream.
func TestNothingOfOurOwnLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := recordsOf(t, "GET", func(ex *Exchange, _ *http.Request) {
			ex.Record.Upstream = ""
			ex.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(ex, "a")
			<-time.After(2 * accesslog.LastsAfter)
			_, _ = io.WriteString(ex, "b")
		})
		if diff := cmp.Diff([]string{"access[access] 200 <nil> 2"}, got); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
	})
}

// refusing is a log's sink that takes nothing.
type refusing struct{}

var errFull = errors.New("no space left on device")

func (refusing) Write(context.Context, *accesslog.Batch) error { return errFull }
func (refusing) Name() string                                  { return "refusing" }
func (refusing) Close() error                                  { return nil }

// TestNoStreamBeginsWithoutItsRecord: who cannot be recorded gets nothing.
func TestNoStreamBeginsWithoutItsRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		access := accesslog.Prepare(accesslog.Config{Service: "gateway", Sinks: []accesslog.Sink{refusing{}}, Durability: accesslog.DurabilityFsync})
		rec := &Recorder{Access: access, Log: slog.New(slog.DiscardHandler), Now: time.Now}
		answer := httptest.NewRecorder()
		rec.Serve(answer, httptest.NewRequest(http.MethodGet, "https://tool.example.com/", nil), func(ex *Exchange, _ *http.Request) {
			ex.Note(accesslog.ActionAccess, accesslog.DecisionAllow, "group_allowed")
			ex.Record.Upstream = "10.0.0.7:8443"
			if _, _, err := ex.Hijack(); err == nil || errors.Is(err, http.ErrNotSupported) {
				t.Errorf("the connection is given away: %v", err)
			}
			ex.Header().Set("Content-Type", "text/event-stream")
			if n, err := io.WriteString(ex, "secret"); n != 0 || err == nil {
				t.Errorf("%d bytes are sent: %v", n, err)
			}
		})
		if answer.Body.Len() > 0 {
			t.Errorf("the client got %q", answer.Body)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = access.Close(ctx) // what it could not write is lost
	})
}

func TestSerials(t *testing.T) {
	var s Serials
	a, b := &x509.Certificate{SerialNumber: big.NewInt(0x1f07c4)}, &x509.Certificate{SerialNumber: big.NewInt(5)}
	for range 2 {
		for chain, want := range map[*x509.Certificate]string{a: "1f:07:c4", b: "05"} {
			if got := s.Of([]*x509.Certificate{chain, a}); got != want {
				t.Errorf("serial %q, want %q", got, want)
			}
		}
	}
	if s.Of(nil) != "" || Serial(&x509.Certificate{}) != "" {
		t.Error("no certificate has a serial number")
	}
	chain := []*x509.Certificate{a}
	s.Of(chain)
	if allocs := testing.AllocsPerRun(100, func() { s.Of(chain) }); allocs > 0 {
		t.Errorf("%v allocations for the certificate of a connection that goes on", allocs)
	}
}
