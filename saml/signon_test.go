package saml

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"
	"github.com/google/go-cmp/cmp"
)

const testPostSSO = "https://idp.example.test/sso/post?tenant=1"

// postMetadata offers HTTP-POST beside HTTP-Redirect, or alone.
func postMetadata(t *testing.T, alone bool) []byte {
	t.Helper()
	post := `<md:SingleSignOnService Binding="` + bindingPost + `" Location="` + testPostSSO + `"/>`
	if alone {
		redirect := `<md:SingleSignOnService Binding="` + bindingRedirect + `" Location="` + testSSO + `"/>`
		return metadataOf(t, redirect, post)
	}
	return metadataOf(t, "<md:SingleSignOnService", post+"<md:SingleSignOnService")
}

// posted reads a request as the identity provider does, and has xmlsec1 verify it.
func posted(t *testing.T, cfg Config, m Message) *etree.Element {
	t.Helper()
	if len(m.Form) == 0 || m.Form[0].Name != "SAMLRequest" {
		t.Fatalf("form %v, want a SAMLRequest first", m.Form)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(m.Form[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	if out, ok := xmlsecVerify(t, raw, cfg.Certificate, "AuthnRequest"); !ok {
		t.Errorf("xmlsec1 does not verify the request: %s\n%s", out, raw)
	}
	for _, tampered := range []string{"ProtocolBinding=", "Destination="} {
		if out, ok := xmlsecVerify(t, []byte(strings.Replace(string(raw), tampered, "x"+tampered, 1)), cfg.Certificate, "AuthnRequest"); ok {
			t.Errorf("xmlsec1 verifies it with another %s: %s", tampered, out)
		}
	}
	return fragment(t, string(raw))
}

// requestOf reads a request by either binding.
func requestOf(t *testing.T, cfg Config, m Message) *etree.Element {
	t.Helper()
	if m.Form != nil {
		return posted(t, cfg, m)
	}
	return receive(t, cfg.Key.Public(), m.URL)
}

func TestBeginByPost(t *testing.T) {
	for _, keyName := range []string{"rsa-sp", "p256-sp", "p384-sp"} {
		t.Run(keyName, func(t *testing.T) {
			cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
			cfg.EntityID = `https://door.example.test/?a="b"&c=<d>`
			cfg.useKey(t, keyName)
			cfg.IdPMetadata = postMetadata(t, true)
			m, err := newTestSP(t, cfg).Begin(SignOn{RelayState: "state+/=1", AuthnContext: AuthnContext{Classes: []string{classMFA}}})
			if err != nil {
				t.Fatal(err)
			}
			if want := []FormField{m.Form[0], {"RelayState", "state+/=1"}}; m.URL != testPostSSO || !slices.Equal(m.Form, want) {
				t.Errorf("form for %s: %v", m.URL, m.Form)
			}
			root := posted(t, cfg, m)
			if got := root.SelectAttrValue("Destination", ""); got != testPostSSO {
				t.Errorf("destination %q, want %q", got, testPostSSO)
			}
			var tags []string
			for _, child := range root.ChildElements() {
				tags = append(tags, child.Tag)
			}
			if diff := cmp.Diff([]string{"Issuer", "Signature", "RequestedAuthnContext"}, tags); diff != "" {
				t.Errorf("elements (-want +got):\n%s", diff)
			}
			if root.SelectAttrValue("ID", "") != m.ID || root.FindElement("./Issuer").Text() != cfg.EntityID {
				t.Errorf("request %q by %q", root.SelectAttrValue("ID", ""), root.FindElement("./Issuer").Text())
			}
			if got := root.FindElement(".//X509Certificate").Text(); got != encode(cfg.Certificate.Raw) {
				t.Errorf("certificate %.40s in KeyInfo is not ours", got)
			}
		})
	}
}

func TestBeginWithoutRelayStateByPost(t *testing.T) {
	cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
	cfg.IdPMetadata = postMetadata(t, true)
	m, err := newTestSP(t, cfg).Begin(SignOn{})
	if err != nil || len(m.Form) != 1 {
		t.Errorf("form %v (%v), want the request alone", m.Form, err)
	}
}

func TestRequestBinding(t *testing.T) {
	for name, tt := range map[string]struct {
		metadata []byte
		binding  Binding
		post     bool
		want     string // part of the error
	}{
		"both offered":                      {metadata: postMetadata(t, false)},
		"both offered, POST configured":     {metadata: postMetadata(t, false), binding: BindingPost, post: true},
		"both offered, redirect configured": {metadata: postMetadata(t, false), binding: BindingRedirect},
		"POST offered":                      {metadata: postMetadata(t, true), post: true},
		"POST offered, redirect configured": {metadata: postMetadata(t, true), binding: BindingRedirect, want: bindingRedirect + ", which is configured"},
		"redirect offered, POST configured": {metadata: metadataOf(t), binding: BindingPost, want: bindingPost + ", which is configured"},
		"F9 http, POST configured": {metadata: []byte(strings.Replace(string(postMetadata(t, false)), "https://idp.example.test/sso/post", "http://idp.example.test/sso/post", 1)),
			binding: BindingPost, want: `scheme "http", expected https`},
		"no such binding": {metadata: metadataOf(t), binding: 3, want: "binding 3"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
			cfg.IdPMetadata, cfg.RequestBinding = tt.metadata, tt.binding
			sp, err := New(cfg)
			if tt.want != "" {
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want it to say %q", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			m, err := sp.Begin(SignOn{RelayState: "x"})
			if err != nil {
				t.Fatal(err)
			}
			want := testSSO
			if tt.post {
				want = testPostSSO
			}
			if (m.Form != nil) != tt.post || !strings.HasPrefix(m.URL, want) || sp.IdP().SSOURL != want {
				t.Errorf("sent to %.80s with the form %v", m.URL, m.Form)
			}
		})
	}
}

// TestBeginAsksForWhatIsWanted looks into the request that each sign-on makes.
func TestBeginAsksForWhatIsWanted(t *testing.T) {
	const persistent = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
	for name, tt := range map[string]struct {
		config     func(*Config)
		ask        SignOn
		attributes map[string]string // expected ones; empty: not there
		inside     string            // expected elements behind the Issuer
	}{
		"nothing":     {attributes: map[string]string{"ForceAuthn": "", "IsPassive": ""}},
		"force":       {ask: SignOn{ForceAuthn: true}, attributes: map[string]string{"ForceAuthn": "true", "IsPassive": ""}},
		"passive":     {ask: SignOn{Passive: true}, attributes: map[string]string{"ForceAuthn": "", "IsPassive": "true"}},
		"NameID":      {config: func(c *Config) { c.NameIDFormat = persistent }, inside: `<samlp:NameIDPolicy Format="` + persistent + `" AllowCreate="true"/>`},
		"exact class": {ask: SignOn{AuthnContext: AuthnContext{Classes: []string{classMFA, "urn:x:y"}}}, inside: `<samlp:RequestedAuthnContext Comparison="exact"><saml:AuthnContextClassRef>` + classMFA + `</saml:AuthnContextClassRef><saml:AuthnContextClassRef>urn:x:y</saml:AuthnContextClassRef></samlp:RequestedAuthnContext>`},
		"minimum":     {ask: SignOn{AuthnContext: AuthnContext{Classes: []string{classPassword, classMFA}, Minimum: true}}, inside: `<samlp:RequestedAuthnContext Comparison="minimum"><saml:AuthnContextClassRef>` + classPassword + `</saml:AuthnContextClassRef></samlp:RequestedAuthnContext>`},
		"always":      {config: func(c *Config) { c.AuthnContext.Classes = []string{"urn:x:y"} }, inside: `<samlp:RequestedAuthnContext Comparison="exact"><saml:AuthnContextClassRef>urn:x:y</saml:AuthnContextClassRef></samlp:RequestedAuthnContext>`},
		"instead of always": {config: func(c *Config) { c.AuthnContext = AuthnContext{Classes: []string{"urn:x:y", "urn:x:z"}, Minimum: true} }, ask: SignOn{AuthnContext: AuthnContext{Classes: []string{classMFA}}},
			inside: `<samlp:RequestedAuthnContext Comparison="exact"><saml:AuthnContextClassRef>` + classMFA + `</saml:AuthnContextClassRef></samlp:RequestedAuthnContext>`},
		"NameID before the context, as in the schema": {config: func(c *Config) { c.NameIDFormat = persistent }, ask: SignOn{AuthnContext: AuthnContext{Classes: []string{classMFA}}},
			inside: `<samlp:NameIDPolicy Format="` + persistent + `" AllowCreate="true"/><samlp:RequestedAuthnContext Comparison="exact"><saml:AuthnContextClassRef>` + classMFA + `</saml:AuthnContextClassRef></samlp:RequestedAuthnContext>`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
			if tt.config != nil {
				tt.config(&cfg)
			}
			m, err := newTestSP(t, cfg).Begin(tt.ask)
			if err != nil {
				t.Fatal(err)
			}
			root := receive(t, cfg.Key.Public(), m.URL)
			for key, want := range tt.attributes {
				if got := root.SelectAttrValue(key, ""); got != want {
					t.Errorf("%s is %q, want %q", key, got, want)
				}
			}
			var inside string
			for _, child := range root.ChildElements()[1:] {
				doc := etree.NewDocument()
				doc.SetRoot(child.Copy())
				s, err := doc.WriteToString()
				if err != nil {
					t.Fatal(err)
				}
				inside += s
			}
			if inside != tt.inside {
				t.Errorf("behind the Issuer\n%s\nwant\n%s", inside, tt.inside)
			}
		})
	}
}

func TestBeginRefuses(t *testing.T) {
	sp := newTestSP(t, testConfig(t, newTestIdP(t, "rsa-idp")))
	classes := func(classes ...string) SignOn { return SignOn{AuthnContext: AuthnContext{Classes: classes}} }
	for name, tt := range map[string]struct {
		ask  SignOn
		want string
	}{
		"force and passive":         {SignOn{ForceAuthn: true, Passive: true}, "expected one of them at most"},
		"class that is not a URI":   {classes("mfa"), `"mfa": expected an absolute URI`},
		"class with a blank":        {classes("urn:x y"), "expected an absolute URI"},
		"class with a line break":   {classes("urn:x\ny"), "cannot be seen"},
		"empty class":               {classes("urn:x:y", ""), `"": expected an absolute URI`},
		"class that is too long":    {classes("urn:" + strings.Repeat("x", 260)), "at most 256"},
		"17 classes":                {classes(slices.Repeat([]string{"urn:x:y"}, 17)...), "17 classes of authentication, expected at most 16"},
		"minimum without any class": {SignOn{AuthnContext: AuthnContext{Minimum: true}}, "a minimum of authentication without a class"},
	} {
		if m, err := sp.Begin(tt.ask); err == nil || !strings.Contains(err.Error(), tt.want) || m.ID != "" {
			t.Errorf("%s: %v and error %v, want it to say %q", name, m, err, tt.want)
		}
	}
}

// TestIssuedAtIsWhatTheRequestSays: with ForceAuthn it is compared with instants of
// the identity provider, which are written to the second.
func TestIssuedAtIsWhatTheRequestSays(t *testing.T) {
	cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
	cfg.Now = func() time.Time { return testNow.Add(999 * time.Millisecond).In(time.FixedZone("", 3600)) }
	m, err := newTestSP(t, cfg).Begin(SignOn{})
	if err != nil {
		t.Fatal(err)
	}
	if got := receive(t, cfg.Key.Public(), m.URL).SelectAttrValue("IssueInstant", ""); got != "2026-11-22T12:00:00Z" || !m.IssuedAt.Equal(testNow) {
		t.Errorf("IssueInstant %q, issued at %s", got, m.IssuedAt)
	}
}

// TestForcedWithoutAnInstant: a caller who forgot when the sign-on began must not
// let everybody in.
func TestForcedWithoutAnInstant(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	_, err := newTestSP(t, testConfig(t, idp)).Verify(t.Context(), Post{Response: attack{}.build(t, idp)},
		Expectation{RequestID: testRequestID, SignOn: SignOn{ForceAuthn: true}})
	if codeOf(t, err) != CodeInternal {
		t.Errorf("%v, want %s", err, CodeInternal)
	}
}

func TestStatusSaysWhatToDo(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	sp := newTestSP(t, testConfig(t, idp))
	for second, want := range map[string]string{
		statusPrefix + "NoPassive":           "begin a sign-on that is not passive",
		statusPrefix + "AuthnFailed":         "let them try again",
		statusPrefix + "InvalidNameIDPolicy": "cannot make a NameID",
		statusPrefix + "NoAuthnContext":      "in the way that we ask for",
		statusPrefix + "RequestDenied":       "assign the person to this service",
		statusPrefix + "UnknownPrincipal":    "add them to the directory",
		statusPrefix + "RequestUnsupported":  "store our current metadata",
		"urn:x:y":                            "its own log has the reason",
	} {
		a := attack{sign: signNothing, edit: secondLevel(statusPrefix+"Responder", second)}
		_, err := sp.Verify(t.Context(), Post{Response: a.build(t, idp)}, Expectation{RequestID: testRequestID})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), strings.TrimPrefix(second, statusPrefix)) {
			t.Errorf("%s: %v, want it to say %q", second, err, want)
		}
	}
}

func TestNewRefusesOptions(t *testing.T) {
	for name, tt := range map[string]struct {
		break_ func(*Config)
		want   string
	}{
		"http logout service":         {func(c *Config) { c.SLOURL = "http://door.example.test/saml/slo" }, `single logout service "http://door.example.test/saml/slo": scheme "http"`},
		"format that is no URI":       {func(c *Config) { c.NameIDFormat = "persistent" }, `format "persistent" of the NameID: expected an absolute URI`},
		"context that is no URI":      {func(c *Config) { c.AuthnContext.Classes = []string{"mfa"} }, `class of authentication "mfa"`},
		"no domain":                   {func(c *Config) { c.UserDomains = []string{} }, "expected at least one"},
		"domain in capitals":          {func(c *Config) { c.UserDomains = []string{"Example.com"} }, `domain "Example.com", expected one in lower-case`},
		"domain with an at sign":      {func(c *Config) { c.UserDomains = []string{"@example.com"} }, `domain "@example.com"`},
		"domain with a dot before it": {func(c *Config) { c.UserDomains = []string{".example.com"} }, `domain ".example.com"`},
		"empty domain":                {func(c *Config) { c.UserDomains = []string{""} }, `domain ""`},
		"pin in capitals":             {func(c *Config) { c.PinnedKeys = []string{strings.Repeat("AB", 32)} }, "64 digits of lower-case hex"},
		"pin that is too short":       {func(c *Config) { c.PinnedKeys = []string{strings.Repeat("ab", 20)} }, "64 digits of lower-case hex"},
	} {
		cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
		tt.break_(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want it to say %q", name, err, tt.want)
		}
	}
}

func TestIssuerOfAPost(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	issuer := func(edit func(testing.TB, *message)) string {
		return attack{sign: signNothing, edit: edit}.build(t, idp)
	}
	for name, tt := range map[string]struct {
		response   string
		want, code string
	}{
		"of the response":        {response: issuer(setText("./Assertion/Issuer", "urn:x:other")), want: testIdPID},
		"of the assertion":       {response: issuer(without("./Issuer")), want: testIdPID},
		"of an error":            {response: issuer(secondLevel(statusPrefix+"Responder", statusNoPassive)), want: testIdPID},
		"of nobody":              {response: issuer(func(t testing.TB, m *message) { without("./Issuer")(t, m); without("./Assertion/Issuer")(t, m) }), code: CodeIssuer},
		"of an empty name":       {response: issuer(setText("./Issuer", "")), code: CodeIssuer},
		"of a name with blanks":  {response: issuer(setText("./Issuer", " "+testIdPID)), code: CodeIssuer},
		"of a name without end":  {response: issuer(setText("./Issuer", strings.Repeat("x", 1025))), code: CodeIssuer},
		"E1 document type":       {response: encode([]byte("<!DOCTYPE x><x/>")), code: CodeDoctype},
		"another document":       {response: encode([]byte("<x/>")), code: CodeRoot},
		"not base64":             {response: "%", code: CodeEncoding},
		"E6 nested for ever":     {response: encode([]byte(strings.Repeat("<a>", 100))), code: CodeXMLLimit},
		"E3 larger than allowed": {response: strings.Repeat("A", maxBodySize+1), code: CodeXMLLimit},
	} {
		got, err := Post{Response: tt.response}.Issuer()
		if got != tt.want || codeOf(t, err) != tt.code {
			t.Errorf("%s: %q and %v, want %q and %q", name, got, err, tt.want, tt.code)
		}
	}
}
