package header

import (
	"bufio"
	"errors"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStripRemovesEverySpelling(t *testing.T) {
	for _, name := range []string{
		"X-Forwarded-User", "x-forwarded-user", "X_Forwarded_User", "X-Forwarded_User", "X.Forwarded.User",
		"x~forwarded~user", "X!FORWARDED-user", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Anything",
		"X-Forwarded-For", "X-Forwarded-Prefix", "Forwarded", "X-Real-Ip", "True-Client-Ip",
		"Remote-User", "Remote_User", "X-Remote-User", "X-Auth-Request-Email", "X-WEBAUTH-USER",
		"X-Ssl-Client-S-Dn", "X-Client-Cert", "Client-Cert-Chain", "X-Authentik-Username",
		"X-Goog-Iap-Jwt-Assertion", "Cf-Access-Jwt-Assertion", "Teleport-Jwt-Assertion", "X-Pomerium-Claim-Email",
		"X-Auth-User", "X_Auth_Username", "X-User-Email", "Oidc-Claim-Sub", "OIDC_CLAIM_email", "Mellon-Name-Id", "Shib-Identity-Provider",
		"X-Vouch-User", "X-Proxy-User", "X-Appengine-User-Email", "Wl-Proxy-Client-Ip", "Cf-Connecting-Ipv6", "Forwarded-For",
		"X-Scheme", "Front-End-Https",
		"X-Sallyport-Assertion", "X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override",
		"Proxy", "Proxy-Authorization", "X-Accel-Redirect", "X-Request-Id", "Odd_Name", "Odd.Name", "",
	} {
		h := http.Header{name: {"root"}, "Accept": {"*/*"}}
		if got := Strip(h); got != 1 {
			t.Errorf("Strip with %q removed %d names, want 1: %v", name, got, h)
		}
		if h.Get("Accept") == "" {
			t.Errorf("Strip with %q also removed Accept", name)
		}
	}
}

func TestStripKeepsWhatToolsNeed(t *testing.T) {
	h := http.Header{
		"Accept": {"a"}, "Accept-Language": {"a"}, "Content-Type": {"a"}, "Cookie": {"a=b"}, "Authorization": {"Basic x"},
		"Origin": {"a"}, "Referer": {"a"}, "User-Agent": {"a"}, "X-Requested-With": {"a"}, "X-Csrf-Token": {"a"},
		"Sec-Websocket-Key": {"a"}, "Grpc-Timeout": {"a"}, "X-User-Agent": {"a"}, "X-Auth-Token": {"a"}, "Traceparent": {"a"}, "Range": {"a"},
	}
	want := h.Clone()
	if got := Strip(h); got != 0 {
		t.Errorf("Strip removed %d names, want 0", got)
	}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("Strip changed harmless headers (-want +got):\n%s", diff)
	}
}

func TestSetReplacesAndLeavesNothingBehind(t *testing.T) {
	tests := []struct {
		name string
		id   Identity
		want http.Header
	}{
		{
			name: "everything is known",
			id:   Identity{User: "alice@example.com", Email: "alice@example.com", Name: "Alice Liddell", Groups: []string{"engineers", "admins"}},
			want: http.Header{
				User: {"alice@example.com"}, Email: {"alice@example.com"},
				PreferredUsername: {"Alice Liddell"}, Groups: {"engineers,admins"},
			},
		},
		{name: "unknown fields are absent, not the client's", id: Identity{User: "bob"}, want: http.Header{User: {"bob"}}},
		{name: "nobody", id: Identity{}, want: http.Header{}},
		{
			name: "letters beyond ASCII are encoded one to one",
			id:   Identity{User: "jürgen", Name: "100% Jürgen "},
			want: http.Header{User: {"j%C3%BCrgen"}, PreferredUsername: {"100%25 J%C3%BCrgen%20"}},
		},
		{
			name: "a comma in a group makes no second one",
			id:   Identity{Groups: []string{"CN=Staff,DC=example", "engineers", "wheel,admins"}},
			want: http.Header{Groups: {"CN=Staff%2CDC=example,engineers,wheel%2Cadmins"}},
		},
		{
			name: "a line break can forge no header",
			id:   Identity{User: "eve\r\nX-Admin: 1"},
			want: http.Header{User: {"eve%0D%0AX-Admin: 1"}},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{User: {"root", "root2"}, Email: {"root"}, Groups: {"wheel"}, PreferredUsername: {"root"}}
			cardOf(t, Format{AllGroups: true}, test.id).Tell(h)
			if diff := cmp.Diff(test.want, h); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCarryTakesOnlyTheGatewaysNames(t *testing.T) {
	in := http.Header{
		User: {"alice"}, Groups: {"engineers"}, ForwardedFor: {"192.0.2.1"}, ForwardedProto: {"https"}, RequestID: {"abc"},
		ForwardedPrefix: {"/grafana"}, "X_forwarded_prefix": {"/evil"}, "Remote-User": {"root"}, "X_forwarded_user": {"root"}, "Accept": {"*/*"},
	}
	if err := Carry(in, in); err != nil {
		t.Fatalf("Carry: %v", err)
	}
	want := http.Header{
		User: {"alice"}, Groups: {"engineers"}, ForwardedFor: {"192.0.2.1"}, ForwardedProto: {"https"}, RequestID: {"abc"},
		ForwardedPrefix: {"/grafana"}, "Accept": {"*/*"},
	}
	if diff := cmp.Diff(want, in); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

func TestCarryRefusesTwoUsers(t *testing.T) {
	h := http.Header{User: {"alice", "root"}, "Accept": {"*/*"}}
	err := Carry(h, h)
	var ambiguous *AmbiguousError
	if !errors.As(err, &ambiguous) || ambiguous.Name != User || ambiguous.Count != 2 {
		t.Fatalf("Carry = %v, want *AmbiguousError for %s", err, User)
	}
	if strings.Contains(err.Error(), "root") {
		t.Errorf("error shows a value: %v", err)
	}
	if diff := cmp.Diff(http.Header{"Accept": {"*/*"}}, h); diff != "" {
		t.Errorf("headers after a refusal (-want +got):\n%s", diff)
	}
}

func TestCarryBetweenTwoHeaders(t *testing.T) {
	in := http.Header{User: {"alice"}, Email: {""}, Groups: nil, "Accept": {"in"}}
	out := http.Header{User: {"root"}, Email: {"root"}, RequestID: {"root"}, "Remote-User": {"root"}, "Accept": {"out"}}
	if err := Carry(out, in); err != nil {
		t.Fatalf("Carry: %v", err)
	}
	if diff := cmp.Diff(http.Header{User: {"alice"}, "Accept": {"out"}}, out); diff != "" {
		t.Errorf("out (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(http.Header{User: {"alice"}, Email: {""}, Groups: nil, "Accept": {"in"}}, in); diff != "" {
		t.Errorf("in was changed (-want +got):\n%s", diff)
	}
}

// TestCarryRefusesEachNameTwice: whichever header is doubled, the error names it.
func TestCarryRefusesEachNameTwice(t *testing.T) {
	for _, name := range carried {
		in, out := http.Header{name: {"a", "a"}}, http.Header{User: {"root"}}
		err := Carry(out, in)
		if err == nil || !strings.Contains(err.Error(), name) || len(out) != 0 {
			t.Errorf("Carry of two %s = %v, left %v", name, err, out)
		}
	}
}

func TestStripResponseKeepsWhatBrowsersNeed(t *testing.T) {
	h := http.Header{
		"Content-Type": {"a"}, "Set-Cookie": {"a=b"}, "Location": {"/"}, "Server": {"x"}, "X-Frame-Options": {"DENY"}, "Odd_Name": {"kept"},
		"Strict-Transport-Security": {"max-age=1"}, "Access-Control-Allow-Origin": {"*"}, "Www-Authenticate": {"Basic"},
	}
	want := h.Clone()
	for _, name := range []string{Fault, User, RequestID, "x_forwarded_user", "X-Accel-Redirect", "Proxy-Authenticate", "Via"} {
		h[name] = []string{"x"}
	}
	StripResponse(h)
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

func TestManagedWithLongNames(t *testing.T) {
	if !Managed("X_Forwarded-" + strings.Repeat("a", 1000)) {
		t.Error("a long name with a managed beginning is not managed")
	}
	if Managed(strings.Repeat("a", 1000)) {
		t.Error("a long harmless name is managed")
	}
	for _, name := range []string{"", "X", "X-Forwarde", "X-Forwardedx", "XForwarded-User", "My-X-Forwarded-User"} {
		if Managed(name) {
			t.Errorf("%q is managed", name)
		}
	}
}

// TestHarmlessNamesAreNoneOfOurs: what is not looked at closer would not be removed, and
// no route may set it.
func TestHarmlessNamesAreNoneOfOurs(t *testing.T) {
	found := 0
	for _, name := range append(otherNames[:], "accept-encoding", "accept-language", "content-length", "content-type", "if-modified-since", "if-none-match",
		"sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform", "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user") {
		if name = canonical(name); !harmless(name) {
			continue
		}
		found++
		if Managed(name) || !plain(name) || Settable(name) == nil {
			t.Errorf("%s is not harmless", name)
		}
	}
	if found != 28 {
		t.Errorf("%d names were looked at, expected all", found)
	}
	for first, prefixes := range managedPrefixes {
		for _, name := range append(prefixes.personal, prefixes.other...) {
			if harmless(canonical(name)) || harmless(canonical(name+"user")) {
				t.Errorf("%s is taken for harmless", name)
			}
			if int(name[0]) != first || !Managed(name+"user") {
				t.Errorf("%s is at the wrong place, under %q", name, rune(first))
			}
		}
	}
}

func TestStripAllocatesNothing(t *testing.T) {
	h := http.Header{"Accept": {"a"}, "Sec-Fetch-Mode": {"navigate"}, "User-Agent": {"x"}, "Cookie": {"a=b"}}
	if n := testing.AllocsPerRun(100, func() { Strip(h) }); n != 0 {
		t.Errorf("Strip allocates %v times, want 0", n)
	}
}

// FuzzStripAndSet feeds raw header blocks, as net/http reads them, and holds
// the promise that a backend may rely on: whatever folds to a managed name is
// the gateway's own value.
func FuzzStripAndSet(f *testing.F) {
	f.Add("X-Forwarded-User: root\r\nX_Forwarded_User: root\r\n\r\n")
	f.Add("Connection: X-Forwarded-User\r\nX.Forwarded.User: root\r\n\r\n")
	f.Add("x-forwarded-user : root\r\n folded\r\n\r\n")
	f.Fuzz(func(t *testing.T, block string) {
		mime, err := textproto.NewReader(bufio.NewReader(strings.NewReader(block))).ReadMIMEHeader()
		if err != nil {
			return
		}
		h := http.Header(mime)
		Strip(h)
		cardOf(t, Format{}, Identity{User: "alice"}).Set(h)
		for name, values := range h {
			folded := string(fold(nil, name))
			if folded == "x-forwarded-user" && (name != User || len(values) != 1 || values[0] != "alice") {
				t.Fatalf("%q: %q reached the backend", name, values)
			}
			if name != User && Managed(name) {
				t.Fatalf("managed %q: %q reached the backend", name, values)
			}
		}
	})
}

func FuzzEncode(f *testing.F) {
	f.Add("alice@example.com")
	f.Add(" jürgen%\r\n ")
	f.Fuzz(func(t *testing.T, s string) {
		e := Encode(s)
		for i := range len(e) {
			if e[i] < ' ' || e[i] > '~' {
				t.Fatalf("Encode(%q) = %q has a byte that is not visible ASCII", s, e)
			}
		}
		if e != strings.TrimSpace(e) {
			t.Fatalf("Encode(%q) = %q would be trimmed on the way", s, e)
		}
		back, err := url.PathUnescape(e)
		if err != nil || back != s {
			t.Fatalf("Encode(%q) = %q decodes to %q, %v", s, e, back, err)
		}
	})
}

func BenchmarkStripAndSet(b *testing.B) {
	browser := http.Header{
		"Accept": {"text/html"}, "Accept-Encoding": {"gzip"}, "Accept-Language": {"en"}, "Cache-Control": {"no-cache"},
		"Cookie": {"a=b"}, "Referer": {"https://a.example/"}, "Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Mode": {"navigate"},
		"Sec-Fetch-Site": {"same-origin"}, "User-Agent": {"Mozilla/5.0"}, "X-Forwarded-User": {"root"}, "X-Requested-With": {"x"},
	}
	id := Identity{User: "alice@example.com", Email: "alice@example.com", Name: "Alice", Groups: []string{"engineers", "admins"}}
	card := cardOf(b, Format{AllGroups: true}, id)
	b.ReportAllocs()
	for b.Loop() {
		Strip(browser)
		card.Set(browser)
	}
}
