package main

import (
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/config"
)

// TestTemplatesThatWeShipAreGood: those of the reference and of every example.
func TestTemplatesThatWeShipAreGood(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../deploy/*/*/sidecar.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("examples %v, error %v", files, err)
	}
	for _, file := range append(files, "../../config/sidecar-reference.yaml") {
		if _, err := config.LoadSidecar(file, []byte(read(t, file)), inlineTemplatesAreGood); err != nil {
			t.Error(err)
		}
	}
}
