package sidecar

import (
	"net/http"
	"testing"
	"time"
)

// TestTheGatewayDecidesHowLongAnAnswerMayTake: a sidecar that gave up sooner would make
// of a long response_header of a route what the operator did not write.
func TestTheGatewayDecidesHowLongAnAnswerMayTake(t *testing.T) {
	const longest = time.Hour // of backend.timeouts.response_header in package config
	transport, ok := application{}.transport(true).(*http.Transport)
	if !ok || transport.ResponseHeaderTimeout <= longest {
		t.Errorf("an answer over h2c may take %v, want more than %v", transport.ResponseHeaderTimeout, longest)
	}
	if appHeaderTimeout <= longest {
		t.Errorf("an answer may take %v, want more than %v", appHeaderTimeout, longest)
	}
}
