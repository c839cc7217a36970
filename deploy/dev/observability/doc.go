// Package observability has tests alone: of the rules and the dashboard in
// deploy/observability, by Prometheus' own promtool. What they say of our metrics and
// pages is for the product's own tests to judge.
package observability
