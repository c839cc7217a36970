package saml

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// aggregate is an EntitiesDescriptor of entities.
func aggregate(entities ...string) []byte {
	return []byte(`<md:EntitiesDescriptor xmlns:md="` + nsMetadata + `">` + strings.Join(entities, "") + `</md:EntitiesDescriptor>`)
}

// entity is testMetadata of another identity provider.
func entity(t *testing.T, id string) string {
	t.Helper()
	return string(metadataOf(t, testIdPID, id, testSSO, id+"/sso"))
}

func TestChoiceFromAnAggregate(t *testing.T) {
	service := `<md:EntityDescriptor entityID="https://sp.example.test/"><md:SPSSODescriptor protocolSupportEnumeration="` + nsProtocol + `"/></md:EntityDescriptor>`
	a, b := entity(t, "https://a.example.test"), entity(t, "https://b.example.test")
	var many []string
	for _, letter := range "abcdefg" {
		many = append(many, entity(t, "https://"+string(letter)+".example.test"))
	}
	twoRoles := strings.Replace(a, "</md:EntityDescriptor>", `<md:IDPSSODescriptor protocolSupportEnumeration="`+nsProtocol+`"/></md:EntityDescriptor>`, 1)
	for name, tt := range map[string]struct {
		raw    []byte
		choose string
		want   string // entity ID
		err    string // part of the error
	}{
		"the only one, not chosen":          {raw: aggregate(service, a), want: "https://a.example.test"},
		"one of two":                        {raw: aggregate(a, b), choose: "https://b.example.test", want: "https://b.example.test"},
		"one in a nested aggregate":         {raw: aggregate(a, service, string(aggregate(string(aggregate(b))))), choose: "https://b.example.test", want: "https://b.example.test"},
		"a document of one, chosen":         {raw: []byte(a), choose: "https://a.example.test", want: "https://a.example.test"},
		"one beside another with two roles": {raw: aggregate(twoRoles, b), choose: "https://b.example.test", want: "https://b.example.test"},
		"F10 two, none chosen":              {raw: aggregate(a, b), err: `choose one of "https://a.example.test", "https://b.example.test" by its entity ID`},
		"F10 seven, none chosen":            {raw: aggregate(many...), err: `"https://e.example.test" and 2 more`},
		"F10 another one chosen":            {raw: aggregate(a, b), choose: "https://c.example.test", err: `no identity provider "https://c.example.test" in it, it has "https://a.example.test", "https://b.example.test"`},
		"F10 chosen, but nobody is there":   {raw: aggregate(service), choose: "https://c.example.test", err: `it has none`},
		"F10 chosen by another case":        {raw: aggregate(a, b), choose: "https://A.example.test", err: `no identity provider "https://A.example.test"`},
		"F10 a service provider chosen":     {raw: aggregate(a, service), choose: "https://sp.example.test/", err: `no identity provider "https://sp.example.test/"`},
		"F10 two entities of the name":      {raw: aggregate(a, a), choose: "https://a.example.test", err: `2 IDPSSODescriptor elements for SAML 2.0 of the entity "https://a.example.test"`},
		"F10 two roles of the chosen":       {raw: aggregate(twoRoles, b), choose: "https://a.example.test", err: `2 IDPSSODescriptor elements`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
			cfg.IdPMetadata, cfg.IdPEntityID = tt.raw, tt.choose
			sp, err := New(cfg)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want it to say %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := sp.IdP(); got.EntityID != tt.want || got.SSOURL != tt.want+"/sso" {
				t.Errorf("identity provider %q at %q, want %q", got.EntityID, got.SSOURL, tt.want)
			}
		})
	}
}

func TestSingleLogoutEndpoints(t *testing.T) {
	service := func(binding, attributes string) string {
		return `<md:SingleLogoutService Binding="` + binding + `" ` + attributes + `/>`
	}
	const slo = "https://idp.example.test/slo"
	for name, tt := range map[string]struct {
		services string
		want     map[Binding]endpoint
		err      string
	}{
		"none":     {want: map[Binding]endpoint{}},
		"SOAP":     {services: service("urn:oasis:names:tc:SAML:2.0:bindings:SOAP", `Location="http://idp.example.test/soap"`), want: map[Binding]endpoint{}},
		"redirect": {services: service(bindingRedirect, `Location="`+slo+`"`), want: map[Binding]endpoint{BindingRedirect: {slo, slo}}},
		"both": {services: service(bindingPost, `Location="`+slo+`/post"`) + service(bindingRedirect, `Location="`+slo+`"`),
			want: map[Binding]endpoint{BindingRedirect: {slo, slo}, BindingPost: {slo + "/post", slo + "/post"}}},
		"answers elsewhere": {services: service(bindingPost, `Location="`+slo+`" ResponseLocation="`+slo+`/done?a=b"`),
			want: map[Binding]endpoint{BindingPost: {slo, slo + "/done?a=b"}}},
		"the first of two":    {services: service(bindingPost, `Location="`+slo+`"`) + service(bindingPost, `Location="`+slo+`/2"`), want: map[Binding]endpoint{BindingPost: {slo, slo}}},
		"F9 http":             {services: service(bindingRedirect, `Location="http://idp.example.test/slo"`), err: `SingleLogoutService "http://idp.example.test/slo": scheme "http", expected https`},
		"F9 http for answers": {services: service(bindingRedirect, `Location="`+slo+`" ResponseLocation="http://idp.example.test/slo"`), err: `scheme "http"`},
		"F9 no address":       {services: service(bindingRedirect, ``), err: `SingleLogoutService ""`},
	} {
		t.Run(name, func(t *testing.T) {
			raw := metadataOf(t, "<md:SingleSignOnService", tt.services+"<md:SingleSignOnService")
			got, err := parseIdPMetadata(raw, metadataChoice{now: testNow})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want it to say %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.slo, cmp.AllowUnexported(endpoint{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if info := got.info(); info.SLO != (len(tt.want) > 0) {
				t.Errorf("SLO %t with %v", info.SLO, tt.want)
			}
		})
	}
}

func TestSeveralKeysInOneDescriptor(t *testing.T) {
	first, second, third := newTestIdP(t, "rsa-idp"), newTestIdP(t, "p256-idp"), newTestIdP(t, "rsa-other")
	data := func(idp *testIdP) string {
		return `<ds:X509Data><ds:X509Certificate>` + encode(idp.cert.Raw) + `</ds:X509Certificate></ds:X509Data>`
	}
	encryption := `<md:KeyDescriptor use="encryption"><ds:KeyInfo xmlns:ds="` + nsDsig + `">` + data(third) + `</ds:KeyInfo></md:KeyDescriptor>`
	raw := metadataOf(t, "</ds:X509Data>", "</ds:X509Data>"+data(second), "<md:KeyDescriptor", encryption+"<md:KeyDescriptor")
	got, err := parseIdPMetadata(raw, metadataChoice{now: testNow})
	if err != nil {
		t.Fatal(err)
	}
	var hashes []string
	for _, cert := range got.certificates {
		hashes = append(hashes, fingerprint(cert.Raw))
	}
	if diff := cmp.Diff([]string{fingerprint(first.cert.Raw), fingerprint(second.cert.Raw)}, hashes); diff != "" {
		t.Errorf("certificates (-want +got):\n%s", diff)
	}
}

func TestDisplayName(t *testing.T) {
	ui := func(names string) string {
		return `<md:Extensions><mdui:UIInfo xmlns:mdui="` + nsMDUI + `">` + names + `</mdui:UIInfo></md:Extensions>`
	}
	organization := `<md:Organization><md:OrganizationName xml:lang="en">x</md:OrganizationName><md:OrganizationDisplayName xml:lang="de">Beispiel AG</md:OrganizationDisplayName><md:OrganizationDisplayName xml:lang="en-GB">Example plc</md:OrganizationDisplayName><md:OrganizationURL xml:lang="en">https://example.test/</md:OrganizationURL></md:Organization>`
	for name, tt := range map[string]struct{ inRole, inEntity, want string }{
		"none":                      {},
		"mdui, English first":       {inRole: ui(`<mdui:DisplayName xml:lang="de">Anmeldung</mdui:DisplayName><mdui:DisplayName xml:lang="en">Sign-on</mdui:DisplayName>`), inEntity: organization, want: "Sign-on"},
		"mdui without English":      {inRole: ui(`<mdui:DisplayName xml:lang="de">Anmeldung</mdui:DisplayName><mdui:DisplayName xml:lang="fr">Connexion</mdui:DisplayName>`), want: "Anmeldung"},
		"mdui in lines":             {inRole: ui("<mdui:DisplayName xml:lang=\"en\">\n   Sign-on\n   of Example\n</mdui:DisplayName>"), want: "Sign-on of Example"},
		"organization":              {inEntity: organization, want: "Example plc"},
		"organization of the role":  {inRole: organization, want: "Example plc"},
		"name that cannot be shown": {inRole: ui(`<mdui:DisplayName xml:lang="en">Sign` + "\u202e" + `-on</mdui:DisplayName>`), inEntity: organization, want: "Example plc"},
		"name that is too long":     {inRole: ui(`<mdui:DisplayName xml:lang="en">` + strings.Repeat("x", 257) + `</mdui:DisplayName>`)},
		"empty name":                {inRole: ui(`<mdui:DisplayName xml:lang="en"> </mdui:DisplayName>`)},
		"name of another namespace": {inRole: strings.ReplaceAll(ui(`<mdui:DisplayName xml:lang="en">Sign-on</mdui:DisplayName>`), nsMDUI, "urn:x:y")},
	} {
		t.Run(name, func(t *testing.T) {
			raw := metadataOf(t, "<md:KeyDescriptor", tt.inRole+"<md:KeyDescriptor", "</md:EntityDescriptor>", tt.inEntity+"</md:EntityDescriptor>")
			got, err := parseIdPMetadata(raw, metadataChoice{now: testNow})
			if err != nil {
				t.Fatal(err)
			}
			if got.info().DisplayName != tt.want {
				t.Errorf("display name %q, want %q", got.info().DisplayName, tt.want)
			}
		})
	}
}

func TestErrorURL(t *testing.T) {
	for name, tt := range map[string]struct{ written, want string }{
		"none":                  {},
		"https":                 {"https://idp.example.test/help?a=b&amp;c=ERRORURL_CODE", "https://idp.example.test/help?a=b&c=ERRORURL_CODE"},
		"http":                  {"http://idp.example.test/help", ""},
		"script":                {"javascript:alert(1)", ""},
		"mail":                  {"mailto:help@idp.example.test", ""},
		"no host":               {"https:///help", ""},
		"a name and a password": {"https://a:b@idp.example.test/", ""},
		"markup":                {"https://idp.example.test/&quot;&gt;&lt;b&gt;", ""},
		"a line break":          {"https://idp.example.test/&#10;x", ""},
		"endless":               {"https://idp.example.test/" + strings.Repeat("x", 300), ""},
	} {
		raw := metadataOf(t, "<md:IDPSSODescriptor", `<md:IDPSSODescriptor errorURL="`+tt.written+`"`)
		if tt.written == "" {
			raw = metadataOf(t)
		}
		got, err := parseIdPMetadata(raw, metadataChoice{now: testNow})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got.info().ErrorURL != tt.want {
			t.Errorf("%s: %q, want %q", name, got.info().ErrorURL, tt.want)
		}
	}
}

// TestErrorURLKnowsWhoAsks: it is as in the metadata, but for the place of our name.
func TestErrorURLKnowsWhoAsks(t *testing.T) {
	cfg := testConfig(t, newTestIdP(t, "rsa-idp"))
	cfg.IdPMetadata = metadataOf(t, "<md:IDPSSODescriptor", `<md:IDPSSODescriptor errorURL="https://idp.example.test/ERRORURL_CODE?rp=ERRORURL_RP&amp;ts=ERRORURL_TS"`)
	want := "https://idp.example.test/ERRORURL_CODE?rp=https%3A%2F%2Fdoor.example.test%2Fsaml%2Fmetadata&ts=ERRORURL_TS"
	if got := newTestSP(t, cfg).IdP().ErrorURL; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCacheDuration(t *testing.T) {
	for name, tt := range map[string]struct {
		onEntity, onRole string
		want             time.Duration
		err              string
	}{
		"not said":         {},
		"on the entity":    {onEntity: `cacheDuration="PT6H" `, want: 6 * time.Hour},
		"on the role":      {onRole: `cacheDuration="P1D" `, want: 24 * time.Hour},
		"the shorter one":  {onEntity: `cacheDuration="PT30M" `, onRole: `cacheDuration="P1D" `, want: 30 * time.Minute},
		"cannot be read":   {onRole: `cacheDuration="6h" `, err: `cacheDuration of IDPSSODescriptor: duration "6h", expected a form like PT6H`},
		"before its start": {onEntity: `cacheDuration="-PT6H" `, err: `cacheDuration of EntityDescriptor: duration "-PT6H"`},
	} {
		raw := metadataOf(t, "entityID=", tt.onEntity+"entityID=", "protocolSupportEnumeration=", tt.onRole+"protocolSupportEnumeration=")
		got, err := parseIdPMetadata(raw, metadataChoice{now: testNow})
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: error %v, want it to say %q", name, err, tt.err)
			}
			continue
		}
		if err != nil || got.info().CacheDuration != tt.want {
			t.Errorf("%s: %v, %v, want %s", name, got, err, tt.want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"PT0S": 0, "PT1S": time.Second, "PT1.999S": time.Second, "PT90M": 90 * time.Minute, "P1D": day, "P1DT2H3M4S": day + 2*time.Hour + 3*time.Minute + 4*time.Second,
		"P1M": 28 * day, "PT1M": time.Minute, "P1Y": 365 * day, "P10Y": 3650 * day, "P11Y": maxDuration, "P999999999Y999999999M": maxDuration,
		"PT999999999H": maxDuration, " PT6H\n": 6 * time.Hour, "P0007D": 7 * day, "P9Y999D": maxDuration,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%q is %s (%v), want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "P", "PT", "P1", "1D", "P1DT", "PT1D", "P1H", "-P1D", "+P1D", "P-1D", "P1.5D", "PT.5S", "PT1.S", "p1d", "P1D2M", "P1234567890D", "PT1S PT1S", "P١D"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q was taken, as %s", text, got)
		}
	}
}

// TestPinnedKey: a certificate that is over, and one that has not begun, are good by
// their pinned key alone, and the key of another is not.
func TestPinnedKey(t *testing.T) {
	for name, tt := range map[string]struct {
		shift time.Duration // of the certificate's validity
		pins  func(*testIdP) []string
		code  string
	}{
		"over":                          {shift: -365 * 24 * time.Hour, code: CodeIdPCertificate},
		"over, pinned":                  {shift: -365 * 24 * time.Hour, pins: func(idp *testIdP) []string { return []string{keyHash(idp.cert)} }},
		"not begun":                     {shift: 365 * 24 * time.Hour, code: CodeIdPCertificate},
		"not begun, pinned":             {shift: 365 * 24 * time.Hour, pins: func(idp *testIdP) []string { return []string{keyHash(idp.cert)} }},
		"over, another pinned":          {shift: -365 * 24 * time.Hour, pins: func(*testIdP) []string { return []string{strings.Repeat("ab", 32)} }, code: CodeIdPCertificate},
		"over, the certificate's hash":  {shift: -365 * 24 * time.Hour, pins: func(idp *testIdP) []string { return []string{fingerprint(idp.cert.Raw)} }, code: CodeIdPCertificate},
		"valid, another pinned":         {pins: func(*testIdP) []string { return []string{strings.Repeat("ab", 32)} }},
		"over for ten years and pinned": {shift: -3650 * 24 * time.Hour, pins: func(idp *testIdP) []string { return []string{keyHash(idp.cert)} }},
	} {
		t.Run(name, func(t *testing.T) {
			idp := newTestIdP(t, "rsa-idp")
			idp.cert = testCertificate(t, idp.key, tt.shift)
			cfg := testConfig(t, idp)
			if tt.pins != nil {
				cfg.PinnedKeys = tt.pins(idp)
			}
			_, err := newTestSP(t, cfg).Verify(t.Context(), Post{Response: attack{sign: signBoth}.build(t, idp)}, Expectation{RequestID: testRequestID})
			if codeOf(t, err) != tt.code {
				t.Errorf("%v, want %q", err, tt.code)
			}
			if err != nil && !strings.Contains(err.Error(), keyHash(idp.cert)) {
				t.Errorf("%v does not say what could be pinned", err)
			}
		})
	}
}

func TestPinsAreReported(t *testing.T) {
	idp, other := newTestIdP(t, "rsa-idp"), newTestIdP(t, "p256-idp")
	cfg := testConfig(t, idp)
	cfg.IdPMetadata = testMetadata(idp.cert, other.cert)
	unused := strings.Repeat("0f", 32)
	cfg.PinnedKeys = []string{unused, keyHash(other.cert), strings.Repeat("0a", 32)}
	info := newTestSP(t, cfg).IdP()
	if info.Certificates[0].Pinned || !info.Certificates[1].Pinned {
		t.Errorf("pinned: %+v", info.Certificates)
	}
	if diff := cmp.Diff([]string{strings.Repeat("0a", 32), unused}, info.UnusedPins); diff != "" {
		t.Errorf("unused pins (-want +got):\n%s", diff)
	}
}

// TestMetadataDoesNotLeadToOurselves: a page of ours that posts to our own address would
// do there what only we may ask for, such as signing somebody out.
func TestMetadataDoesNotLeadToOurselves(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	one := string(testMetadata(idp.cert))
	logout := func(attributes string) string {
		return strings.Replace(one, "<md:SingleSignOnService", `<md:SingleLogoutService Binding="`+bindingPost+`" `+attributes+`/><md:SingleSignOnService`, 1)
	}
	for name, tt := range map[string]struct {
		metadata string
		taken    bool
	}{
		"sign-on":                 {strings.Replace(one, testSSO, "https://door.example.test/.sallyport/sign_out", 1), false},
		"sign-on, spelt":          {strings.Replace(one, testSSO, "https://DOOR.example.test:443/.sallyport/sign_out", 1), false},
		"logout":                  {logout(`Location="https://door.example.test/"`), false},
		"answer to a logout":      {logout(`Location="https://idp.example.test/slo" ResponseLocation="https://door.example.test/x"`), false},
		"the same host, a port":   {strings.Replace(one, testSSO, "https://door.example.test:8443/sso", 1), true},
		"the identity provider's": {logout(`Location="https://idp.example.test/slo"`), true},
	} {
		cfg := testConfig(t, idp)
		cfg.IdPMetadata = []byte(tt.metadata)
		if _, err := New(cfg); (err == nil) != tt.taken || err != nil && !strings.Contains(err.Error(), "one of our own") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
