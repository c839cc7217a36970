package interop

import (
	"bytes"
	"context"
	"regexp"
	"testing"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/saml"
)

// keyDescriptors are the signing keys of an identity provider's own role.
var keyDescriptors = regexp.MustCompile(`(?s)<(md:)?KeyDescriptor use="signing">.*?</(md:)?KeyDescriptor>`)

// joined is one metadata document with the signing keys of two, as an administrator
// makes it for an identity provider that publishes one key only.
func joined(t *testing.T, before, after []byte) []byte {
	t.Helper()
	key := keyDescriptors.Find(after)
	at := keyDescriptors.FindIndex(before)
	if key == nil || at == nil {
		t.Fatalf("no signing key in\n%s\n%s", before, after)
	}
	return bytes.Join([][]byte{before[:at[1]], key, before[at[1]:]}, nil)
}

// TestTheIdentityProviderChangesItsKey: announced, in use, alone. Nobody is kept out
// at any time, and whoever is signed in stays so.
func TestTheIdentityProviderChangesItsKey(t *testing.T) {
	with(t, func(sc *scene) {
		alone := sc.idp.describe()
		b := sc.signsOn()

		var both []byte
		if sc.idp.can().publishes {
			sc.change(func(s *settings) { s.next = "idp next" })
			both = sc.idp.describe()
			sc.change(func(s *settings) { s.next = "" })
		} else {
			sc.change(func(s *settings) { s.key = "idp next" })
			both = joined(sc.t, alone, sc.idp.describe())
			sc.change(func(s *settings) { s.key = "idp" })
		}
		if bytes.Equal(both, alone) {
			sc.t.Fatal("the next key is not announced")
		}
		sc.door.trust(both, plain)
		sc.step("the old key while the next is announced", func() { sc.signsOn() })

		sc.change(func(s *settings) { s.key = "idp next" })
		sc.step("the next key while the old is still there", func() { sc.signsOn() })

		sc.door.trust(sc.idp.describe(), plain)
		sc.step("the next key alone", func() { sc.signsOn() })
		sc.step("a session from before", func() {
			sc.door.lets(b, b.open(sc.door.tool()), "alice@example.com")
			sc.door.trust(sc.idp.describe(), plain)
			b.press(b.open(sc.door.front.origin+"/.sallyport/sign_out"), "/.sallyport/sign_out")
			sc.isOut(b)
		})

		sc.change(func(s *settings) { s.key = "idp" })
		sc.step("the old key is not trusted any more", func() {
			b := sc.idp.browser("alice")
			sc.door.refuses(b, b.open(sc.door.tool()), "unknown_certificate")
		})
	})
}

// TestTheIdentityProviderChangesItsKeyUnannounced: the door looks for new metadata
// before it refuses.
func TestTheIdentityProviderChangesItsKeyUnannounced(t *testing.T) {
	with(t, func(sc *scene) {
		sc.signsOn()
		sc.change(func(s *settings) { s.key = "idp next" })
		asked := 0
		sc.door.serve(func(cfg *proxy.Config) {
			cfg.Refresh = func(context.Context, string) proxy.ServiceProvider {
				asked++
				return sc.door.provider(sc.door.config(sc.idp.describe()), plain)
			}
		})
		sc.signsOn()
		if asked != 1 {
			sc.t.Errorf("metadata was fetched %d times, want 1", asked)
		}
	})
}

// TestTheDoorChangesItsKey: the same from the other side, with an identity provider
// that refuses what it cannot verify.
func TestTheDoorChangesItsKey(t *testing.T) {
	with(t, func(sc *scene) {
		metadata := sc.idp.describe()
		before := plain
		announced := func(cfg *saml.Config) {
			plain(cfg)
			cfg.Published = append(cfg.Published, keyPair(sc.t, "door next").cert)
		}
		changed := func(cfg *saml.Config) {
			plain(cfg)
			cfg.Published = append(cfg.Published, cfg.Certificate)
			cfg.Key, cfg.Certificate = keyPair(sc.t, "door next").key, keyPair(sc.t, "door next").cert
		}
		alone := func(cfg *saml.Config) { changed(cfg); cfg.Published = nil }
		for _, row := range []struct {
			name        string
			door, known func(*saml.Config) // what the door does, and what the identity provider knows of it
		}{
			{"the old key while the next is announced", announced, announced},
			{"the next key, by metadata from before the change", changed, announced},
			{"the next key first", changed, changed},
			{"the old key, by metadata from after the change", before, changed},
			{"the next key alone", alone, alone},
		} {
			sc.step(row.name, func() {
				sc.change(func(s *settings) { s.strict, s.door = true, sc.door.describe(row.known) })
				sc.door.trust(metadata, row.door)
				b := sc.signsOn()
				b.press(b.open(sc.door.front.origin+"/.sallyport/sign_out"), "/.sallyport/sign_out")
				sc.isOut(b)
			})
		}
	})
}
