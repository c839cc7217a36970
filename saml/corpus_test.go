package saml

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type signing int

const (
	signAssertion signing = iota
	signResponse
	signBoth
	signNothing
)

// attack is one response, and what must become of it. Letters: A wrapping and
// coverage, B keys and algorithms, C content, D encryption, E parser and resources, P what
// must pass.
type attack struct {
	id, name string
	sign     signing
	key      string                                  // of the identity provider; empty: RSA 2048
	idp      func(*testing.T, *testIdP)              // before anything
	edit     func(testing.TB, *message)              // before signing
	encrypt  *encryption                             // of the assertion, after it is signed
	after    func(testing.TB, *message)              // after signing
	raw      func(string) string                     // the XML as text
	encode   func(raw []byte) string                 // instead of base64
	config   func(*testing.T, *Config, *testIdP)     // of the service provider
	request  *string                                 // what this browser began; nil: testRequestID
	expect   Expectation                             // of the answer, besides
	clock    time.Duration                           // how far our clock is ahead of the identity provider's
	check    func(t *testing.T, principal Principal) // of what was accepted
	want     string                                  // code; empty: accepted
}

// corpus is every case, in the order of their letters. It must not be changed.
var corpus = sync.OnceValue(func() []attack {
	return slices.Concat(wellBehaved(), wrappings(), coverage(), signatureForms(), keys(), pairs(),
		contents(), encryptions(), occasions(), signOns(), identities(), documents(), resources(), inventions())
})

// scene is a case of the corpus ready to be played: who sends the response, who judges
// it, which request this browser was given, and the response as it arrives.
type scene struct {
	idp               *testIdP
	cfg               Config
	request, response string
}

// scenes are those that were made in this run, by the id of their case: several tests
// play each, and what takes the time is to sign it.
var scenes sync.Map // id -> *onceScene

type onceScene struct {
	mu   sync.Mutex
	made *scene // guarded by mu
}

// scene makes the scene of a case of the corpus, once. It must not be changed.
func (a attack) scene(t *testing.T) scene {
	t.Helper()
	entry, _ := scenes.LoadOrStore(a.id, &onceScene{})
	once := entry.(*onceScene)
	once.mu.Lock()
	defer once.mu.Unlock()
	if once.made == nil {
		made := a.newScene(t)
		once.made = &made
	}
	return *once.made
}

// build returns the response as it arrives.
func (a attack) build(t testing.TB, idp *testIdP) string {
	t.Helper()
	m := newMessage(t, testResponse)
	if a.edit != nil {
		a.edit(t, m)
	}
	if a.sign == signAssertion || a.sign == signBoth {
		idp.sign(t, m.assertion)
	}
	if a.encrypt != nil {
		a.encrypt.apply(t, m)
	}
	if a.sign == signResponse || a.sign == signBoth {
		idp.sign(t, m.root)
	}
	if a.after != nil {
		a.after(t, m)
	}
	raw := m.bytes(t)
	if a.raw != nil {
		raw = []byte(a.raw(string(raw)))
	}
	if a.encode != nil {
		return a.encode(raw)
	}
	return encode(raw)
}

// newScene makes the scene of any case.
func (a attack) newScene(t *testing.T) scene {
	t.Helper()
	key := a.key
	if key == "" {
		key = "rsa-idp"
	}
	idp := newTestIdP(t, key)
	if a.idp != nil {
		a.idp(t, idp)
	}
	cfg := testConfig(t, idp)
	cfg.Now = func() time.Time { return testNow.Add(a.clock) }
	if a.encrypt != nil {
		cfg.Decryption = decryptionKeys(t, "rsa-dec")
	}
	if a.config != nil {
		a.config(t, &cfg, idp)
	}
	request := testRequestID
	if a.request != nil {
		request = *a.request
	}
	return scene{idp, cfg, request, a.build(t, idp)}
}

// run posts the response and returns the code and who came of it.
func (a attack) run(t *testing.T) (string, *Principal) {
	t.Helper()
	code, principal, _ := a.traced(t)
	return code, principal
}

// traced is run, with the trace, which is looked at too.
func (a attack) traced(t *testing.T) (string, *Principal, Trace) {
	t.Helper()
	s := a.scene(t)
	var trace Trace
	want := a.expect
	want.RequestID, want.Trace = s.request, &trace
	principal, err := newTestSP(t, s.cfg).Verify(t.Context(), Post{Response: s.response}, want)
	if err != nil {
		t.Logf("refused: %v", err)
	}
	checkTrace(t, a.id, trace, codeOf(t, err))
	return codeOf(t, err), principal, trace
}

func TestCorpus(t *testing.T) {
	for _, a := range corpus() {
		t.Run(a.id+" "+a.name, func(t *testing.T) {
			t.Parallel()
			got, principal := a.run(t)
			if got != a.want {
				t.Fatalf("code %q, want %q", got, a.want)
			}
			if (principal != nil) != (a.want == "") {
				t.Fatalf("principal %v with code %q", principal, got)
			}
			if a.check != nil {
				a.check(t, *principal)
			}
		})
	}
}

func TestCorpusHasEachIDOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range corpus() {
		if seen[a.id] {
			t.Errorf("two cases %s", a.id)
		}
		seen[a.id] = true
		if a.check != nil && a.want != "" {
			t.Errorf("%s checks a principal that must not be", a.id)
		}
	}
	if len(seen) < 280 {
		t.Errorf("%d cases, some got lost", len(seen))
	}
}

// TestCorpusReachesEveryCode: a refusal that no input can provoke is dead, or
// its check is.
func TestCorpusReachesEveryCode(t *testing.T) {
	elsewhere := []string{ // not for what the XML says: tests of their own
		CodeMethod, CodeContentType, CodeBodySize, CodeForm, CodeQuery, CodeRelayState, CodeBusy,
		CodeIdPMetadataExpired, CodeReplay, CodeReplayFull, CodeInternal,
	}
	reached := map[string]bool{}
	for _, a := range corpus() {
		reached[a.want] = true
	}
	for _, code := range declaredCodes(t) {
		if !reached[code] && !slices.Contains(elsewhere, code) {
			t.Errorf("no case is refused with %q", code)
		}
	}
}

// alice is who the well-behaved response is about.
func alice(a *testIdP) Principal {
	return Principal{
		User: "alice@example.com", Email: "alice@example.com", Name: "Alice Example",
		Groups:       []string{"engineers", "admins"},
		Subject:      Subject{NameID: "alice@example.com", Format: "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress"},
		SessionIndex: "_session", IdP: testIdPID, AssertionID: "_assertion",
		AuthnContext:        "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport",
		AuthnInstant:        testNow.Add(-2 * time.Minute),
		SessionNotOnOrAfter: testNow.Add(8 * time.Hour),
		SigningCertificate:  fingerprint(a.cert.Raw),
	}
}

func TestPrincipalIsWhatTheAssertionSays(t *testing.T) {
	for _, sign := range []signing{signAssertion, signResponse, signBoth} {
		idp := newTestIdP(t, "rsa-idp")
		got, err := newTestSP(t, testConfig(t, idp)).Verify(t.Context(), Post{Response: attack{sign: sign}.build(t, idp)}, Expectation{RequestID: testRequestID})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(alice(idp), *got); diff != "" {
			t.Errorf("signing %d (-want +got):\n%s", sign, diff)
		}
	}
}
