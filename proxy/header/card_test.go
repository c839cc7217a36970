package header

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// cardOf makes a card that must be possible.
func cardOf(tb testing.TB, f Format, id Identity) *Card {
	tb.Helper()
	template, err := NewTemplate(f)
	if err != nil {
		tb.Fatal(err)
	}
	card, err := template.Card(id)
	if err != nil {
		tb.Fatal(err)
	}
	return card
}

// profile is one that there is.
func profile(tb testing.TB, name string) Profile {
	tb.Helper()
	p, ok := ProfileOf(name)
	if !ok {
		tb.Fatalf("there is no profile %q", name)
	}
	return p
}

var jorg = Identity{User: "jörg@example.com", Email: "joerg@example.com", Name: "Jörg, the 1st", Groups: []string{"CN=Staff,DC=example", "a|b;c", "engineers"}}

func TestProfiles(t *testing.T) {
	custom := Profile{User: "X-My-User", Groups: "x-my-GROUPS", Separator: Lines}
	tests := []struct {
		name   string
		format Format
		want   http.Header
	}{
		{"what a route has that says nothing, with no group", Format{}, http.Header{
			User: {"j%C3%B6rg@example.com"}, Email: {"joerg@example.com"}, PreferredUsername: {"J%C3%B6rg, the 1st"},
		}},
		{"only the groups that are released", Format{Groups: []string{"engineers", "others"}, Profiles: []Profile{profile(t, Remote)}}, http.Header{
			"Remote-User": {"j%C3%B6rg@example.com"}, "Remote-Email": {"joerg@example.com"}, "Remote-Name": {"J%C3%B6rg, the 1st"}, "Remote-Groups": {"engineers"},
			SetNames: {"Remote-User,Remote-Email,Remote-Name,Remote-Groups"}, Person: {"j%C3%B6rg@example.com"},
		}},
		{"groups with a comma between", Format{AllGroups: true, Profiles: []Profile{profile(t, WebAuth)}}, http.Header{
			"X-Webauth-User": {"j%C3%B6rg@example.com"}, "X-Webauth-Email": {"joerg@example.com"}, "X-Webauth-Name": {"J%C3%B6rg, the 1st"},
			"X-Webauth-Groups": {"CN=Staff%2CDC=example,a|b;c,engineers"},
			SetNames:           {"X-Webauth-User,X-Webauth-Email,X-Webauth-Name,X-Webauth-Groups"}, Person: {"j%C3%B6rg@example.com"},
		}},
		{"groups with a pipe between", Format{AllGroups: true, Profiles: []Profile{profile(t, Authentik)}}, http.Header{
			"X-Authentik-Username": {"j%C3%B6rg@example.com"}, "X-Authentik-Uid": {"j%C3%B6rg@example.com"}, "X-Authentik-Email": {"joerg@example.com"},
			"X-Authentik-Name": {"J%C3%B6rg, the 1st"}, "X-Authentik-Groups": {"CN=Staff,DC=example|a%7Cb;c|engineers"},
			SetNames: {"X-Authentik-Username,X-Authentik-Uid,X-Authentik-Email,X-Authentik-Name,X-Authentik-Groups"}, Person: {"j%C3%B6rg@example.com"},
		}},
		{"names of one's own, with a line for each group", Format{AllGroups: true, Profiles: []Profile{custom}}, http.Header{
			"X-My-User": {"j%C3%B6rg@example.com"}, "X-My-Groups": {"CN=Staff%2CDC=example", "a|b;c", "engineers"},
			SetNames: {"X-My-User,X-My-Groups=3"}, Person: {"j%C3%B6rg@example.com"},
		}},
		{"one group is one line", Format{Groups: []string{"engineers"}, Profiles: []Profile{custom}}, http.Header{
			"X-My-User": {"j%C3%B6rg@example.com"}, "X-My-Groups": {"engineers"},
			SetNames: {"X-My-User,X-My-Groups"}, Person: {"j%C3%B6rg@example.com"},
		}},
		{"several profiles at once", Format{Profiles: []Profile{profile(t, XForwarded), {User: "X-My-User"}}}, http.Header{
			User: {"j%C3%B6rg@example.com"}, Email: {"joerg@example.com"}, PreferredUsername: {"J%C3%B6rg, the 1st"}, "X-My-User": {"j%C3%B6rg@example.com"},
			SetNames: {"X-My-User"},
		}},
		{"none at all", Format{AllGroups: true, Profiles: []Profile{}}, http.Header{Person: {"j%C3%B6rg@example.com"}}},
		{"letters as they are", Format{AllGroups: true, Values: UTF8, Profiles: []Profile{{User: User, Name: PreferredUsername, Groups: Groups, Separator: Semicolon}}}, http.Header{
			User: {"jörg@example.com"}, PreferredUsername: {"Jörg, the 1st"}, Groups: {"CN=Staff,DC=example;a|b%3Bc;engineers"}, Person: {"j%C3%B6rg@example.com"},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := http.Header{}
			cardOf(t, test.format, jorg).Set(h)
			if diff := cmp.Diff(test.want, h); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefuseTellsNothingOfWhoCannotBeTold(t *testing.T) {
	template, err := NewTemplate(Format{Values: Refuse, Groups: []string{"a,b", "c"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		id     Identity
		header string
	}{
		"plain":                         {Identity{User: "alice", Name: "Alice Liddell", Groups: []string{"c", "ünreleased"}}, ""},
		"user":                          {Identity{User: "älice"}, User},
		"percent":                       {Identity{User: "100%"}, User},
		"name":                          {Identity{User: "alice", Name: "Älice"}, PreferredUsername},
		"blank that is lost on the way": {Identity{User: "alice", Email: "a@b "}, Email},
		"separator":                     {Identity{User: "alice", Groups: []string{"a,b"}}, Groups},
	} {
		card, err := template.Card(test.id)
		var value *ValueError
		switch {
		case test.header == "":
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case !errors.As(err, &value) || value.Name != test.header || card != nil:
			t.Errorf("%s: error %v and card %v, want a *ValueError for %s", name, err, card, test.header)
		case strings.Contains(err.Error(), test.id.User):
			t.Errorf("%s: the error shows a value: %v", name, err)
		}
	}
}

func TestCardReplacesWhatIsThere(t *testing.T) {
	h := http.Header{User: {"root", "root2"}, Email: {"root"}, Groups: {"wheel"}, PreferredUsername: {"root"}}
	cardOf(t, Format{}, Identity{User: "alice"}).Set(h)
	if diff := cmp.Diff(http.Header{User: {"alice"}}, h); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

func TestTemplatesThatAreRefused(t *testing.T) {
	for name, f := range map[string]Format{
		"one name for two things":     {Profiles: []Profile{{User: "X-My-User", Email: "x-my-USER"}}},
		"a name that another has":     {Profiles: []Profile{profile(t, XForwarded), {User: User}}},
		"the client's own":            {Profiles: []Profile{{User: "Cookie"}}},
		"a separator of one's own":    {Profiles: []Profile{{Groups: Groups, Separator: "#"}}},
		"a separator that is no sign": {Profiles: []Profile{{Groups: Groups, Separator: ",,"}}},
	} {
		if _, err := NewTemplate(f); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSettable(t *testing.T) {
	for _, name := range []string{
		"X-My-User", "User", "Uid", "x-user", User, Groups, "X-Forwarded-Name", "Remote-User", "REMOTE-GROUPS", "X-WEBAUTH-USER", "X-Auth-Request-Email",
		"Impersonate-User", "X-Remote-Group", "SSO-User", "Oidc-Claim-Email", "Iv-User",
	} {
		if err := Settable(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", "-", "X_My_User", "X.My.User", "X My", "X-My-User:", "Jörg", "1st", "-User", strings.Repeat("a", 65),
		"Host", "Cookie", "Set-Cookie", "authorization", "Www-Authenticate", "Proxy-Authorization", "Connection", "Keep-Alive", "TE", "Trailer",
		"Transfer-Encoding", "Upgrade", "Content-Length", "Content-Type", "Expect", "Origin", "Referer", "Range", "Accept", "Sec-Fetch-Site", "If-Match",
		"X-Sallyport-Assertion", "X-Sallyport-Set", "x-sallyport-anything", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix",
		"X-Forwarded-Port", "Forwarded", "Via", "X-Real-Ip", "X-Request-Id", "X-Original-Url", "X-Http-Method-Override", "X-Accel-Redirect",
		"Remote-Addr", "X-Remote-Ip", "X-Ssl-Client-Cert", "Http2-Settings", "Grpc-Timeout", "X-Csrf-Token", "Access-Control-Request-Method",
	} {
		if Settable(name) == nil {
			t.Errorf("%q is settable", name)
		}
	}
}

// TestTemplateStripsItsOwnNames: what a route sets no client may send it, in no
// spelling, whether the person has such a thing or not.
func TestTemplateStripsItsOwnNames(t *testing.T) {
	template, err := NewTemplate(Format{Profiles: []Profile{{User: "X-My-User", Groups: "Team"}}, Foreign: []string{"Of-Another"}})
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{
		"X-My-User": {"root"}, "x-my-user": {"root"}, "X_My_User": {"root"}, "X.my-User": {"root"}, "Team": {"wheel"}, "TEAM": {"wheel"},
		"Of-Another": {"root"}, User: {"root"}, "Remote-User": {"root"}, "Accept": {"*/*"}, "Teams": {"kept"}, strings.Repeat("X-My-User", 20): {"kept"},
	}
	if got := template.Strip(h); got != 9 || len(h) != 3 || h.Get("Accept") == "" || h.Get("Teams") == "" {
		t.Errorf("%d removed, left %v", got, h)
	}
	if diff := cmp.Diff([]string{"X-My-User", "Team"}, template.Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if !template.Guards("x_my_user") || !template.Guards("Remote-User") || !template.Guards("Of-Another") || template.Guards("Accept") {
		t.Error("Guards does not say what Strip does")
	}
	if n := testing.AllocsPerRun(100, func() { template.Strip(h) }); n != 0 {
		t.Errorf("Strip allocates %v times, want 0", n)
	}
}

// BenchmarkCard makes the card of somebody in a few groups.
func BenchmarkCard(b *testing.B) {
	template, err := NewTemplate(Format{Groups: []string{"engineers", "admins"}})
	if err != nil {
		b.Fatal(err)
	}
	id := Identity{User: "alice@example.com", Email: "alice@example.com", Name: "Alice", Groups: []string{"engineers", "admins", "others"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := template.Card(id); err != nil {
			b.Fatal(err)
		}
	}
}
