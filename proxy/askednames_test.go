package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/policy"
)

// ownNames has the tool know people by names of its own, and tells it of no group.
func ownNames(cfg *proxy.Config) {
	cfg.Routes[0].Identity.Profiles = []header.Profile{{User: "My-User", Groups: "My-Groups"}}
	cfg.Routes[0].Rule = policy.NewRule(nil, nil, true)
}

// TestAnIngressIsToldOfEveryNameToRemove: what the gateway would not let a client say, and
// does not say itself of this person, Envoy is told to remove, whether or not it has shown
// the client's to the gateway.
func TestAnIngressIsToldOfEveryNameToRemove(t *testing.T) {
	w, ingress := newIngressWorld(t, ownNames)
	cookie := w.sessionOf(headersHost, "alice")
	for name, client := range map[string]http.Header{"shown": {"My-Groups": {"admins"}}, "not shown": {}} {
		res := ingress.about("envoy", original{http.MethodGet, headersHost, "/", withHeader(client, "Cookie", cookie)})
		if res.StatusCode != http.StatusOK || res.Header.Get("My-User") == "" {
			t.Fatalf("%s: %d %v", name, res.StatusCode, res.Header)
		}
		removed := "," + res.Header.Get("X-Envoy-Auth-Headers-To-Remove") + ","
		for _, want := range []string{"my-groups", "x-forwarded-user", "authorization", "x-http-method-override", "x-original-url", "x-rewrite-url"} {
			if !strings.Contains(removed, ","+want+",") {
				t.Errorf("%s: %s is not removed: %s", name, want, removed)
			}
		}
		if res.Header.Get(header.SetNames) != "" || res.Header.Get(header.Person) != "" {
			t.Errorf("%s: the ingress gets what is for a sidecar: %v", name, res.Header)
		}
	}
}

// TestOtherSpellingsAreNotAskedAbout: an ingress that cannot be told what to remove replaces
// names to the letter, and many tools read "_" and "." as "-". One that has removed them
// does not ask with them.
func TestOtherSpellingsAreNotAskedAbout(t *testing.T) {
	w, ingress := newIngressWorld(t, ownNames)
	cookie := w.sessionOf(headersHost, "alice")
	ask := func(of, name string) int {
		return ingress.about(of, original{http.MethodGet, headersHost, "/", http.Header{"Cookie": {cookie}, name: {"mallory"}}}).StatusCode
	}
	for _, of := range []string{"nginx", "traefik", "caddy"} {
		for _, name := range []string{"X_Forwarded_User", "X-Forwarded_User", "X.Forwarded.User", "Remote_User", "My_Groups", "my_groups", "X_Http_Method_Override"} {
			if status := ask(of, name); status != seenBy(of, http.StatusBadRequest) {
				t.Errorf("%s: %s: %d", of, name, status)
			}
		}
		for _, name := range []string{"X_Other", "X-Http-Method-Override"} {
			if status := ask(of, name); status >= 400 {
				t.Errorf("%s: %s, by which nothing is decided: %d", of, name, status)
			}
		}
	}
}

// TestNothingElseIsAskedForThanWasJudged: where rules decide on method and path, a tool
// must not be asked for another in a header.
func TestNothingElseIsAskedForThanWasJudged(t *testing.T) {
	w, ingress := newIngressWorld(t, func(cfg *proxy.Config) {
		cfg.Routes[0].Rule = policy.Rule{}
		cfg.Routes[0].Rules = []policy.PathRule{{Name: "readers", Methods: []string{http.MethodGet}, Paths: []string{"/open"}, Allow: policy.NewRule(nil, nil, true)}}
	})
	cookie := w.sessionOf(headersHost, "alice")
	for _, of := range []string{"nginx", "traefik", "caddy"} {
		for name, refused := range map[string]bool{
			"X-Http-Method-Override": true, "X-Method-Override": true, "X-Http-Method": true, "X-Rewrite-Url": true,
			"X-Original-Uri": true, "X-Original-Url": of != "nginx", "X-Plain": false,
		} {
			o := original{http.MethodGet, headersHost, "/open/x", http.Header{"Cookie": {cookie}, name: {"/admin"}}}
			if res := ingress.about(of, o); (res.StatusCode >= 400) != refused {
				t.Errorf("%s: %s: %d", of, name, res.StatusCode)
			}
		}
	}
}

func TestAnIngressHasNoUseForARouteWithoutATool(t *testing.T) {
	cfg := newWorld(t, nil).cfg
	cfg.Routes = append(cfg.Routes[:len(cfg.Routes):len(cfg.Routes)], proxy.Route{
		Name: "closed-for-now", Host: "repairs.example.test", ForwardAuth: true, Respond: &proxy.Respond{Status: http.StatusOK, Title: "Closed", Message: "Soon."},
	})
	if _, err := proxy.New(cfg); err == nil {
		t.Error("no error")
	}
}
