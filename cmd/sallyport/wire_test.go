package main

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/header"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/saml"
	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/provision"
)

// everyKey is a configuration in which nothing has its default.
var everyKey = `door: {host: door.example.com, public_port: 8443}
vault:
  kv_mount: kv
  saml_path: a/saml
  session_path: a/session
  assertion_path: a/assertion
  assertion_role: as
  assertion_name: as.internal
  edge_pki: {mount: e, role: edge, ttl: 1h, renewal_window: "Sat-Sun 02:00-05:00"}
  backend_pki: {mount: b, role: gw, ttl: 2h, revoke_on_stop: true}
  client_name: gw.internal
saml:
  entity_id: urn:example:sp
  clock_skew: 1m
  max_age: 8h
  attributes: {user: [u], email: [e], name: [n], groups: [g]}
  own_metadata:
    display_name: Tools
    description: All of them
    information_url: https://e/i
    privacy_statement_url: https://e/p
    logo_url: https://e/l
    logo_width: 1
    logo_height: 2
    organization: E
    organization_url: https://e
    technical_contact: t@e
    support_contact: h@e
    security_contact: s@e
    sign: true
    valid_for: 48h
  request_binding: post
  name_id_format: urn:example:format
  authn_context: {classes: ["urn:example:mfa"], comparison: minimum}
  pinned_idp_keys: ["` + strings.Repeat("0a", 32) + `"]
  idps:
    - {name: corp, title: Corp, user_domains: [example.com], hint_domains: [mail.example.com], unsafe_unsolicited_landing: "https://door.example.com:8443/"}
routes:
  - name: notes
    title: Notes
    description: what we know
    host: notes.example.com
    backend: {url: "https://notes:9443", name: board.internal}
    allow: {groups: [engineers], users: [bob]}
    pass_authorization: true
    identity:
      headers: [authentik, remote]
      custom: {user: X-My-User, email: X-My-Mail, name: X-My-Name, groups: X-My-Groups}
      group_separator: semicolon
      non_ascii: refuse
      more_groups: [admins]
    websocket: false
    assertion: false
    unsafe_cross_origin: true
    idps: [corp]
    step_up: {max_age: 5m, authn_context: {classes: ["urn:example:mfa"], comparison: minimum}}
  - name: wiki
    host: wiki.example.com
    backend: {url: "https://wiki"}
    allow: {any_signed_in: true}
    identity: {headers: [authentik], unsafe_utf8: true, release_groups: all, credentials: {bearer: {path: tools/wiki}}}
`

func load(t *testing.T) *config.Gateway {
	t.Helper()
	cfg, err := config.LoadGateway("test", []byte(everyKey))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestRoutesCarryTheConfiguration(t *testing.T) {
	var dialled []string
	got := routes(load(t), func(name string) *tls.Config {
		dialled = append(dialled, name)
		return &tls.Config{ServerName: name}
	})
	if diff := cmp.Diff([]string{"board.internal", "wiki.backend.sallyport.internal"}, dialled); diff != "" {
		t.Errorf("pinned names (-want +got):\n%s", diff)
	}
	type route struct {
		Name, Title, Description, Host, Backend, Pinned  string
		Authorization, WebSocket, CrossOrigin, Assertion bool
		Bob, Engineer, Anybody                           bool
		IdPs                                             []string
		StepUp                                           policy.StepUp
	}
	var flat []route
	for _, r := range got {
		may := func(user string, groups ...string) bool {
			return r.Rule.Decide(user, groups).Verdict == policy.Allow
		}
		flat = append(flat, route{
			r.Name, r.Title, r.Description, r.Host, r.Backend.String(), r.TLS.ServerName,
			r.PassAuthorization, r.WebSocket, r.UnsafeCrossOrigin, r.Assertion, may("bob"), may("eve", "engineers"), may("eve"),
			r.IdPs, r.StepUp,
		})
	}
	want := []route{
		{"notes", "Notes", "what we know", "notes.example.com", "https://notes:9443", "board.internal", true, false, true, false, true, true, false,
			[]string{"corp"}, policy.StepUp{MaxAge: 5 * time.Minute, Contexts: []string{"urn:example:mfa"}, Minimum: true}},
		{"wiki", "wiki", "", "wiki.example.com", "https://wiki:443", "wiki.backend.sallyport.internal", false, true, false, true, true, true, true, nil, policy.StepUp{}},
	}
	if diff := cmp.Diff(want, flat); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
}

func TestRoutesTellWhatTheConfigurationSays(t *testing.T) {
	got := routes(load(t), func(string) *tls.Config { return &tls.Config{} })
	remote, _ := header.ProfileOf(header.Remote)
	authentik, _ := header.ProfileOf(header.Authentik)
	piped := authentik
	remote.Separator, authentik.Separator = header.Semicolon, header.Semicolon
	custom := header.Profile{User: "X-My-User", Email: "X-My-Mail", Name: "X-My-Name", Groups: "X-My-Groups", Separator: header.Semicolon}
	want := []proxy.Identity{
		{Profiles: []header.Profile{authentik, remote, custom}, Values: header.Refuse, MoreGroups: []string{"admins"}},
		{Profiles: []header.Profile{piped, {}}, Values: header.UTF8, AllGroups: true},
	}
	if diff := cmp.Diff(want, []proxy.Identity{got[0].Identity, got[1].Identity}); diff != "" {
		t.Errorf("identities (-want +got):\n%s", diff)
	}
}

// TestSeparatorsAndSetsAreThere: what the configuration may name is known to the package
// that writes headers, and nothing else is missing.
func TestSeparatorsAndSetsAreThere(t *testing.T) {
	for _, word := range []string{"comma", "pipe", "semicolon", "lines"} {
		if got := header.Separator(config.Identity{GroupSeparator: word}.Separator()); !slices.Contains(header.Separators(), got) {
			t.Errorf("%s is separator %q", word, got)
		}
	}
}

// TestCustomNamesAreJudgedAlike: what the configuration accepts as the name of a header
// can be set, and what it refuses cannot.
func TestCustomNamesAreJudgedAlike(t *testing.T) {
	names := []string{
		"X-My-User", "User", "SSO-User", "x-user", "X-Roles", "X-Forwarded-User", "X-Forwarded-Name", "X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Prefix",
		"X-Forwarded-Anything", "Remote-User", "Remote-Addr", "X-Remote-User", "X-Remote-Ip", "Impersonate-User", "X-Auth-Request-User", "X-Webauth-User",
		"X-Proxy-User", "Cf-Access-Authenticated-User-Email", "X_My_User", "X.My", "1st", "-", "Jörg", "Host", "Cookie", "Cookie2", "Set-Cookie", "Authorization",
		"Proxy-Authorization", "Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Content-Type", "Expect", "Origin", "Range",
		"If-Match", "Sec-Fetch-Site", "X-Sallyport-Assertion", "X-Sallyport-Set", "Via", "Forwarded", "X-Real-Ip", "X-Request-Id", "X-Original-Url", "X-Rewrite-Url",
		"X-Http-Method-Override", "X-Method-Override", "X-Accel-Redirect", "X-Ssl-Client-Cert", "Ssl-Client-Verify", "Client-Cert", "Http2-Settings", "Grpc-Timeout",
		"X-Csrf-Token", "X-Auth-Token", "Traceparent", "Script-Name", "Https", "Proxy", "X-Jwt-Assertion", "X-Id-Token", "X-Goog-Iap-Jwt-Assertion", "X-Scheme",
		"Wl-Proxy-Client-Ip", "Cf-Connecting-Ip", "X-Envoy-External-Address", "X-Sendfile", "X-Client-Dn", "Fly-Client-Ip", "X-Host", "X-Prefix", "Method",
		"Teleport-Jwt-Assertion", "Oidc-Claim-Sub", "Mellon-Name-Id", "Shib-User", "X-Amz-Date", "X-Amzn-Oidc-Identity", "Signature-Input", "From",
	}
	for _, name := range names {
		text := fmt.Sprintf("door: {host: door.example.com}\nroutes:\n  - {name: a, host: a.example.com, backend: {url: 'https://a'}, identity: {headers: [], custom: {user: %s}}}\n", name)
		_, err := config.LoadGateway("test", []byte(text))
		if settable := header.Settable(name); (err == nil) != (settable == nil) {
			t.Errorf("%q: the configuration says %v, the header package %v", name, err, settable)
		}
	}
}

func TestCertificatesAreThoseOfTheConfiguration(t *testing.T) {
	cfg, client := load(t), &vaultpki.Client{}
	type wanted struct {
		Mount, Role string
		TTL         time.Duration
		Names       []string
		Usage       vaultpki.Usage
		Window      vaultpki.Window
		Revoked     bool
	}
	flat := func(c vaultpki.CertificatesConfig) wanted {
		if c.Client != client {
			t.Error("another client")
		}
		return wanted{c.Mount, c.Role, c.TTL, c.Names, c.Usage, c.Window, c.RevokeOnStop}
	}
	edge := wanted{"e", "edge", time.Hour, []string{"door.example.com", "notes.example.com", "wiki.example.com"}, vaultpki.ServerUsage,
		vaultpki.Window{First: time.Saturday, Last: time.Sunday, From: 2 * time.Hour, To: 5 * time.Hour}, false}
	if diff := cmp.Diff(edge, flat(edgeCertificates(cfg, client))); diff != "" {
		t.Errorf("for browsers (-want +got):\n%s", diff)
	}
	backend := wanted{"b", "gw", 2 * time.Hour, []string{"gw.internal"}, vaultpki.ClientUsage, vaultpki.Window{}, true}
	if diff := cmp.Diff(backend, flat(clientCertificate(cfg, client))); diff != "" {
		t.Errorf("for sidecars (-want +got):\n%s", diff)
	}
	sidecar, err := config.LoadSidecar("test", []byte(`name: spiffe://example.com/notes
app: http://127.0.0.1:3000
pki: {mount: b, ttl: 3h, renewal_window: "01:00-02:00", revoke_on_stop: true}
`))
	if err != nil {
		t.Fatal(err)
	}
	own := wanted{"b", "sidecar-notes", 3 * time.Hour, []string{"spiffe://example.com/notes"}, vaultpki.ServerUsage,
		vaultpki.Window{First: time.Sunday, Last: time.Saturday, From: time.Hour, To: 2 * time.Hour}, true}
	if diff := cmp.Diff(own, flat(sidecarCertificate(sidecar, client))); diff != "" {
		t.Errorf("of a sidecar (-want +got):\n%s", diff)
	}
}

func TestSpecAsksForWhatTheGatewayUses(t *testing.T) {
	want := provision.Spec{
		KVMount: "kv", SAMLPath: "a/saml", SessionPath: "a/session", AssertionPath: "a/assertion", GatewayConfigPath: "sallyport/gateway",
		EdgeMount: "e", EdgeRole: "edge", EdgeHosts: []string{"door.example.com", "notes.example.com", "wiki.example.com"},
		BackendMount: "b", ClientRole: "gw", ClientName: "gw.internal", AssertionRole: "as", AssertionName: "as.internal",
		Sidecars: []provision.Sidecar{
			{Role: "sallyport-sidecar-notes", PKIRole: "sidecar-board", Name: "board.internal", ConfigPath: "sallyport/sidecar/notes"},
			{Role: "sallyport-sidecar-wiki", PKIRole: "sidecar-wiki", Name: "wiki.backend.sallyport.internal", ConfigPath: "sallyport/sidecar/wiki"},
		},
		CredentialPaths: []string{"tools/wiki"}, SPEntityID: "urn:example:sp", CertTTL: 2 * time.Hour, ClientRevocation: true,
	}
	if diff := cmp.Diff(want, spec(load(t))); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
}

func TestRoutesMayShareASidecar(t *testing.T) {
	shared := everyKey + `  - name: old-notes
    host: old-notes.example.com
    backend: {url: "https://notes:9443", name: board.internal}
    allow: {any_signed_in: true}
`
	cfg, err := config.LoadGateway("test", []byte(shared))
	if err != nil {
		t.Fatal(err)
	}
	want := spec(cfg)
	if diff := cmp.Diff(spec(load(t)).Sidecars, want.Sidecars); diff != "" {
		t.Errorf("sidecars (-one route each +a shared one):\n%s", diff)
	}
	if _, err := provision.New(want); err != nil {
		t.Errorf("it cannot be provisioned: %v", err)
	}
}

func TestServiceProviderIsThatOfTheConfiguration(t *testing.T) {
	cfg, from := load(t), time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)
	got := samlConfig(sharedSAML{cfg: cfg, from: from}, cfg.SAML.Providers()[0])
	want := saml.Config{
		EntityID: "urn:example:sp", ACSURL: "https://door.example.com:8443/saml/acs", SLOURL: "https://door.example.com:8443/saml/slo",
		Description: saml.Description{
			DisplayName: "Tools", Text: "All of them", InformationURL: "https://e/i", PrivacyStatementURL: "https://e/p", LogoURL: "https://e/l", LogoWidth: 1, LogoHeight: 2,
			Organization: "E", OrganizationURL: "https://e", TechnicalContact: "t@e", SupportContact: "h@e", SecurityContact: "s@e",
			ValidFor: 48 * time.Hour, ValidFrom: from, Signed: true,
		},
		PinnedKeys: []string{strings.Repeat("0a", 32)}, RequestBinding: saml.BindingPost, NameIDFormat: "urn:example:format",
		AuthnContext:      saml.AuthnContext{Classes: []string{"urn:example:mfa"}, Minimum: true},
		UnsafeUnsolicited: true, UserDomains: []string{"example.com"},
		Attributes: saml.Attributes{User: []string{"u"}, Email: []string{"e"}, Name: []string{"n"}, Groups: []string{"g"}},
		ClockSkew:  time.Minute, MaxAge: 8 * time.Hour,
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(saml.Config{}, "Now")); diff != "" {
		t.Errorf("service provider (-want +got):\n%s", diff)
	}
	for binding, want := range map[string]saml.Binding{"auto": saml.BindingAny, "redirect": saml.BindingRedirect} {
		if got := samlConfig(sharedSAML{cfg: cfg}, config.IdP{RequestBinding: binding}); got.RequestBinding != want || got.UnsafeUnsolicited {
			t.Errorf("binding %s: %v; sign-ons that the other side began %t", binding, got.RequestBinding, got.UnsafeUnsolicited)
		}
	}
}
