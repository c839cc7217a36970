package idp

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"html"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crewjam/saml"
	"github.com/google/go-cmp/cmp"
)

const acs = "https://door.example.com:8443/saml/acs"

// world is an IdP on a real TLS listener, with a clock that can be set, one
// service provider that knows it, and a browser's jar of cookies.
type world struct {
	t      *testing.T
	server *httptest.Server
	sp     *saml.ServiceProvider
	client *http.Client
	log    *bytes.Buffer

	mu     sync.Mutex
	ahead  time.Duration // of the IdP's clock
	source MetadataSource
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, log: new(bytes.Buffer)}
	w.server = httptest.NewUnstartedServer(nil)
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	base := parse(t, w.server.URL)
	key, cert := keyPair(t)
	p, err := New(Config{
		BaseURL: base, Key: key, Certificate: cert, Users: DemoUsers(),
		Provider: func(ctx context.Context) ([]byte, error) { return w.source(ctx) },
		Log:      slog.New(slog.NewTextHandler(w.log, nil)),
		Now:      w.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.server.Config.Handler = p
	w.sp = newServiceProvider(t, p)
	w.source = func(context.Context) ([]byte, error) { return xml.Marshal(w.sp.Metadata()) }
	w.forget()
	return w
}

// forget makes the client a browser that was never here.
func (w *world) forget() {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.client = w.server.Client()
	w.client.Jar = jar
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.ahead)
}

func (w *world) wait(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

func newServiceProvider(t *testing.T, p *IdP) *saml.ServiceProvider {
	t.Helper()
	data, err := p.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	var descriptor saml.EntityDescriptor
	if err := xml.Unmarshal(data, &descriptor); err != nil {
		t.Fatal(err)
	}
	return &saml.ServiceProvider{
		EntityID:    "https://door.example.com:8443/saml/metadata",
		AcsURL:      *parse(t, acs),
		MetadataURL: *parse(t, "https://door.example.com:8443/saml/metadata"),
		IDPMetadata: &descriptor,
	}
}

func parse(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func keyPair(t *testing.T) (*rsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// request returns the address that a browser is sent to, and the request's ID.
func (w *world) request(change func(*saml.AuthnRequest)) (address, id string) {
	w.t.Helper()
	request, err := w.sp.MakeAuthenticationRequest(w.server.URL+"/sso", saml.HTTPRedirectBinding, saml.HTTPPostBinding)
	if err != nil {
		w.t.Fatal(err)
	}
	if change != nil {
		change(request)
	}
	u, err := request.Redirect("state-7", w.sp)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.server.URL + "/sso?" + u.RawQuery, request.ID
}

func (w *world) get(address string) (status int, page string) {
	w.t.Helper()
	resp, err := w.client.Get(address)
	return w.read(resp, err)
}

func (w *world) post(path string, form url.Values) (status int, page string) {
	w.t.Helper()
	resp, err := w.client.PostForm(w.server.URL+path, form)
	return w.read(resp, err)
}

func (w *world) read(resp *http.Response, err error) (status int, page string) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

var hidden = regexp.MustCompile(`<input type="hidden" name="(\w+)" value="([^"]*)">`)

func fields(page string) url.Values {
	form := make(url.Values)
	for _, match := range hidden.FindAllStringSubmatch(page, -1) {
		form.Set(match[1], html.UnescapeString(match[2]))
	}
	return form
}

// login fills in the login page.
func (w *world) login(page, user, password string) (status int, next string) {
	w.t.Helper()
	form := fields(page)
	form.Set("username", user)
	form.Set("password", password)
	return w.post("/login", form)
}

// principal has the service provider verify the page that carries a response.
func (w *world) principal(page, requestID string) (*saml.Assertion, error) {
	w.t.Helper()
	form := fields(page)
	if got := form.Get("RelayState"); got != "state-7" {
		w.t.Errorf("RelayState %q came back, want state-7", got)
	}
	if !strings.Contains(page, `action="`+acs+`"`) {
		w.t.Errorf("the response is not sent to %s:\n%s", acs, page)
	}
	r := httptest.NewRequest(http.MethodPost, acs, nil)
	r.PostForm = form // where the library looks
	return w.sp.ParseResponse(r, []string{requestID})
}

// reason is the private half of a service provider's refusal.
func reason(err error) error {
	if invalid := (*saml.InvalidResponseError)(nil); errors.As(err, &invalid) {
		return invalid.PrivateErr
	}
	return err
}

func attributes(assertion *saml.Assertion) map[string][]string {
	found := make(map[string][]string)
	for _, statement := range assertion.AttributeStatements {
		for _, attribute := range statement.Attributes {
			for _, value := range attribute.Values {
				found[attribute.FriendlyName] = append(found[attribute.FriendlyName], value.Value)
			}
		}
	}
	return found
}

func TestSignOn(t *testing.T) {
	tests := []struct {
		user string
		want map[string][]string
	}{
		{"alice", map[string][]string{
			"uid": {"alice"}, "mail": {"alice@example.com"}, "eduPersonPrincipalName": {"alice@example.com"},
			"cn": {"Alice Archer"}, "displayName": {"Alice Archer"}, "eduPersonAffiliation": {"engineers", "admins"},
		}},
		{"bob", map[string][]string{
			"uid": {"bob"}, "mail": {"bob@example.com"}, "eduPersonPrincipalName": {"bob@example.com"},
			"cn": {"Bob Baker"}, "displayName": {"Bob Baker"}, "eduPersonAffiliation": {"support"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.user, func(t *testing.T) {
			w := newWorld(t)
			address, id := w.request(nil)
			_, page := w.get(address)
			if !strings.Contains(page, "door.example.com:8443") {
				t.Errorf("the login page does not say where it leads to:\n%s", page)
			}
			_, page = w.login(page, tt.user, tt.user+"-pw")
			assertion, err := w.principal(page, id)
			if err != nil {
				t.Fatal(reason(err))
			}
			if diff := cmp.Diff(tt.want, attributes(assertion)); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
			if got := assertion.Subject.SubjectConfirmations[0].SubjectConfirmationData.Address; got != "127.0.0.1" {
				t.Errorf("the subject's address is %q", got)
			}
			if got, want := assertion.Subject.NameID.Value, tt.user+"@example.com"; got != want {
				t.Errorf("NameID %q, want %q", got, want)
			}
		})
	}
}

func TestAnswersAreDatedByTheClockThatIsSet(t *testing.T) {
	w := newWorld(t)
	w.wait(time.Hour)
	inTime := func(request *saml.AuthnRequest) { request.IssueInstant = w.now() }
	address, _ := w.request(inTime)
	_, page := w.get(address)
	_, first := w.login(page, "alice", "alice-pw")
	address, _ = w.request(inTime)
	_, second := w.get(address) // of a browser that is known
	for name, page := range map[string]string{"after a password": first, "without one": second} {
		response, err := base64.StdEncoding.DecodeString(fields(page).Get("SAMLResponse"))
		if err != nil {
			t.Fatal(err)
		}
		instants := regexp.MustCompile(`IssueInstant="([^"]+)"`).FindAllSubmatch(response, -1)
		if len(instants) != 2 {
			t.Fatalf("%s: %d instants in\n%s", name, len(instants), response)
		}
		for _, match := range instants {
			at, err := time.Parse(time.RFC3339, string(match[1]))
			if off := w.now().Sub(at); err != nil || off < 0 || off > time.Minute {
				t.Errorf("%s: issued at %s, %v off: %v", name, match[1], off, err)
			}
		}
	}
}

func TestWrongPasswordIsToldOnThePage(t *testing.T) {
	w := newWorld(t)
	address, id := w.request(nil)
	_, page := w.get(address)
	for _, try := range [][2]string{{"alice", "wrong"}, {"nobody", "alice-pw"}, {"bob", "alice-pw"}, {"", ""}} {
		var status int
		status, page = w.login(page, try[0], try[1])
		if status != http.StatusUnauthorized || !strings.Contains(page, `role="alert"`) {
			t.Fatalf("%q: status %d, page\n%s", try, status, page)
		}
		if !strings.Contains(page, `name="username" type="text" autocomplete="username" autocapitalize="none" spellcheck="false" required value="`+try[0]+`"`) {
			t.Errorf("%q: what was typed is gone", try)
		}
	}
	if strings.Contains(w.log.String(), "alice-pw") {
		t.Error("a password is in the log")
	}
	_, page = w.login(page, "alice", "alice-pw") // the sign-on is not lost
	if _, err := w.principal(page, id); err != nil {
		t.Error(reason(err))
	}
}

func TestBrowserIsRemembered(t *testing.T) {
	w := newWorld(t)
	address, _ := w.request(nil)
	_, page := w.get(address)
	w.login(page, "alice", "alice-pw")

	address, id := w.request(nil)
	_, page = w.get(address)
	if _, err := w.principal(page, id); err != nil {
		t.Fatalf("the second sign-on: %v", reason(err))
	}

	_, page = w.get(w.server.URL + "/")
	if !strings.Contains(page, "alice@example.com") {
		t.Errorf("the account page does not know her:\n%s", page)
	}
	_, page = w.post("/signout", nil)
	if !strings.Contains(page, "You are signed out") {
		t.Errorf("after signing out:\n%s", page)
	}
	address, _ = w.request(nil)
	if _, page = w.get(address); fields(page).Has("SAMLResponse") {
		t.Error("after signing out no password is asked for")
	}
}

func TestSessionEnds(t *testing.T) {
	w := newWorld(t)
	_, page := w.get(w.server.URL + "/login")
	w.login(page, "alice", "alice-pw")
	w.wait(sessionLife)
	if _, page = w.get(w.server.URL + "/"); !strings.Contains(page, "not signed in") {
		t.Errorf("after %s she is still signed in:\n%s", sessionLife, page)
	}
}

func TestForceAuthnAsksAgain(t *testing.T) {
	w := newWorld(t)
	_, page := w.get(w.server.URL + "/login")
	w.login(page, "alice", "alice-pw")
	force := true
	address, id := w.request(func(r *saml.AuthnRequest) {
		r.ForceAuthn = &force
		r.IssueInstant = r.IssueInstant.Add(2 * time.Second)
	})
	_, page = w.get(address)
	if fields(page).Has("SAMLResponse") {
		t.Fatal("no password is asked for")
	}
	w.wait(3 * time.Second)
	_, page = w.login(page, "alice", "alice-pw")
	if _, err := w.principal(page, id); err != nil {
		t.Error(reason(err))
	}
}

func TestSlowTypistMaySignOn(t *testing.T) {
	w := newWorld(t)
	address, _ := w.request(nil)
	_, page := w.get(address)
	w.wait(20 * time.Minute) // a request itself is too old after a minute and a half
	if _, page = w.login(page, "alice", "alice-pw"); !fields(page).Has("SAMLResponse") {
		t.Errorf("no response after a long wait:\n%s", page)
	}
}

func TestLoginPageIsGoodOnce(t *testing.T) {
	w := newWorld(t)
	address, _ := w.request(nil)
	_, page := w.get(address)
	id := fields(page).Get("request")
	w.login(page, "alice", "alice-pw")
	for _, path := range []string{"/continue?request=" + id, "/login?request=" + id} {
		if status, page := w.get(w.server.URL + path); status != http.StatusBadRequest || !strings.Contains(page, "already been used") {
			t.Errorf("%s: status %d:\n%s", path, status, page)
		}
	}
}

func TestContinueNeedsAPassword(t *testing.T) {
	w := newWorld(t)
	address, _ := w.request(nil)
	_, page := w.get(address)
	status, _ := w.get(w.server.URL + "/continue?request=" + fields(page).Get("request"))
	if status != http.StatusBadRequest {
		t.Errorf("status %d, want 400", status)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*saml.AuthnRequest)
		source MetadataSource // nil for the provider's own
	}{
		{"of a stranger", func(r *saml.AuthnRequest) { r.Issuer.Value = "https://stranger.example/metadata" }, nil},
		{"with another place to answer to", func(r *saml.AuthnRequest) {
			r.AssertionConsumerServiceURL = "https://stranger.example/acs"
		}, nil},
		{"for another identity provider", func(r *saml.AuthnRequest) { r.Destination = "https://other.example/sso" }, nil},
		{"that is old", func(r *saml.AuthnRequest) { r.IssueInstant = r.IssueInstant.Add(-time.Hour) }, nil},
		{"while the provider is away", nil, func(context.Context) ([]byte, error) { return nil, errors.New("no route to host") }},
		{"while the provider's metadata is broken", nil, func(context.Context) ([]byte, error) { return []byte("<nonsense"), nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			if tt.source != nil {
				w.source = tt.source
			}
			address, _ := w.request(tt.change)
			if status, page := w.get(address); status != http.StatusBadRequest || fields(page).Has("request") {
				t.Errorf("status %d:\n%s", status, page)
			}
		})
	}
	t.Run("that is no request", func(t *testing.T) {
		w := newWorld(t)
		for _, query := range []string{"", "?SAMLRequest=%%%", "?SAMLRequest=bm90aGluZw=="} {
			if status, _ := w.get(w.server.URL + "/sso" + query); status != http.StatusBadRequest {
				t.Errorf("%q: status %d, want 400", query, status)
			}
		}
	})
}

func TestAnotherSiteCannotPostTheForms(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/login", "/signout"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL+path, strings.NewReader("username=alice&password=alice-pw"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "cross-site")
		resp, err := w.client.Do(req)
		if status, _ := w.read(resp, err); status != http.StatusForbidden {
			t.Errorf("%s: status %d, want 403", path, status)
		}
	}
}

func TestPagesCarryTheirGuards(t *testing.T) {
	w := newWorld(t)
	resp, err := w.client.Get(w.server.URL + "/login")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "frame-ancestors 'none'",
	} {
		if got := resp.Header.Get(name); !strings.Contains(got, want) {
			t.Errorf("%s is %q, want %q in it", name, got, want)
		}
	}
}

func TestMetadataOffersOnlyWhatIsServed(t *testing.T) {
	w := newWorld(t)
	status, page := w.get(w.server.URL + "/metadata")
	if status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	var descriptor saml.EntityDescriptor
	if err := xml.Unmarshal([]byte(page), &descriptor); err != nil {
		t.Fatal(err)
	}
	role := descriptor.IDPSSODescriptors[0]
	both := func(location string) []saml.Endpoint {
		return []saml.Endpoint{{Binding: saml.HTTPRedirectBinding, Location: location}, {Binding: saml.HTTPPostBinding, Location: location}}
	}
	if diff := cmp.Diff(both(w.server.URL+"/sso"), role.SingleSignOnServices); diff != "" {
		t.Errorf("sign-on (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(both(w.server.URL+"/slo"), role.SingleLogoutServices); diff != "" {
		t.Errorf("logout (-want +got):\n%s", diff)
	}
	if len(role.KeyDescriptors) != 1 || role.KeyDescriptors[0].Use != "signing" {
		t.Errorf("keys: %+v", role.KeyDescriptors)
	}
	if left := time.Until(descriptor.ValidUntil); left < 24*time.Hour {
		t.Errorf("valid for %s only", left)
	}
}

func TestNewWantsItsParts(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an IdP was made of nothing")
	}
}

func TestStoreForgetsTheOldest(t *testing.T) {
	s := newStore[int](2, time.Minute, time.Now)
	ids := []string{s.put(1), s.put(2), s.put(3)}
	_, first := s.get(ids[0])
	_, last := s.get(ids[2])
	if first || !last || len(s.byID) != 2 {
		t.Errorf("the first is there: %v, the last: %v, %d in all", first, last, len(s.byID))
	}
}

func TestMetadataSources(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metadata" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, "from a server")
	}))
	defer server.Close()
	tests := []struct {
		name   string
		source MetadataSource
		want   string // "" for an error
	}{
		{"an address", FromURL(server.Client(), server.URL+"/metadata"), "from a server"},
		{"an address with nothing", FromURL(server.Client(), server.URL+"/"), ""},
		{"no address", FromURL(server.Client(), "://"), ""},
		{"no file", FromFile("/nowhere"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.source(t.Context())
			if string(got) != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q and %v", got, err)
			}
		})
	}
}
