package e2e

import (
	"context"
	_ "embed" // faultsOfLook
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// faultsOfLook is a script that finds what keeps somebody from reading or using a
// page: text of too little contrast (WCAG 2.2, 1.4.3), a page that is wider than the
// window (1.4.10), what is too small to be hit (2.5.8), a field without a label.
//
//go:embed testdata/look.js
var faultsOfLook string

// looksGood fails the test unless everybody can read the page that is shown, on a wide
// screen and on a narrow one, by day and by night; and takes pictures of it.
func (p *person) looksGood(name string) {
	p.t.Helper()
	for _, width := range []int64{1280, 360} {
		for _, scheme := range []string{"light", "dark"} {
			p.do(chromedp.EmulateViewport(width, 800), inColors(scheme))
			for _, fault := range ask(p, chromedp.Evaluate[[]string](faultsOfLook)) {
				p.t.Errorf("page %s, %s, %d px wide: %s", name, scheme, width, fault)
			}
			p.picture(fmt.Sprintf("%s-%d-%s", name, width, scheme))
		}
	}
	p.do(chromedp.ResetViewport(), inColors(""))
}

// inColors has pages show themselves light or dark; "" as ever.
func inColors(scheme string) chromedp.Action[chromedp.Void] {
	params := emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}, //nolint:misspell // CSS's spelling
	}
	return func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, params)
		return chromedp.Void{}, err
	}
}

// pagesLookGood: those that a browser is shown on the way of no other test.
func pagesLookGood(t *testing.T) {
	h := newHouse(t)
	p := newPerson(t)
	for name, query := range map[string]string{"everywhere": "?at_idp=everywhere&idp=corp", "partial": "?at_idp=partial&idp=partners", "not-told": ""} {
		p.open(h.origin(houseDoor) + "/.sallyport/signed_out" + query)
		p.sees("You are signed out", "All tools behind this door are closed.")
		p.looksGood("signed-out-" + name)
	}
	p.open(h.origin(houseDoor) + "/.sallyport/sign_out")
	p.sees("Sign out?")
	p.looksGood("sign-out")
}
