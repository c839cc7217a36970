// Command bench measures what the gateway and the sidecar cost, beside proxies that sign
// nobody in.
//
// Everything runs on loopback of one machine: a proxy on one core, and the load and
// the backend on another, with certificates of the same Vault. There are two places.
// At the door, each proxy ends TLS in front and speaks mutual TLS to the
// same backend; the gateway is the real one, with
// a session of a whole sign-on, and does all of its work. Beside a tool, each demands the
// gateway's certificate in front and speaks plain HTTP behind; the sidecar is the real
// one. In both, nginx and haproxy pass bytes
// on and write a log line; floor is Go's own reverse proxy, which writes none.
//
// What counts is the processor time of a proxy's whole process tree for each request
// (or megabyte, or connection), as a multiple of nginx's in the same round: rounds are
// short and the proxies of one figure follow each other at once, so that a machine that
// is slow for a while is slow for all of them. The table shows the median of the
// rounds' ratios and how far they lie apart.
//
//	bench [-places door,sidecar] [-rounds 5] [-seconds 2] [-peers nginx,floor,…] [-figures h1,h2,…]
//
// It needs the programs nginx, haproxy, wrk, h2load and taskset, two cores, and the
// minimal Vault that `make vault` builds. The other subcommands (backend, floor, load)
// are what it starts.
package main
