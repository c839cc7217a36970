package main

import (
	"bytes"
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/upstream"
)

func TestUpstreamsCarryTheConfiguration(t *testing.T) {
	cfg, err := config.LoadGateway("test", []byte(`
door: {host: door.example.com}
routes:
  - name: one
    host: one.example.com
    backend: {url: "https://one"}
  - name: many
    host: many.example.com
    backend:
      urls: ["https://a:1", "https://b:2", "https://c"]
      drain: ["https://c"]
      protocol: http2
      sticky: true
      max_requests: 7
      timeouts: {connect: 2s, response_header: 30s}
      health: {path: /healthz, interval: 4s, timeout: 3s, unhealthy: 5, healthy: 6}
`))
	if err != nil {
		t.Fatal(err)
	}
	got := routes(cfg, func(string) *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS13} })
	var addresses []string
	for _, route := range got {
		addresses = append(addresses, route.Backend.String())
		for _, more := range route.MoreBackends {
			addresses = append(addresses, more.String())
		}
	}
	if diff := cmp.Diff([]string{"https://one:443", "https://a:1", "https://b:2", "https://c:443"}, addresses); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	want := []upstream.Options{
		{Protocol: upstream.HTTP1, ConnectTimeout: upstream.DefaultConnectTimeout, HeaderTimeout: upstream.DefaultHeaderTimeout},
		{
			Protocol: upstream.HTTP2, Sticky: true, MaxRequests: 7, ConnectTimeout: 2 * time.Second, HeaderTimeout: 30 * time.Second,
			Draining: []string{"c:443"},
			Health:   upstream.Health{Path: "/healthz", Interval: 4 * time.Second, Timeout: 3 * time.Second, Unhealthy: 5, Healthy: 6},
		},
	}
	if diff := cmp.Diff(want, []upstream.Options{got[0].Upstream, got[1].Upstream}); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
}

func TestStatusShowsUpstreams(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	states := upstreamStates([]proxy.RouteUpstreams{{Route: "grafana", Upstreams: []upstream.Status{
		{Address: "a:8443", Healthy: true, InFlight: 3, Since: now.Add(-2 * time.Hour)},
		{Address: "b:8443", Since: now.Add(-5 * time.Second), Cause: "connecting to b:8443: refused"},
		{Address: "c:8443", Healthy: true, Draining: true, InFlight: 1, Since: now.Add(-time.Minute)},
	}}})
	var out bytes.Buffer
	if err := printStatus(&out, statusDocument{Service: "gateway", Version: "1", Now: now, Started: now, Ready: true, Upstreams: states}); err != nil {
		t.Fatal(err)
	}
	var rows [][]string
	for line := range strings.Lines(out.String()) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] == "grafana" {
			rows = append(rows, fields)
		}
	}
	want := [][]string{
		{"grafana", "a:8443", "up", "2h0m", "3", "-"},
		{"grafana", "b:8443", "down", "5s", "0", "connecting", "to", "b:8443:", "refused"},
		{"grafana", "c:8443", "draining", "1m0s", "1", "-"},
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s\n%s", diff, out.String())
	}
}
