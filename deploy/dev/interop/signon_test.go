package interop

import (
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/saml"
)

// scene is an identity provider and a door that know each other.
type scene struct {
	*stage
	door *door
	idp  provider
	set  settings // of the identity provider
}

// with runs a test for each identity provider, with all that it signs signed and
// nothing encrypted.
func with(t *testing.T, run func(*scene)) {
	t.Helper()
	for _, p := range []struct {
		name string
		make func(*stage, *door) provider
	}{
		{"SimpleSAMLphp", newSimpleSAMLphp}, {"LemonLDAP", newLemonLDAP}, {"crewjam", newCrewjam},
	} {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			d := newDoor(t, s)
			sc := &scene{stage: s, door: d, idp: p.make(s, d)}
			sc.set = settings{signs: signsBoth, key: "idp", door: d.describe(plain)}
			sc.idp.configure(sc.set)
			d.trust(sc.idp.describe(), plain)
			run(sc)
		})
	}
}

// plain leaves the door without a key to decrypt with.
func plain(cfg *saml.Config) { cfg.Decryption = nil }

func byPost(cfg *saml.Config) { cfg.RequestBinding = saml.BindingPost }

// change has the identity provider go on with other settings.
func (sc *scene) change(change func(*settings)) {
	sc.t.Helper()
	change(&sc.set)
	sc.idp.configure(sc.set)
}

// signsOn has somebody whom neither knows open the tool.
func (sc *scene) signsOn() *browser {
	sc.t.Helper()
	b := sc.idp.browser("alice")
	sc.door.lets(b, b.open(sc.door.tool()), "alice@example.com")
	if b.passwords != 1 {
		sc.t.Errorf("%d passwords typed, want 1", b.passwords)
	}
	return b
}

// is fails the test unless the last response was signed and encrypted like that.
func (b *browser) is(signs signing, encrypted bool) {
	b.t.Helper()
	doc := etree.NewDocument()
	if err := doc.ReadFromString(b.response); err != nil {
		b.t.Fatal(err)
	}
	root := doc.Root()
	if got := root.FindElement("./EncryptedAssertion") != nil; got != encrypted {
		b.t.Errorf("encrypted: %v, want %v:\n%s", got, encrypted, b.response)
	}
	if got := root.FindElement("./Signature") != nil; got != (signs != signsAssertion) {
		b.t.Errorf("response signed: %v, with %q", got, signs)
	}
	if got := root.FindElement("./Assertion/Signature") != nil; !encrypted && got != (signs != signsResponse) {
		b.t.Errorf("assertion signed: %v, with %q", got, signs)
	}
}

func TestSignOn(t *testing.T) {
	with(t, func(sc *scene) {
		for _, signs := range sc.idp.can().signings {
			sc.step("signed "+string(signs), func() {
				sc.change(func(s *settings) { s.signs = signs })
				sc.signsOn().is(signs, false)
			})
		}
		sc.change(func(s *settings) { s.signs = signsBoth })
		sc.step("groups and rules", func() {
			b := sc.idp.browser("bob")
			sc.door.lets(b, b.open(sc.door.tool()), "bob@example.com, support")
			if p := b.open(sc.door.origin(vaultsHost) + "/"); p.status != 403 {
				sc.t.Errorf("a tool for others answers %d", p.status)
			}
		})
		sc.step("known already", func() {
			b := sc.signsOn()
			b.cookies.forget(doorHost, toolHost)
			sc.door.lets(b, b.open(sc.door.tool()), "alice@example.com")
			if b.passwords != 1 {
				sc.t.Errorf("%d passwords typed, want 1", b.passwords)
			}
		})
	})
}

func TestRequests(t *testing.T) {
	with(t, func(sc *scene) {
		sc.change(func(s *settings) { s.strict = true })
		sc.step("signed, by redirect", func() { sc.signsOn() })
		metadata := sc.idp.describe()
		sc.door.trust(metadata, func(cfg *saml.Config) { plain(cfg); byPost(cfg) })
		sc.step("signed, by POST", func() {
			if b := sc.signsOn(); !b.went("POST https://" + hostOf(sc.idp)) {
				sc.t.Errorf("no POST to the identity provider:\n%s", strings.Join(b.trail, "\n"))
			}
		})
		// A key that the identity provider was not told of is as good as none.
		stranger := func(cfg *saml.Config) {
			plain(cfg)
			cfg.Key, cfg.Certificate = keyPair(sc.t, "stranger").key, keyPair(sc.t, "stranger").cert
		}
		for name, binding := range map[string]func(*saml.Config){"redirect": func(*saml.Config) {}, "POST": byPost} {
			sc.door.trust(metadata, func(cfg *saml.Config) { stranger(cfg); binding(cfg) })
			sc.step("signed by a stranger, by "+name, func() {
				b := sc.idp.browser("alice")
				if p := b.open(sc.door.tool()); strings.HasPrefix(p.text, "tool of") || b.response != "" {
					sc.t.Errorf("the identity provider answers a stranger's request:\n%s", strings.Join(b.trail, "\n"))
				}
			})
		}
	})
}

func TestSignOnThatBeginsAtTheIdentityProvider(t *testing.T) {
	with(t, func(sc *scene) {
		if sc.idp.unsolicited() == "" {
			return
		}
		sc.step("is refused unless it is wanted", func() {
			b := sc.idp.browser("alice")
			p := b.open(sc.idp.unsolicited())
			sc.door.refuses(b, p, "no_pending_signin")
		})
		metadata := sc.idp.describe()
		sc.door.serve(func(cfg *proxy.Config) {
			cfg.IdPs = []proxy.IdP{{Name: "corp", Title: "Corporate", Landing: sc.door.tool(), SAML: sc.door.provider(sc.door.config(metadata), func(cfg *saml.Config) {
				plain(cfg)
				cfg.UnsafeUnsolicited = true
			})}}
		})
		sc.step("leads to the landing page", func() {
			b := sc.idp.browser("alice")
			sc.door.lets(b, b.open(sc.idp.unsolicited()), "alice@example.com")
		})
	})
}

func TestClocks(t *testing.T) {
	with(t, func(sc *scene) {
		metadata := sc.idp.describe()
		for _, c := range []struct {
			name   string
			ahead  time.Duration
			reason string
		}{
			{"a minute ahead", time.Minute, ""},
			{"a minute behind", -time.Minute, ""},
			{"nine minutes ahead", 9 * time.Minute, "expired"},
		} {
			sc.door.trust(metadata, func(cfg *saml.Config) {
				plain(cfg)
				cfg.Now = func() time.Time { return time.Now().Add(c.ahead) }
			})
			sc.step(c.name, func() {
				if c.reason == "" {
					sc.signsOn()
					return
				}
				b := sc.idp.browser("alice")
				sc.door.refuses(b, b.open(sc.door.tool()), c.reason)
			})
		}
	})
}
