package main

import "slices"

// place is where proxies are measured: with what in front of them, and what behind.
type place struct {
	name   string
	title  string   // of its table
	ports  int      // of the first peer
	server string   // file, without its ending, of the certificate that peers show
	peers  []string // who is measured here
	// figures are what is measured.
	figures []figure
}

// The places.
var (
	door = place{
		name: "door", title: "At the door, mutual TLS behind", ports: portPeers, server: "server", peers: []string{"nginx", "haproxy", "floor", "gateway"},
		figures: []figure{
			{name: "h1", title: "1 KiB, HTTP/1.1", unit: "µs a request", measure: wrk("/1k", 64, 1)},
			{name: "h2", title: "1 KiB, HTTP/2, 64 × 1", unit: "µs a request", measure: h2load(64, 1)},
			{name: "h2m", title: "1 KiB, HTTP/2, 8 × 8", unit: "µs a request", measure: h2load(8, 8)},
			{name: "100k", title: "100 KiB", unit: "µs a MB", measure: wrk("/100k", 16, 100<<10)},
			{name: "10m", title: "10 MiB", unit: "µs a MB", measure: wrk("/10m", 4, 10<<20)},
			{name: "new", title: "new connection, full", unit: "µs a connection", measure: connections(false)},
			{name: "resumed", title: "new connection, resumed", unit: "µs a connection", measure: connections(true)},
			{name: "p50", title: "median at 500 a second", unit: "µs", measure: latency},
			{name: "idle", title: "idle connection", unit: "bytes", measure: idle(3000), once: true},
			{name: "signon", title: "whole sign-on", unit: "µs", measure: signOn, only: "gateway"},
		},
	}
	// beside is that of a sidecar, whose peer is a gateway: few connections that are kept,
	// over HTTP/1.1.
	beside = place{
		name: "sidecar", title: "Beside a tool, mutual TLS in front", ports: portPeers + 10, server: "backend", peers: []string{"nginx", "haproxy", "floor", "sidecar"},
		figures: []figure{
			{name: "h1", title: "1 KiB, HTTP/1.1", unit: "µs a request", measure: requests("/1k", 64, 1)},
			{name: "100k", title: "100 KiB", unit: "µs a MB", measure: requests("/100k", 16, 100<<10)},
			{name: "10m", title: "10 MiB", unit: "µs a MB", measure: requests("/10m", 4, 10<<20)},
			{name: "new", title: "new connection, full", unit: "µs a connection", measure: connections(false)},
			{name: "p50", title: "median at 500 a second", unit: "µs", measure: latency},
			{name: "idle", title: "idle connection", unit: "bytes", measure: idle(500), once: true},
		},
	}
)

// placesOf are those of some names, in their order.
func placesOf(names []string) (all []place) {
	for _, p := range []place{door, beside} {
		if slices.Contains(names, p.name) {
			all = append(all, p)
		}
	}
	return all
}
