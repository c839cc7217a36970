package main

import (
	"crypto/tls"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/policy"
)

func TestRoutingIsThatOfTheConfiguration(t *testing.T) {
	text, err := os.ReadFile("../../config/testdata/gateway/routing.good.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.LoadGateway("test", text)
	if err != nil {
		t.Fatal(err)
	}
	type route struct {
		Name, Host, Path, Backend, BackendHost string
		Strip                                  bool
		Redirect                               *proxy.Redirect
		Respond                                *proxy.Respond
	}
	var got []route
	var rules []policy.PathRule
	for _, r := range routes(cfg, func(string) *tls.Config { return &tls.Config{MinVersion: tls.VersionTLS13} }) {
		flat := route{r.Name, r.Host, r.Path, "", r.BackendHost, r.StripPath, r.Redirect, r.Respond}
		if r.Backend != nil {
			flat.Backend = r.Backend.String()
		}
		if (r.TLS == nil) != (r.Backend == nil) {
			t.Errorf("route %s has a backend without TLS, or TLS without a backend", r.Name)
		}
		got, rules = append(got, flat), append(rules, r.Rules...)
	}
	want := []route{
		{Name: "apps", Host: "*.apps.example.com", Path: "/", Backend: "https://apps:443"},
		{Name: "own", Host: "own.apps.example.com", Path: "/", Backend: "https://own:443", BackendHost: "own:443"},
		{Name: "grafana", Host: "tools.example.com", Path: "/grafana", Backend: "https://grafana:8443", BackendHost: "grafana.internal:3000", Strip: true},
		{Name: "deep", Host: "tools.example.com", Path: "/grafana/deep", Backend: "https://deep:443"},
		{Name: "old", Host: "tools.example.com", Path: "/old", Redirect: &proxy.Redirect{To: "/grafana", Status: 308, KeepPath: true}},
		{Name: "away", Host: "tools.example.com", Path: "/away", Redirect: &proxy.Redirect{To: "https://elsewhere.example.org/x?y=1", Status: 302}},
		{Name: "rest", Host: "tools.example.com", Path: "/", Respond: &proxy.Respond{Status: 404, Title: "Nothing here", Message: "The tools are elsewhere."}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	wanted := []policy.PathRule{
		{Name: "admin", Paths: []string{"/grafana/admin"}, Allow: policy.NewRule(nil, []string{"admins"}, false), Deny: policy.NewRule(nil, nil, false)},
		{
			Name: "rule-2", Methods: []string{"POST", "DELETE"}, Exact: []string{"/grafana/api/", "/grafana/api"},
			Allow: policy.NewRule(nil, nil, true), Deny: policy.NewRule([]string{"bob@example.com"}, nil, false),
		},
		{Name: "rule-3", Methods: []string{"POST"}, Paths: []string{"/grafana/api"}, Allow: policy.NewRule(nil, nil, false), Deny: policy.NewRule(nil, nil, false)},
	}
	if diff := cmp.Diff(wanted, rules, cmp.AllowUnexported(policy.Rule{})); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	s := spec(cfg)
	if diff := cmp.Diff([]string{"door.apps.example.com", "*.apps.example.com", "own.apps.example.com", "tools.example.com"}, s.EdgeHosts); diff != "" {
		t.Errorf("edge hosts (-want +got):\n%s", diff)
	}
	if len(s.Sidecars) != 4 {
		t.Errorf("sidecars %+v, expected one for each route with a backend", s.Sidecars)
	}
}
