package interop

import (
	"testing"

	"github.com/sallyport/sallyport/saml"
)

// TestEncryptedAssertions: all three encrypt with AES-128-CBC and OAEP, however they are asked.
// The door takes that in a response whose own signature it verifies first, and only
// there.
func TestEncryptedAssertions(t *testing.T) {
	with(t, func(sc *scene) {
		metadata := sc.idp.describe()
		sc.change(func(s *settings) { s.encrypt, s.door = true, sc.door.describe(nil) })
		sc.door.trust(metadata, nil)
		for _, signs := range sc.idp.can().signings {
			sc.step("signed "+string(signs), func() {
				if signs != sc.set.signs {
					sc.change(func(s *settings) { s.signs = signs })
				}
				if signs != signsAssertion {
					sc.signsOn().is(signs, true)
					return
				}
				b := sc.idp.browser("alice")
				sc.door.refuses(b, b.open(sc.door.tool()), saml.CodeAlgorithm)
				b.is(signs, true)
			})
		}
	})
}

// TestTheDoorChangesItsEncryptionKey: an identity provider goes on with the metadata
// that it has for as long as it likes.
func TestTheDoorChangesItsEncryptionKey(t *testing.T) {
	with(t, func(sc *scene) {
		metadata := sc.idp.describe()
		keys := func(names ...string) func(*saml.Config) {
			return func(cfg *saml.Config) {
				cfg.Decryption = nil
				for _, name := range names {
					cfg.Decryption = append(cfg.Decryption, saml.DecryptionKey{Key: keyPair(sc.t, name).key, Certificate: keyPair(sc.t, name).cert})
				}
			}
		}
		sc.change(func(s *settings) { s.encrypt, s.door = true, sc.door.describe(keys("first")) })
		for _, row := range []struct {
			name   string
			door   []string // the door's keys, the one in use first
			told   []string // those that the identity provider is told of; nil: nothing new
			reason string
		}{
			{"one key", []string{"first"}, nil, ""},
			{"the next is there", []string{"first", "second"}, nil, ""},
			{"the next is in use, which nobody was told", []string{"second", "first"}, nil, ""},
			{"the next is in use", []string{"second", "first"}, []string{"second", "first"}, ""},
			{"the next alone", []string{"second"}, nil, ""},
			{"another one altogether", []string{"third"}, nil, saml.CodeDecryption},
		} {
			sc.step(row.name, func() {
				if row.told != nil {
					sc.change(func(s *settings) { s.door = sc.door.describe(keys(row.told...)) })
				}
				sc.door.trust(metadata, keys(row.door...))
				if row.reason == "" {
					sc.signsOn().is(signsBoth, true)
					return
				}
				b := sc.idp.browser("alice")
				sc.door.refuses(b, b.open(sc.door.tool()), row.reason)
			})
		}
	})
}
