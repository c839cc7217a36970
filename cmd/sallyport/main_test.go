package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain puts a sallyport on PATH that is this test binary, so that scripts
// and tests run the command as the process that it is.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"sallyport": main, "tool": toolMain})
}
