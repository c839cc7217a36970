package proxy_test

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/saml"
)

// renewed is a service provider with newer metadata, and how often it was asked for.
type renewed struct {
	asked []string
	sp    proxy.ServiceProvider
}

func (r *renewed) refresh(ctx context.Context, idp string) proxy.ServiceProvider {
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 5*time.Second {
		panic("it may take as long as it likes")
	}
	r.asked = append(r.asked, idp)
	return r.sp
}

func TestNewMetadataIsLookedForOnce(t *testing.T) {
	tests := []struct {
		name, first string // what the answer is refused for
		newer       string // as whom the newer service provider verifies it; none if empty
		asked       int
		reason      string
	}{
		{"a key that became known", "refuse unknown_certificate", "carol", 1, "assertion_verified"},
		{"another key under the same certificate", "refuse signature", "carol", 1, "assertion_verified"},
		{"a key that nobody knows", "refuse unknown_certificate", "refuse unknown_certificate", 1, "unknown_certificate"},
		{"refused for something else then", "refuse unknown_certificate", "refuse audience", 1, "audience"},
		{"nothing new", "refuse unknown_certificate", "", 1, "unknown_certificate"},
		{"another refusal", "refuse audience", "carol", 0, "audience"},
		{"no refusal", "carol", "", 0, "assertion_verified"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			source := new(renewed)
			w, partner := newPartners(t, func(cfg *proxy.Config) { cfg.Refresh = source.refresh; cfg.Traces = proxy.NewTraces() })
			if test.newer != "" {
				source.sp = &translated{partner, test.first, test.newer}
			}
			b := w.browser()
			b.post(w.origin(doorHost)+"/saml/acs", "cross-site", url.Values{"RelayState": {"x"}, "SAMLResponse": {"x refuse unknown_certificate"}})
			if len(source.asked) > 0 {
				t.Error("a stranger has metadata looked up")
			}
			b.finish(b.navigate(w.origin(doorHost)+"/?idp=partner"), test.first)
			if want := slices.Repeat([]string{"partner"}, test.asked); !slices.Equal(source.asked, want) {
				t.Errorf("looked up: %q, want %q", source.asked, want)
			}
			found := slices.ContainsFunc(w.cfg.Traces.All(), func(traced proxy.Traced) bool { return traced.Reason == test.reason && traced.IdP == "partner" })
			if !found {
				t.Errorf("no trace with the reason %s: %+v", test.reason, w.cfg.Traces.All())
			}
		})
	}
}

// translated verifies one answer as another.
type translated struct {
	*scriptedSAML
	from, to string
}

func (s *translated) Verify(ctx context.Context, p saml.Post, want saml.Expectation) (*saml.Principal, error) {
	p.Response = strings.Replace(p.Response, s.from, s.to, 1)
	return s.scriptedSAML.Verify(ctx, p, want)
}
