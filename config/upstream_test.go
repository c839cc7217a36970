package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestExampleOfUpstreamsIsTrue loads what the page on upstreams shows.
func TestExampleOfUpstreamsIsTrue(t *testing.T) {
	blocks := fence.FindAllStringSubmatch(string(read(t, "../docs/upstreams.md")), -1)
	if len(blocks) != 1 {
		t.Fatalf("%d blocks of YAML, want 1", len(blocks))
	}
	gateway, err := LoadGateway("gateway.yaml", []byte(blocks[0][2]))
	if err != nil || len(gateway.Warnings()) > 0 {
		t.Fatalf("gateway.yaml: %v", err)
	}
	if b := gateway.Routes[0].Backend; len(b.Upstreams()) != 3 || !b.Health.On() {
		t.Errorf("the example says %+v", b)
	}
}

func TestBackendHasAsManyUpstreamsAsItMayAndNoMore(t *testing.T) {
	for n, want := range map[int]string{1: "", maxUpstreams: "", maxUpstreams + 1: "at most 32 entries"} {
		var urls strings.Builder
		for i := range n {
			fmt.Fprintf(&urls, "https://a-%d,", i)
		}
		_, err := LoadGateway("gateway.yaml", fmt.Appendf(nil, "door: {host: door.example.com}\nroutes: [{name: a, host: a.example.com, backend: {urls: [%s]}}]\n", urls.String()))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d upstreams: %v, want %q", n, err, want)
		}
	}
}
