package proxy_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
)

// partnerIsOut leaves the partner configured, without anybody being able to sign in
// there.
func partnerIsOut(cfg *proxy.Config) {
	cfg.IdPs, cfg.OutIdPs = cfg.IdPs[:1], map[string]string{"partner": "https://idp.partner.example"}
}

// An identity provider that is out for a while takes nobody's session along: its
// people cannot sign in there, and work on.
func TestPeopleOfAnIdPThatIsOutStaySignedIn(t *testing.T) {
	w, _ := newPartners(t, func(cfg *proxy.Config) { cfg.Routes[0].IdPs = []string{"partner"} })
	released := make(chan struct{})
	w.backend.mux.HandleFunc("/stream", func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(rw, "first\n")
		_ = http.NewResponseController(rw).Flush()
		select {
		case <-released:
			_, _ = io.WriteString(rw, "last\n")
		case <-r.Context().Done():
		}
	})
	b := w.browser()
	if res := b.finish(b.toDoor(w.origin(headersHost)+"/"), "carol"); res.StatusCode != http.StatusOK {
		t.Fatalf("signing in: %d", res.StatusCode)
	}
	stream, err := b.client.Do(b.request(http.MethodGet, w.origin(headersHost)+"/stream", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if _, err := io.ReadFull(stream.Body, make([]byte, len("first\n"))); err != nil {
		t.Fatal(err)
	}

	w.replace(partnerIsOut)
	close(released)
	if rest, err := io.ReadAll(stream.Body); err != nil || string(rest) != "last\n" {
		t.Errorf("what was under way: %q, %v", rest, err)
	}
	if res := b.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusOK {
		t.Errorf("a session of its people: %d", res.StatusCode)
	}
	if res := b.navigate(w.origin(doorHost) + "/"); res.StatusCode != http.StatusOK || !strings.Contains(res.body, w.origin(headersHost)) {
		t.Errorf("their tools: %d\n%s", res.StatusCode, res.body)
	}
	if res := b.navigate(b.navigate(w.origin(notesHost) + "/").Header.Get("Location")); askedWith(res) != idpSignOn {
		t.Errorf("a tool of the other's people asks them with %q", askedWith(res))
	}
	if line := w.last(b); line["event.reason"] != "other_idp" {
		t.Errorf("line %v", line)
	}
	if res := w.browser().toDoor(w.origin(headersHost) + "/"); res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(res.body, "Signing in does not work now") {
		t.Errorf("somebody who is not signed in: %d\n%s", res.StatusCode, res.body)
	}

	w.replace(func(cfg *proxy.Config) { cfg.IdPs, cfg.Routes[0].IdPs = cfg.IdPs[:1], nil })
	if res := b.navigate(w.origin(headersHost) + "/"); res.StatusCode != http.StatusSeeOther {
		t.Errorf("after it was taken out of the configuration: %d", res.StatusCode)
	}
	if line := w.last(b); line["event.reason"] != "idp_removed" {
		t.Errorf("line %v", line)
	}
}

// Whoever has to prove more, where nobody can, is told so.
func TestStepUpAtAnIdPThatIsOut(t *testing.T) {
	w, partner := newPartners(t, func(cfg *proxy.Config) { cfg.Routes[0].StepUp.MaxAge = 5 * time.Minute })
	old := partner.people["carol"]
	old.AuthnInstant = time.Now().Add(-time.Hour)
	partner.people["old"] = old
	b := w.browser()
	b.finish(b.navigate(w.origin(doorHost)+"/?idp=partner"), "old")
	w.replace(partnerIsOut)
	res := b.toDoor(w.origin(headersHost) + "/")
	if res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(res.body, "Signing in does not work now") {
		t.Errorf("%d\n%s", res.StatusCode, res.body)
	}
	if line := w.last(b); line["event.reason"] != "no_idp" || line["sallyport.decision"] != "deny" || line["user.name"] != "carol@partner.example" {
		t.Errorf("line %v", line)
	}
}
