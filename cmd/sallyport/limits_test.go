package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
)

// TestPageOfLimitsIsTrue holds docs/limits.md to the defaults of the configuration, and
// those to what package proxy does without one.
func TestPageOfLimitsIsTrue(t *testing.T) {
	cfg, err := config.LoadGateway("gateway.yaml", []byte("door: {host: door.example.com}\nroutes: [{name: a, host: a.example.com, backend: {url: https://a}}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	add := func(prefix string, value any) {
		of := reflect.ValueOf(value)
		for i := range of.NumField() {
			text := ""
			switch field := of.Field(i).Interface().(type) {
			case config.Duration:
				text = field.String()
			case int:
				text = strconv.Itoa(field)
			}
			want[prefix+of.Type().Field(i).Tag.Get("yaml")] = text
		}
	}
	add("limits.", cfg.Limits)
	add("routes[].limits.", cfg.Routes[0].Limits)
	got := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_.\\[\\]]+)` \\| ([^|]+) \\|").FindAllStringSubmatch(readPage(t, "limits.md"), -1) {
		got[row[1]] = row[2]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/limits.md (-configuration +page):\n%s", diff)
	}
	bare := proxy.Limits{
		Requests: proxy.DefaultRequests, StrangersPerSecond: proxy.DefaultStrangersPerSecond, URLBytes: proxy.DefaultURLBytes,
		HeaderNames: proxy.DefaultHeaderNames, Stall: proxy.DefaultStall, Memory: memoryLimit("/"),
	}
	if diff := cmp.Diff(bare, gatewayLimits(cfg.Limits)); diff != "" {
		t.Errorf("limits (-proxy +configuration):\n%s", diff)
	}
}

func TestLimitsAndAnswersOfARouteAreTranslated(t *testing.T) {
	wiki, old := config.Origin{Scheme: "https", Host: "wiki", Port: 443}, config.Origin{Scheme: "http", Host: "old", Port: 3000}
	got := answersOf(config.Answers{
		Frames: "tool", FrameOrigins: []config.Origin{wiki}, SetHeaders: []config.HeaderLine{{Name: "A", Value: "b"}},
		RemoveHeaders: []string{"C"}, RewriteLocation: []config.Origin{old}, UnsafeCookieDomain: true,
	})
	want := proxy.Answers{
		Frames: proxy.FramesTool, FrameOrigins: []string{"https://wiki:443"}, Set: []proxy.HeaderLine{{Name: "A", Value: "b"}},
		Remove: []string{"C"}, Origins: []string{"http://old:3000"}, UnsafeCookieDomain: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if got := answersOf(config.Answers{Frames: "nobody"}).Frames; got != proxy.FramesNobody {
		t.Errorf("frames %q", got)
	}
	limits := routeLimits(config.RouteLimits{Requests: 1, BodyMiB: 2, HeaderBytes: 3})
	if diff := cmp.Diff(proxy.RouteLimits{Requests: 1, BodyBytes: 2 << 20, HeaderBytes: 3}, limits); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
}

// TestClientsOfABalancerAreCountedEach: behind the PROXY protocol, one address is one
// client's and not the balancer's.
func TestClientsOfABalancerAreCountedEach(t *testing.T) {
	r := reception{
		balancers: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		limit:     connectionLimits(config.Limits{Connections: 100, ConnectionsPerAddress: 1, Stall: config.Duration{Duration: time.Minute}}, proxy.NewMetrics()),
	}
	address, trust, _ := receiveWith(t, r)
	greet := func(client string) error {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := fmt.Fprintf(conn, "PROXY TCP4 %s 192.0.2.99 1111 443\r\n", client); err != nil {
			t.Fatal(err)
		}
		return tls.Client(conn, trust).HandshakeContext(t.Context())
	}
	for _, client := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		if err := greet(client); err != nil {
			t.Errorf("the first connection of %s: %v", client, err)
		}
	}
	if err := greet("192.0.2.2"); err == nil {
		t.Error("a second connection of one client was let in")
	}
}
