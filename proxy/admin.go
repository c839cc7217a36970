package proxy

import (
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Readiness says why a process should get no traffic; empty means it should.
// It is called concurrently.
type Readiness func() []string

// Endpoint is something else that the admin listener answers.
type Endpoint struct {
	Pattern string // as [http.ServeMux] takes it
	Handler http.Handler
}

// Admin answers probes and metrics, and what more says. It belongs on a listener
// of its own that no browser reaches: nobody signs in here.
func Admin(ready Readiness, metrics prometheus.Gatherer, more ...Endpoint) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if reasons := ready(); len(reasons) > 0 {
			plain(w, http.StatusServiceUnavailable, "not ready:\n- "+strings.Join(reasons, "\n- "))
			return
		}
		plain(w, http.StatusOK, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	for _, endpoint := range more {
		mux.Handle(endpoint.Pattern, endpoint.Handler)
	}
	return mux
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // the prober may have gone away
}
