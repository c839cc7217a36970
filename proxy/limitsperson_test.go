package proxy_test

import (
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/proxy"
)

func TestNobodyTakesThePlaceOfAllOthers(t *testing.T) {
	w := newWorld(t, func(cfg *proxy.Config) {
		cfg.Limits.Requests, cfg.Limits.PerPerson, cfg.Metrics = 8, 3, proxy.NewMetrics()
		cfg.Routes[0].Limits.Requests = 100
	})
	arrived, release := w.hold("/slow")
	defer release()
	greedy, again, other := w.browser(), w.browser(), w.browser()
	for _, b := range []*browser{greedy, again} {
		b.signIn(w.origin(headersHost)+"/", "alice")
	}
	other.signIn(w.origin(headersHost)+"/", "bob")
	waiting := w.keepBusy(greedy, w.origin(headersHost)+"/slow", 3, arrived)

	next := w.cfg
	next.Replaces = w.gateway
	replacement, err := proxy.New(next)
	if err != nil {
		t.Fatal(err)
	}
	w.live.Replace(replacement)
	for name, b := range map[string]*browser{"one too many": greedy, "with another session": again} {
		if res := b.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
	if res := other.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusOK {
		t.Errorf("somebody else: %d", res.StatusCode)
	}
	release()
	waiting()
	if res := greedy.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusOK {
		t.Errorf("afterwards: %d", res.StatusCode)
	}
	if n := w.counted("sallyport_requests_shed_total", "person"); n != 2 {
		t.Errorf("%v counted, want 2", n)
	}
	if shedding, _ := w.live.Gateway().Overload(); shedding {
		t.Error("the gateway says that it has too much to do")
	}
}
