package http1_test

import (
	"io"
	"log"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) //nolint:forbidigo // net/http says there what backends send unasked
	goleak.VerifyTestMain(m)
}
