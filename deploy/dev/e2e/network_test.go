package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// vaultWay is the way from the demo's processes to its Vault. It is good until a
// test makes it bad.
type vaultWay struct{ proxy *toxiproxy.Proxy }

// startNetwork leads to a port of loopback on which nobody needs to listen yet.
func startNetwork(port int) (*vaultWay, error) {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	n := &vaultWay{toxiproxy.NewProxy(server, "vault", "127.0.0.1:0", "127.0.0.1:"+strconv.Itoa(port))}
	if err := n.proxy.Start(); err != nil {
		return nil, fmt.Errorf("starting the network to Vault: %w", err)
	}
	return n, nil
}

// address is Vault's, by this network.
func (n *vaultWay) address() string { return "https://" + n.proxy.Listen }

func (n *vaultWay) stop() { n.proxy.Stop() }

// toxic is something that networks do, in toxiproxy's terms.
type toxic struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Stream     string         `json:"stream"`
	Attributes map[string]int `json:"attributes"`
}

// toxics are for what Vault answers; one is enough to make every call fail.
var toxics = []toxic{
	{"cut off in the middle", "limit_data", "downstream", map[string]int{"bytes": 2000}},
	{"reset", "reset_peer", "downstream", map[string]int{"timeout": 0}},
	{"slower than anybody waits", "latency", "downstream", map[string]int{"latency": 30000}},
	{"swallowed", "timeout", "upstream", map[string]int{"timeout": 0}},
}

func (n *vaultWay) poison(t *testing.T, with toxic) {
	t.Helper()
	text, err := json.Marshal(with)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.proxy.Toxics.AddToxicJson(strings.NewReader(string(text))); err != nil {
		t.Fatalf("making the network bad: %s: %v", with.Name, err)
	}
}

func (n *vaultWay) cure(t *testing.T, of toxic) {
	t.Helper()
	if err := n.proxy.Toxics.RemoveToxic(t.Context(), of.Name); err != nil {
		t.Fatalf("curing the network: %s: %v", of.Name, err)
	}
}

// heal cures the network of everything.
func (n *vaultWay) heal() { n.proxy.Toxics.ResetToxics(context.Background()) }

// badNetwork: the way to Vault is bad in one way after the other, each until the
// gateway and both sidecars have failed to renew a certificate over it. Nobody
// notices. That the renewals come when it is good again is what renewal sees.
func badNetwork(t *testing.T) {
	d, n := shared.demo, shared.way
	defer n.heal()
	whileAsking(t, func() {
		for i, bad := range toxics {
			before := d.failedRenewals(t)
			n.poison(t, bad)
			if i > 0 { // only now: no renewal is to slip through in between
				n.cure(t, toxics[i-1])
			}
			eventually(t, "renewals that fail, "+bad.Name, 4*time.Minute, func() error {
				for name, failed := range d.failedRenewals(t) {
					if failed <= before[name] {
						return fmt.Errorf("%s has told of %d", name, failed)
					}
				}
				return nil
			})
		}
	})
}

// failedRenewals counts what each process has told of so far.
func (d *demo) failedRenewals(t *testing.T) map[string]int {
	t.Helper()
	failed := map[string]int{}
	for _, name := range []string{"gateway", "sidecar-headers", "sidecar-notes"} {
		text, err := os.ReadFile(d.log(name))
		if err != nil {
			t.Fatal(err)
		}
		failed[name] = strings.Count(string(text), `"renewing the certificate did not succeed"`)
	}
	return failed
}
