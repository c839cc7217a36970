// Package rpc tests that gRPC passes: calls of a real client, through the gateway and
// a sidecar, to a real server that knows neither.
//
// It holds tests only. Run them with `make test`, or with
//
//	go -C deploy/dev test ./rpc
package rpc
