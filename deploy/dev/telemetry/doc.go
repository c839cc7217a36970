// Package telemetry tests that what Sallyport tells by the OpenTelemetry protocol
// arrives: records of the access log and spans, at the receiver of the OpenTelemetry
// Collector itself, in both of its protocols.
//
// It holds tests only. Run them with `make test`, or with
//
//	go -C deploy/dev test ./telemetry
package telemetry
