package interop

import (
	"bytes"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/saml"
)

// onlyBy leaves in a metadata document the single logout services of one binding.
func onlyBy(t *testing.T, metadata []byte, binding string) []byte {
	t.Helper()
	kept := regexp.MustCompile(`(?s)<(md:)?SingleLogoutService\b[^>]*(/>|></(md:)?SingleLogoutService>)`).ReplaceAllFunc(metadata, func(element []byte) []byte {
		if bytes.Contains(element, []byte(`"urn:oasis:names:tc:SAML:2.0:bindings:`+binding+`"`)) {
			return element
		}
		return nil
	})
	if !bytes.Contains(kept, []byte("SingleLogoutService")) {
		t.Fatalf("no single logout by %s in\n%s", binding, metadata)
	}
	return kept
}

// bindings are those of logout messages, and how the browser carries them.
var bindings = []struct{ name, method string }{{"HTTP-Redirect", "GET"}, {"HTTP-POST", "POST"}}

func TestSigningOutAtTheDoor(t *testing.T) {
	with(t, func(sc *scene) {
		metadata := sc.idp.describe()
		for _, by := range bindings {
			sc.door.trust(onlyBy(sc.t, metadata, by.name), plain)
			sc.step("request by "+by.name, func() {
				b := sc.signsOn()
				b.trail = nil
				p := b.press(b.open(sc.door.front.origin+"/.sallyport/sign_out"), "/.sallyport/sign_out")
				if p.url.Path != "/.sallyport/signed_out" {
					sc.t.Fatalf("the way ends on %s:\n%s\n%s", p.url, strings.Join(b.trail, "\n"), sc.door.log.text())
				}
				if !b.went(by.method + " https://" + hostOf(sc.idp)) {
					sc.t.Errorf("the identity provider was not asked by %s:\n%s", by.name, strings.Join(b.trail, "\n"))
				}
				if got := sc.door.reason("signout", "allow", "public", "logout_response"); got != "public" && got != "logout_response" {
					sc.t.Errorf("the identity provider's answer: %s", got)
				}
				sc.isOut(b)
			})
		}
	})
}

func TestSigningOutAtTheIdentityProvider(t *testing.T) {
	with(t, func(sc *scene) {
		for _, by := range bindings {
			sc.step("request by "+by.name, func() {
				sc.change(func(s *settings) { s.door = onlyBy(sc.t, sc.door.describe(plain), by.name) })
				b := sc.signsOn()
				b.trail = nil
				p := b.open(sc.idp.signOut())
				if p.form("/signout") != nil {
					b.press(p, "/signout")
				}
				if !b.went(by.method + " " + sc.door.front.origin + "/saml/slo") {
					sc.t.Errorf("the door was not asked by %s:\n%s", by.name, strings.Join(b.trail, "\n"))
				}
				if got := sc.door.reason("signout", "allow", "logout_request"); got != "logout_request" {
					sc.t.Errorf("the door's record: %s", got)
				}
				sc.isOut(b)
			})
		}
	})
}

// isOut fails the test unless both the door and the identity provider have forgotten
// the browser.
func (sc *scene) isOut(b *browser) {
	sc.t.Helper()
	before := b.passwords
	sc.door.lets(b, b.open(sc.door.tool()), "alice@example.com")
	if b.passwords == before {
		sc.t.Errorf("no password was asked for after signing out; the way was\n%s\n%s", strings.Join(b.trail, "\n"), sc.door.log.text())
	}
}

// TestLogoutSignedByAStranger: nobody is signed out by a message that is signed with a
// key that its receiver does not know.
func TestLogoutSignedByAStranger(t *testing.T) {
	with(t, func(sc *scene) {
		metadata := sc.idp.describe()
		sc.step("at the identity provider", func() {
			b := sc.signsOn()
			sc.door.trust(metadata, func(cfg *saml.Config) {
				plain(cfg)
				cfg.Key, cfg.Certificate = keyPair(sc.t, "stranger").key, keyPair(sc.t, "stranger").cert
			})
			if p := b.press(b.open(sc.door.front.origin+"/.sallyport/sign_out"), "/.sallyport/sign_out"); b.went("GET "+sc.door.front.origin+"/saml/slo") || p.status == http.StatusOK && strings.Contains(p.url.Host, doorHost) {
				sc.t.Errorf("the identity provider answers a stranger:\n%s", strings.Join(b.trail, "\n"))
			}
			sc.door.trust(metadata, plain)
			before := b.passwords
			sc.door.lets(b, b.open(sc.door.tool()), "alice@example.com")
			if b.passwords != before {
				sc.t.Error("the identity provider has signed somebody out for a stranger")
			}
		})
		sc.step("at the door", func() {
			b := sc.signsOn()
			sc.change(func(s *settings) { s.key = "stranger" })
			if p := b.open(sc.idp.signOut()); p.form("/signout") != nil {
				b.press(p, "/signout")
			}
			if got := sc.door.reason("signout", "deny", saml.CodeUnknownCertificate, saml.CodeSignature); got != saml.CodeUnknownCertificate && got != saml.CodeSignature {
				sc.t.Errorf("refused for %q; the log is\n%s", got, sc.door.log.text())
			}
			before := b.passwords
			sc.door.lets(b, b.open(sc.door.tool()), "alice@example.com")
			if b.passwords != before {
				sc.t.Error("the door has signed somebody out for a stranger")
			}
		})
	})
}
