// Package e2e tests the whole of Sallyport from the outside: the demo's own
// processes, started by its own command, and people with a headless Chromium that
// trusts the demo's CA and nothing else besides the public ones.
//
// It holds tests only. They share one running demo, so their order is written
// down in one place, TestStack. What the demo does not have, such as a clock that
// can be put forward or a second identity provider, is in a house: a gateway in the
// test's own process, for the same browser. Run them with `make test`, or with
//
//	go -C deploy/dev test ./e2e
//
// DEMO_SCREENSHOTS=DIR saves pictures of the pages that are met on the way.
package e2e
