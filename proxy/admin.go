package proxy

import (
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// AdminConfig is what Admin needs. Its functions are called concurrently.
type AdminConfig struct {
	// Readiness says why the process should get no traffic; no reason means that
	// it should. Remarks are what is wrong besides. Required.
	Readiness func() (reasons, remarks []string)
	// Parts are lines on everything that must be well, shown below a "ready"; nil shows
	// nothing.
	Parts func() []string
	// Metrics are what /metrics shows. Required.
	Metrics prometheus.Gatherer
	// More are further handlers, by patterns of http.ServeMux.
	More map[string]http.Handler
}

// Admin answers probes and metrics. It belongs on a listener of its own that no
// outsider reaches: nobody signs in here. A page in the browser of somebody who
// reaches it gets nothing; what a person typed into the address bar is answered.
func Admin(cfg AdminConfig) http.Handler {
	mux := http.NewServeMux()
	for pattern, handler := range cfg.More {
		mux.Handle(pattern, handler)
	}
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { readiness(w, cfg) })
	// Traces stand as examples beside durations in OpenMetrics alone.
	mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if site := r.Header.Get("Sec-Fetch-Site"); r.Header.Get("Origin") != "" || (site != "" && site != "none") {
			plain(w, http.StatusForbidden, "no answer for a web page: type the address, or use sallyport status")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// readiness answers whether the process should get traffic.
func readiness(w http.ResponseWriter, cfg AdminConfig) {
	reasons, remarks := cfg.Readiness()
	if len(reasons) > 0 {
		plain(w, http.StatusServiceUnavailable, listed("not ready:", append(reasons, remarks...)))
		return
	}
	answer := "ready"
	if len(remarks) > 0 {
		answer = listed("ready, serving with what is held:", remarks)
	}
	if cfg.Parts != nil {
		answer = listed(answer, cfg.Parts())
	}
	plain(w, http.StatusOK, answer)
}

// listed is a line and others below it.
func listed(first string, lines []string) string {
	return strings.Join(append([]string{first}, lines...), "\n- ")
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // the prober may have gone away
}
