package saml

import (
	"bytes"
	"compress/flate"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
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

// swapped puts another value in place of a parameter's.
func swapped(name, value string) func(string) string {
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

// TestQueryMutations: what can be done to a genuine query on its way, row F4 of the
// catalogue. Whatever is not the very octets that were signed is refused; how they
// stand in the query does not matter.
func TestQueryMutations(t *testing.T) {
	other := url.QueryEscape(pack(t, strings.Replace(testLogoutRequest, "alice-4711", "bob-1", 1)))
	for name, tt := range map[string]struct {
		mutate func(string) string
		want   string
	}{
		"F4 untouched":                         {func(q string) string { return q }, ""},
		"F4 reordered":                         {reordered("Signature", "SigAlg", "RelayState", "SAMLRequest"), ""},
		"F4 reordered in another way":          {reordered("RelayState", "SAMLRequest", "Signature", "SigAlg"), ""},
		"F4 encoding said":                     {appended("&SAMLEncoding=" + url.QueryEscape(encodingDeflate)), ""},
		"F4 encoding said otherwise":           {appended("&SAMLEncoding=urn:none"), CodeQuery},
		"F4 encoding empty":                    {appended("&SAMLEncoding="), CodeQuery},
		"F4 signature re-encoded":              {func(q string) string { i := strings.Index(q, "&Signature="); return q[:i] + lower(q[i:]) }, ""},
		"F4 lower-case hex":                    {lower, CodeSignature},
		"F4 lower-case hex in the relay state": {turned("RelayState=state", "RelayState=%73tate"), CodeSignature},
		"F4 a letter escaped in the message": {func(q string) string {
			return turned(q[12:13], "%"+string("0123456789ABCDEF"[q[12]>>4])+string("0123456789ABCDEF"[q[12]&15]))(q)
		}, CodeSignature},
		"F4 lower-case hex in the algorithm":  {turned("SigAlg=http%3A%2F%2F", "SigAlg=http%3a%2f%2f"), CodeSignature},
		"F4 nothing escaped in the algorithm": {turned("SigAlg=http%3A%2F%2F", "SigAlg=http://"), CodeSignature},
		"F4 another message":                  {swapped("SAMLRequest", other), CodeSignature},
		"F4 another message before it":        {func(q string) string { return "SAMLRequest=" + other + "&" + q }, CodeQuery},
		"F4 another message behind it":        {appended("&SAMLRequest=" + other), CodeQuery},
		"F4 the same message twice":           {func(q string) string { return q[:strings.Index(q, "&")] + "&" + q }, CodeQuery},
		"F4 as a response too":                {appended("&SAMLResponse=" + other), CodeQuery},
		"F4 as an empty response too":         {appended("&SAMLResponse="), CodeQuery},
		"F4 as a response":                    {turned("SAMLRequest=", "SAMLResponse="), CodeRoot},
		"F4 name in small letters besides":    {appended("&samlrequest=" + other), CodeQuery},
		"F4 name in percent signs besides":    {appended("&SAML%52equest=" + other), CodeQuery},
		"F4 name in percent signs":            {turned("SAMLRequest=", "SAML%52equest="), CodeQuery},
		"F4 name with a bracket":              {appended("&SAMLRequest[]=" + other), CodeQuery},
		"F4 name behind a blank":              {appended("&+SAMLRequest=" + other), CodeQuery},
		"F4 other relay state":                {swapped("RelayState", "other"), CodeSignature},
		"F4 relay state twice":                {appended("&RelayState=state"), CodeQuery},
		"F4 empty relay state twice":          {appended("&RelayState="), CodeQuery},
		"F4 relay state emptied":              {swapped("RelayState", ""), CodeSignature},
		"F4 relay state gone":                 {dropped("RelayState"), CodeSignature},
		"F4 relay state in small letters":     {turned("RelayState=", "relaystate="), CodeQuery},
		"F4 blank in the relay state":         {swapped("RelayState", "a+b"), CodeRelayState},
		"F4 line break in the relay state":    {swapped("RelayState", "a%0d%0ab"), CodeRelayState},
		"F4 long relay state":                 {swapped("RelayState", strings.Repeat("r", 81)), CodeRelayState},
		"F4 semicolon for an ampersand":       {turned("&RelayState=", ";RelayState="), CodeEncoding},
		"F4 ampersand at the end":             {appended("&"), CodeQuery},
		"F4 ampersand at the beginning":       {func(q string) string { return "&" + q }, CodeQuery},
		"F4 two ampersands":                   {turned("&", "&&"), CodeQuery},
		"F4 escaped ampersand":                {turned("&RelayState=", "%26RelayState="), CodeEncoding},
		"F4 name without a value":             {appended("&x"), CodeQuery},
		"F4 parameter of somebody else":       {appended("&x=y"), CodeQuery},
		"F4 bad escape":                       {swapped("RelayState", "%zz"), CodeQuery},
		"F4 half an escape":                   {appended("%4"), CodeQuery},
		"F4 plus for itself":                  {func(q string) string { return strings.ReplaceAll(q, "%2B", "+") }, CodeEncoding},
		"F4 blank for a plus":                 {func(q string) string { return strings.ReplaceAll(q, "%2B", "%20") }, CodeEncoding},
		"F4 line break in the message":        {turned("SAMLRequest=", "SAMLRequest=%0A"), CodeSignature},
		"F4 message is not base64":            {swapped("SAMLRequest", "%3Ca%3E"), CodeEncoding},
		"F4 base64 with spare bits":           {swapped("SAMLRequest", "ab%3D%3D"), CodeEncoding},
		"F4 empty message":                    {swapped("SAMLRequest", ""), CodeEncoding},
		"F4 XML as it is":                     {swapped("SAMLRequest", url.QueryEscape(encode([]byte(testLogoutRequest)))), CodeEncoding},
		"F2 no signature":                     {dropped("Signature"), CodeUnsigned},
		"F2 no algorithm":                     {dropped("SigAlg"), CodeUnsigned},
		"F2 neither":                          {func(q string) string { return dropped("Signature")(dropped("SigAlg")(q)) }, CodeUnsigned},
		"F2 empty signature":                  {swapped("Signature", ""), CodeSignature},
		"F2 signature of nothing":             {swapped("Signature", "AAAA"), CodeSignature},
		"F2 signature is not base64":          {swapped("Signature", "a%20b"), CodeEncoding},
		"F2 signature twice":                  {appended("&Signature=AAAA"), CodeQuery},
		"F2 algorithm twice":                  {appended("&SigAlg=" + url.QueryEscape(dsig.RSASHA256SignatureMethod)), CodeQuery},
		"B3 SHA-1":                            {swapped("SigAlg", url.QueryEscape(dsig.RSASHA1SignatureMethod)), CodeAlgorithm},
		"B3 HMAC":                             {swapped("SigAlg", url.QueryEscape("http://www.w3.org/2001/04/xmldsig-more#hmac-sha256")), CodeAlgorithm},
		"B3 none":                             {swapped("SigAlg", "none"), CodeAlgorithm},
		"B3 empty":                            {swapped("SigAlg", ""), CodeAlgorithm},
		"B3 algorithm of another kind of key": {swapped("SigAlg", url.QueryEscape(dsig.ECDSASHA256SignatureMethod)), CodeSignature},
		"B3 algorithm with another hash":      {swapped("SigAlg", url.QueryEscape(dsig.RSASHA512SignatureMethod)), CodeSignature},
		"B3 algorithm in other letters":       {turned("rsa-sha256", "RSA-SHA256"), CodeAlgorithm},
		"nothing":                             {func(string) string { return "" }, CodeQuery},
		"an ampersand":                        {func(string) string { return "&" }, CodeQuery},
		"too long":                            {func(q string) string { return q + strings.Repeat("=", maxQuerySize) }, CodeQuery},
		"neither request nor response":        {dropped("SAMLRequest"), CodeQuery},
		"another binding":                     {func(string) string { return "SAMLart=AAQAA" }, CodeQuery},
	} {
		t.Run(name, func(t *testing.T) {
			idp, sp, _ := logoutCase{}.scene(t)
			// The mutations need a message with escapes in it.
			query := idp.query(t, testLogoutRequest, "state")
			for i := 0; !strings.Contains(query[:strings.Index(query, "&")], "%2B"); i++ {
				query = idp.query(t, strings.Replace(testLogoutRequest, `"_logout"`, `"_logout`+strings.Repeat("x", i)+`"`, 1), "state")
			}
			got, request, _ := leave(t, sp, getRequest(tt.mutate(query)), "", nil)
			if got != tt.want {
				t.Fatalf("code %q, want %q", got, tt.want)
			}
			if tt.want != "" {
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
		"for P-384":        {slices.Concat(make([]byte, 16), pair[:32], make([]byte, 16), pair[32:]), ""}, // the same numbers
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
