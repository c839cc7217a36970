package relay

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// exchanged has serve answer a request of the given version.
func exchanged(major int, body io.Reader, serve func(*Exchange, *http.Request)) *httptest.ResponseRecorder {
	recorder := Recorder{Access: accesslog.New(io.Discard, "test"), Log: slog.New(slog.DiscardHandler), Now: time.Now}
	r := httptest.NewRequest(http.MethodPost, "https://tool.example/", body)
	r.ProtoMajor = major
	w := httptest.NewRecorder()
	recorder.Serve(w, r, serve)
	return w
}

func TestAConnectionIsClosedAfterAnEarlyAnswer(t *testing.T) {
	read := func(n int64) func(*Exchange, *http.Request) {
		return func(ex *Exchange, r *http.Request) {
			ex.Duplex()
			_, _ = io.CopyN(io.Discard, r.Body, n)
			ex.WriteHeader(http.StatusOK)
		}
	}
	for name, test := range map[string]struct {
		major int
		serve func(*Exchange, *http.Request)
		want  string
	}{
		"nothing was read":       {1, read(0), "close"},
		"a part was read":        {1, read(3), "close"},
		"all of it was read":     {1, read(100), ""},
		"HTTP/2":                 {2, read(0), ""},
		"HTTP/3":                 {3, read(0), ""},
		"a body that is written": {1, func(ex *Exchange, _ *http.Request) { ex.Duplex(); _, _ = io.WriteString(ex, "x") }, "close"},
		"net/http waits for it":  {1, func(ex *Exchange, _ *http.Request) { ex.WriteHeader(http.StatusOK) }, ""},
	} {
		if got := exchanged(test.major, strings.NewReader("a body"), test.serve).Header().Get("Connection"); got != test.want {
			t.Errorf("%s: Connection %q, want %q", name, got, test.want)
		}
	}
}

func TestHTTP3KnowsNoConnectionHeaders(t *testing.T) {
	for _, write := range []func(*Exchange){
		func(ex *Exchange) { ex.WriteHeader(http.StatusServiceUnavailable) },
		func(ex *Exchange) { _, _ = io.WriteString(ex, "x") },
	} {
		for major, want := range map[int]string{1: "close", 3: ""} {
			w := exchanged(major, http.NoBody, func(ex *Exchange, _ *http.Request) {
				for _, name := range []string{"Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Proxy-Connection"} {
					ex.Header().Set(name, "close")
				}
				write(ex)
			})
			if got := w.Header().Get("Connection") + w.Header().Get("Upgrade"); got != want+want {
				t.Errorf("HTTP/%d: %v", major, w.Header())
			}
		}
	}
}
