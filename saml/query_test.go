package saml

import (
	"bytes"
	"compress/flate"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	dsig "github.com/russellhaering/goxmldsig"
)

var escapes = regexp.MustCompile(`%[0-9A-F]{2}`)

// lower writes the hex of percent signs in small letters, as .NET does.
func lower(s string) string { return escapes.ReplaceAllStringFunc(s, strings.ToLower) }

// turned puts one piece of a query in place of another, which must be there.
func turned(old, instead string) func(string) string {
	return func(q string) string {
		if !strings.Contains(q, old) {
			panic("no " + old + " in " + q)
		}
		return strings.Replace(q, old, instead, 1)
	}
}

func appended(s string) func(string) string { return func(q string) string { return q + s } }

// exchanged puts another value in place of a parameter's.
func exchanged(name, value string) func(string) string {
	return func(q string) string {
		fields := strings.Split(q, "&")
		for i, field := range fields {
			if strings.HasPrefix(field, name+"=") {
				fields[i] = name + "=" + value
			}
		}
		return strings.Join(fields, "&")
	}
}

// dropped takes a parameter away.
func dropped(name string) func(string) string {
	return func(q string) string {
		return strings.Join(slices.DeleteFunc(strings.Split(q, "&"), func(field string) bool { return strings.HasPrefix(field, name+"=") }), "&")
	}
}

// reordered has the parameters in the order of the names.
func reordered(names ...string) func(string) string {
	return func(q string) string {
		var fields []string
		for _, name := range names {
			for field := range strings.SplitSeq(q, "&") {
				if strings.HasPrefix(field, name+"=") {
					fields = append(fields, field)
				}
			}
		}
		return strings.Join(fields, "&")
	}
}

// queryCorpus is what can be done to a genuine query on its way, row F4 of the
// catalogue. Whatever is not the very octets that were signed is refused; how they
// stand in the query does not matter.
func queryCorpus(t testing.TB) []logoutCase {
	t.Helper()
	other := url.QueryEscape(pack(t, strings.Replace(testLogoutRequest, "alice-4711", "bob-1", 1)))
	cases := []logoutCase{
		{name: "F4 untouched", query: func(q string) string { return q }},
		{name: "F4 reordered", query: reordered("Signature", "SigAlg", "RelayState", "SAMLRequest")},
		{name: "F4 reordered in another way", query: reordered("RelayState", "SAMLRequest", "Signature", "SigAlg")},
		{name: "F4 encoding said", query: appended("&SAMLEncoding=" + url.QueryEscape(encodingDeflate))},
		{name: "F4 encoding said otherwise", query: appended("&SAMLEncoding=urn:none"), want: CodeQuery},
		{name: "F4 encoding empty", query: appended("&SAMLEncoding="), want: CodeQuery},
		{name: "F4 signature re-encoded", query: func(q string) string { i := strings.Index(q, "&Signature="); return q[:i] + lower(q[i:]) }},
		{name: "F4 lower-case hex", query: lower, want: CodeSignature},
		{name: "F4 lower-case hex in the relay state", query: turned("RelayState=state", "RelayState=%73tate"), want: CodeSignature},
		{name: "F4 a letter escaped in the message", query: func(q string) string {
			return turned(q[12:13], "%"+string("0123456789ABCDEF"[q[12]>>4])+string("0123456789ABCDEF"[q[12]&15]))(q)
		}, want: CodeSignature},
		{name: "F4 lower-case hex in the algorithm", query: turned("SigAlg=http%3A%2F%2F", "SigAlg=http%3a%2f%2f"), want: CodeSignature},
		{name: "F4 nothing escaped in the algorithm", query: turned("SigAlg=http%3A%2F%2F", "SigAlg=http://"), want: CodeSignature},
		{name: "F4 another message", query: exchanged("SAMLRequest", other), want: CodeSignature},
		{name: "F4 another message before it", query: func(q string) string { return "SAMLRequest=" + other + "&" + q }, want: CodeQuery},
		{name: "F4 another message behind it", query: appended("&SAMLRequest=" + other), want: CodeQuery},
		{name: "F4 the same message twice", query: func(q string) string { return q[:strings.Index(q, "&")] + "&" + q }, want: CodeQuery},
		{name: "F4 as a response too", query: appended("&SAMLResponse=" + other), want: CodeQuery},
		{name: "F4 as an empty response too", query: appended("&SAMLResponse="), want: CodeQuery},
		{name: "F4 as a response", query: turned("SAMLRequest=", "SAMLResponse="), want: CodeRoot},
		{name: "F4 name in small letters besides", query: appended("&samlrequest=" + other), want: CodeQuery},
		{name: "F4 name in percent signs besides", query: appended("&SAML%52equest=" + other), want: CodeQuery},
		{name: "F4 name in percent signs", query: turned("SAMLRequest=", "SAML%52equest="), want: CodeQuery},
		{name: "F4 name with a bracket", query: appended("&SAMLRequest[]=" + other), want: CodeQuery},
		{name: "F4 name behind a blank", query: appended("&+SAMLRequest=" + other), want: CodeQuery},
		{name: "F4 other relay state", query: exchanged("RelayState", "other"), want: CodeSignature},
		{name: "F4 relay state twice", query: appended("&RelayState=state"), want: CodeQuery},
		{name: "F4 empty relay state twice", query: appended("&RelayState="), want: CodeQuery},
		{name: "F4 relay state emptied", query: exchanged("RelayState", ""), want: CodeSignature},
		{name: "F4 relay state gone", query: dropped("RelayState"), want: CodeSignature},
		{name: "F4 relay state in small letters", query: turned("RelayState=", "relaystate="), want: CodeQuery},
		{name: "F4 blank in the relay state", query: exchanged("RelayState", "a+b"), want: CodeRelayState},
		{name: "F4 line break in the relay state", query: exchanged("RelayState", "a%0d%0ab"), want: CodeRelayState},
		{name: "F4 long relay state", query: exchanged("RelayState", strings.Repeat("r", 81)), want: CodeRelayState},
		{name: "F4 semicolon for an ampersand", query: turned("&RelayState=", ";RelayState="), want: CodeEncoding},
		{name: "F4 ampersand at the end", query: appended("&"), want: CodeQuery},
		{name: "F4 ampersand at the beginning", query: func(q string) string { return "&" + q }, want: CodeQuery},
		{name: "F4 two ampersands", query: turned("&", "&&"), want: CodeQuery},
		{name: "F4 escaped ampersand", query: turned("&RelayState=", "%26RelayState="), want: CodeEncoding},
		{name: "F4 name without a value", query: appended("&x"), want: CodeQuery},
		{name: "F4 parameter of somebody else", query: appended("&x=y"), want: CodeQuery},
		{name: "F4 bad escape", query: exchanged("RelayState", "%zz"), want: CodeQuery},
		{name: "F4 half an escape", query: appended("%4"), want: CodeQuery},
		{name: "F4 plus for itself", query: func(q string) string { return strings.ReplaceAll(q, "%2B", "+") }, want: CodeEncoding},
		{name: "F4 blank for a plus", query: func(q string) string { return strings.ReplaceAll(q, "%2B", "%20") }, want: CodeEncoding},
		{name: "F4 line break in the message", query: turned("SAMLRequest=", "SAMLRequest=%0A"), want: CodeSignature},
		{name: "F4 message is not base64", query: exchanged("SAMLRequest", "%3Ca%3E"), want: CodeEncoding},
		{name: "F4 base64 with spare bits", query: exchanged("SAMLRequest", "ab%3D%3D"), want: CodeEncoding},
		{name: "F4 empty message", query: exchanged("SAMLRequest", ""), want: CodeEncoding},
		{name: "F4 XML as it is", query: exchanged("SAMLRequest", url.QueryEscape(encode([]byte(testLogoutRequest)))), want: CodeEncoding},
		{name: "F2 no signature", query: dropped("Signature"), want: CodeUnsigned},
		{name: "F2 no algorithm", query: dropped("SigAlg"), want: CodeUnsigned},
		{name: "F2 neither", query: func(q string) string { return dropped("Signature")(dropped("SigAlg")(q)) }, want: CodeUnsigned},
		{name: "F2 empty signature", query: exchanged("Signature", ""), want: CodeSignature},
		{name: "F2 signature of nothing", query: exchanged("Signature", "AAAA"), want: CodeSignature},
		{name: "F2 signature is not base64", query: exchanged("Signature", "a%20b"), want: CodeEncoding},
		{name: "F2 signature twice", query: appended("&Signature=AAAA"), want: CodeQuery},
		{name: "F2 algorithm twice", query: appended("&SigAlg=" + url.QueryEscape(dsig.RSASHA256SignatureMethod)), want: CodeQuery},
		{name: "B3 SHA-1", query: exchanged("SigAlg", url.QueryEscape(dsig.RSASHA1SignatureMethod)), want: CodeAlgorithm},
		{name: "B3 HMAC", query: exchanged("SigAlg", url.QueryEscape("http://www.w3.org/2001/04/xmldsig-more#hmac-sha256")), want: CodeAlgorithm},
		{name: "B3 none", query: exchanged("SigAlg", "none"), want: CodeAlgorithm},
		{name: "B3 empty", query: exchanged("SigAlg", ""), want: CodeAlgorithm},
		{name: "B3 algorithm of another kind of key", query: exchanged("SigAlg", url.QueryEscape(dsig.ECDSASHA256SignatureMethod)), want: CodeSignature},
		{name: "B3 algorithm with another hash", query: exchanged("SigAlg", url.QueryEscape(dsig.RSASHA512SignatureMethod)), want: CodeSignature},
		{name: "B3 algorithm in other letters", query: turned("rsa-sha256", "RSA-SHA256"), want: CodeAlgorithm},
		{name: "nothing", query: func(string) string { return "" }, want: CodeQuery},
		{name: "an ampersand", query: func(string) string { return "&" }, want: CodeQuery},
		{name: "too long", query: func(q string) string { return q + strings.Repeat("=", maxQuerySize) }, want: CodeQuery},
		{name: "neither request nor response", query: dropped("SAMLRequest"), want: CodeQuery},
		{name: "another binding", query: func(string) string { return "SAMLart=AAQAA" }, want: CodeQuery},
	}
	doc := testLogoutRequest
	for !strings.Contains(url.QueryEscape(pack(t, doc)), "%2B") { // which some of these change
		doc = strings.Replace(doc, ` ID="_`, ` ID="_x`, 1)
	}
	for i := range cases {
		cases[i].id, cases[i].doc = fmt.Sprintf("Q%d", i+1), doc
	}
	return cases
}

func TestQueryMutations(t *testing.T) {
	for _, c := range queryCorpus(t) {
		t.Run(c.name, func(t *testing.T) {
			idp, sp, _ := c.scene(t)
			got, request, _ := leave(t, sp, c.byRedirect(t, idp), "", nil)
			if got != c.want {
				t.Fatalf("code %q, want %q", got, c.want)
			}
			if c.want != "" {
				return
			}
			want := aliceLeaves()
			want.ID = request.ID // see above
			if diff := cmp.Diff(want, *request); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

// TestQueriesAsIdentityProvidersSignThem: the octets are theirs to choose.
func TestQueriesAsIdentityProvidersSignThem(t *testing.T) {
	message := url.QueryEscape(pack(t, testLogoutRequest))
	for name, tt := range map[string]struct {
		parameters []string
		state      string
		want       string
	}{
		"no relay state":             {[]string{"SAMLRequest=" + message}, "", ""},
		"empty relay state":          {[]string{"SAMLRequest=" + message, "RelayState="}, "", ""},
		"lower-case hex":             {[]string{"SAMLRequest=" + lower(message), "RelayState=a%2fb"}, "a/b", ""},
		"relay state bare":           {[]string{"SAMLRequest=" + message, "RelayState=a/b:c"}, "a/b:c", ""},
		"line breaks in the message": {[]string{"SAMLRequest=" + message[:64] + "%0D%0A" + message[64:]}, "", ""},
		// An encoder's plus is a blank to us, as to every reader of forms.
		"plus for itself":           {[]string{"SAMLRequest=" + message, "RelayState=a+b"}, "", CodeRelayState},
		"relay state signed first":  {[]string{"RelayState=state", "SAMLRequest=" + message}, "", CodeSignature},
		"relay state not signed":    {nil, "", CodeSignature},
		"message twice, all signed": {[]string{"SAMLRequest=" + message, "SAMLRequest=" + message}, "", CodeQuery},
	} {
		t.Run(name, func(t *testing.T) {
			idp, sp, _ := logoutCase{}.scene(t)
			query := idp.signQuery(t, tt.parameters...)
			if tt.parameters == nil {
				query = idp.signQuery(t, "SAMLRequest="+message) + "&RelayState=state"
			}
			got, request, _ := leave(t, sp, getRequest(query), "", nil)
			if got != tt.want {
				t.Fatalf("code %q, want %q", got, tt.want)
			}
			if got == "" && request.RelayState != tt.state {
				t.Errorf("relay state %q, want %q", request.RelayState, tt.state)
			}
		})
	}
}

// TestQueryOfAResponseIsNoRequest: the name of the parameter is signed, and which
// message may stand in it is fixed.
func TestQueryOfAResponseIsNoRequest(t *testing.T) {
	idp, sp, _ := logoutCase{}.scene(t)
	for name, parameters := range map[string]string{
		"request in a response": "SAMLResponse=" + url.QueryEscape(pack(t, testLogoutRequest)),
		"response in a request": "SAMLRequest=" + url.QueryEscape(pack(t, testLogoutResponse)),
	} {
		if got, _, _ := leave(t, sp, getRequest(idp.signQuery(t, parameters)), testLogoutID, nil); got != CodeRoot {
			t.Errorf("%s: code %q, want %q", name, got, CodeRoot)
		}
	}
}

func TestECDSASignaturesOfQueries(t *testing.T) {
	idp, _, _ := logoutCase{key: "p256-idp"}.scene(t)
	octets := "SAMLRequest=" + url.QueryEscape(pack(t, testLogoutRequest)) + "&SigAlg=" + url.QueryEscape(dsig.ECDSASHA256SignatureMethod)
	pair := idp.signOctets(t, octets, idp.algorithm())
	digest := sha256.Sum256([]byte(octets))
	der, err := idp.key.Sign(rand.Reader, digest[:], nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		value []byte
		want  string
	}{
		"r and s":          {pair, ""},
		"DER":              {der, ""},
		"DER and more":     {append(slices.Clone(der), 0), CodeSignature},
		"half of it":       {pair[:32], CodeSignature},
		"one byte less":    {pair[:63], CodeSignature},
		"for P-384":        {slices.Concat(make([]byte, 16), pair[:32], make([]byte, 16), pair[32:]), CodeSignature}, // the same numbers
		"zeros":            {make([]byte, 64), CodeSignature},
		"the greatest":     {bytes.Repeat([]byte{0xff}, 64), CodeSignature},
		"s and r":          {slices.Concat(pair[32:], pair[:32]), CodeSignature},
		"another's":        {newTestIdP(t, "p256-other").signOctets(t, octets, idp.algorithm()), CodeSignature},
		"of an RSA key":    {newTestIdP(t, "rsa-idp").signOctets(t, octets, idp.algorithm()), CodeSignature},
		"no byte at all":   {nil, CodeSignature},
		"of other octets":  {idp.signOctets(t, octets+"x", idp.algorithm()), CodeSignature},
		"of another curve": {p384Signature(t, digest[:]), CodeSignature},
	} {
		_, sp, _ := logoutCase{key: "p256-idp"}.scene(t)
		got, _, _ := leave(t, sp, getRequest(octets+"&Signature="+url.QueryEscape(encode(tt.value))), "", nil)
		if got != tt.want {
			t.Errorf("%s: code %q, want %q", name, got, tt.want)
		}
	}
}

func p384Signature(t *testing.T, digest []byte) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := ecdsa.SignASN1(rand.Reader, key, digest)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := concatenate(der, &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// TestInflate: row E of the catalogue for the binding that inflates.
func TestInflate(t *testing.T) {
	packed := func(raw []byte) []byte {
		out, err := decodeBase64(pack(t, string(raw)))
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	stored := func(raw []byte) []byte {
		var buf bytes.Buffer
		w, err := flate.NewWriter(&buf, flate.NoCompression)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(raw)
		_ = w.Close()
		return buf.Bytes()
	}
	random := make([]byte, maxLogoutSize+1)
	rand.Read(random)
	message := []byte(testLogoutRequest)
	for name, tt := range map[string]struct {
		packed []byte
		want   string
	}{
		"message":                     {packed(message), ""},
		"message, stored":             {stored(message), ""},
		"at the limit":                {stored(random[1:]), ""},
		"over the limit":              {stored(random), CodeXMLLimit},
		"bomb":                        {packed(make([]byte, 10<<20)), CodeXMLLimit},
		"small bomb":                  {packed(make([]byte, 32<<10)), CodeXMLLimit},
		"something behind it":         {append(packed(message), 0), CodeEncoding},
		"a second one behind it":      {append(packed(message), packed(message)...), CodeEncoding},
		"cut short":                   {packed(message)[:100], CodeEncoding},
		"nothing":                     {nil, CodeEncoding},
		"zlib's header":               {append([]byte{0x78, 0x9c}, packed(message)...), CodeEncoding},
		"reference before the start":  {[]byte{0x4b, 0x04, 0x42, 0x00}, CodeEncoding},
		"block of a kind there is no": {[]byte{0x07}, CodeEncoding},
	} {
		raw, err := inflate(tt.packed)
		if code := codeOf(t, err); code != tt.want {
			t.Errorf("%s: code %q, want %q (%v)", name, code, tt.want, err)
		}
		if len(raw) > maxLogoutSize || (err != nil && raw != nil) {
			t.Errorf("%s: %d bytes", name, len(raw))
		}
	}
}

// TestReadLogoutRefuses: what is no logout message at all, in either binding.
func TestReadLogoutRefuses(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	query := idp.query(t, testLogoutRequest, "state")
	message := encode([]byte(testLogoutRequest))
	form := func(fields url.Values) *http.Request { return postRequest(fields) }
	with := func(r *http.Request, change func(*http.Request)) *http.Request { change(r); return r }
	for name, tt := range map[string]struct {
		r    *http.Request
		want string
	}{
		"redirect":                   {getRequest(query), ""},
		"post":                       {form(url.Values{"SAMLRequest": {message}}), ""},
		"response by post":           {form(url.Values{"SAMLResponse": {message}}), ""},
		"HEAD":                       {with(getRequest(query), func(r *http.Request) { r.Method = "HEAD" }), CodeMethod},
		"PUT":                        {with(form(url.Values{"SAMLRequest": {message}}), func(r *http.Request) { r.Method = "PUT" }), CodeMethod},
		"form with a query":          {with(form(url.Values{"SAMLRequest": {message}}), func(r *http.Request) { r.URL.RawQuery = query }), CodeQuery},
		"form with an empty field":   {form(url.Values{"SAMLRequest": {""}}), CodeForm},
		"form with both":             {form(url.Values{"SAMLRequest": {message}, "SAMLResponse": {message}}), CodeForm},
		"form with two":              {form(url.Values{"SAMLRequest": {message, message}}), CodeForm},
		"form with neither":          {form(url.Values{"RelayState": {"x"}}), CodeForm},
		"form with two relay states": {form(url.Values{"SAMLRequest": {message}, "RelayState": {"x", "y"}}), CodeRelayState},
		"form with a bad one":        {form(url.Values{"SAMLRequest": {message}, "RelayState": {"x y"}}), CodeRelayState},
		"form with a signed query":   {form(mustQuery(t, query)), CodeEncoding}, // deflated
		"JSON":                       {with(form(nil), func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }), CodeContentType},
		"large body":                 {form(url.Values{"SAMLRequest": {strings.Repeat("A", maxLogoutBody)}}), CodeBodySize},
		"large message":              {form(url.Values{"SAMLRequest": {encode([]byte("<a>" + strings.Repeat(" ", maxLogoutSize) + "</a>"))}}), CodeXMLLimit},
		"not XML":                    {form(url.Values{"SAMLRequest": {encode([]byte("text"))}}), CodeEncoding},
		"not XML by redirect":        {getRequest(idp.query(t, "text", "")), CodeEncoding},
		"body of a GET":              {with(httptest.NewRequest(http.MethodGet, "/saml/slo", strings.NewReader("SAMLRequest="+message)), func(*http.Request) {}), CodeQuery},
	} {
		m, err := ReadLogout(httptest.NewRecorder(), tt.r)
		if code := codeOf(t, err); code != tt.want {
			t.Errorf("%s: code %q, want %q (%v)", name, code, tt.want, err)
		}
		if err == nil && m.Issuer != testIdPID {
			t.Errorf("%s: issuer %q", name, m.Issuer)
		}
		if err != nil && (m.raw != nil || m.Issuer != "") {
			t.Errorf("%s: a message of %d bytes with the error %v", name, len(m.raw), err)
		}
	}
}

func mustQuery(t *testing.T, raw string) url.Values {
	t.Helper()
	values, err := url.ParseQuery(raw)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func TestIssuerIn(t *testing.T) {
	for doc, want := range map[string]string{
		testLogoutRequest:  testIdPID,
		testLogoutResponse: testIdPID,
		`<a/>`:             "",
		`<a><b/></a>`:      "",
		`<a><Issuer xmlns="` + nsAssertion + `">urn:x</Issuer></a>`:                             "urn:x",
		`<a><Issuer xmlns="` + nsAssertion + `">a&amp;b</Issuer></a>`:                           "a&b",
		`<a><Issuer xmlns="` + nsAssertion + `"/></a>`:                                          "",
		`<a><Issuer xmlns="` + nsAssertion + `"> urn:x</Issuer></a>`:                            "",
		`<a><Issuer xmlns="` + nsAssertion + `"><b>urn:x</b></Issuer></a>`:                      "",
		`<a><Issuer xmlns="` + nsAssertion + `">` + strings.Repeat("x", 2000) + `</Issuer></a>`: "",
		`<a><Issuer xmlns="urn:other">urn:x</Issuer></a>`:                                       "",
		`<a><b><Issuer xmlns="` + nsAssertion + `">urn:x</Issuer></b></a>`:                      "",
	} {
		if got := issuerIn([]byte(doc)); got != want {
			t.Errorf("%.80s: issuer %q, want %q", doc, got, want)
		}
	}
}

// TestPackIsBase64 keeps the helper honest: what the tests pack is what they say.
func TestPackIsBase64(t *testing.T) {
	packed, err := base64.StdEncoding.DecodeString(pack(t, testLogoutRequest))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := inflate(packed)
	if err != nil || string(raw) != testLogoutRequest {
		t.Errorf("%q, %v", raw, err)
	}
}
