// Package idp is the SAML identity provider of the demo: the part that, in a
// company, is Okta, Entra ID, Keycloak or the like.
//
// It speaks the SAML 2.0 Web Browser SSO profile by way of crewjam/saml:
// AuthnRequest in by HTTP-Redirect or HTTP-POST, Response and Assertion, both signed,
// out by HTTP-POST; the assertion is encrypted if the provider's metadata has a key
// for that. It asks for a password once and then remembers the browser, so that a
// second sign-on needs none; /signout forgets it. The Single Logout profile, which
// crewjam/saml leaves to others, is its own, by both bindings, from either side. It is
// a stage prop: the users are fixed, their passwords public, and nothing outlives the
// process.
//
// Hostile inputs: the messages in queries and forms, the other forms, the cookie. What
// is answered goes only to the addresses in the provider's metadata. A request is held
// to its signature if the provider's metadata says that it signs.
package idp

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/crewjam/saml"
	"github.com/crewjam/saml/logger"
)

// rsaSHA256 is the signature algorithm; crewjam's default is SHA-1.
const rsaSHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"

// Config is what an IdP is made of. It must not be modified after [New].
type Config struct {
	BaseURL     *url.URL          // as browsers see it, with scheme and host only; required
	Key         crypto.Signer     // an RSA key that signs responses and assertions; required
	Certificate *x509.Certificate // of Key; required
	Published   *x509.Certificate // in the metadata as well, before or after Certificate; may be nil
	Provider    MetadataSource    // of the one service provider; required
	Users       []User            // who can sign in
	Log         *slog.Logger      // required
	Now         func() time.Time  // nil: time.Now
	Replaces    *IdP              // whose browsers go on being known, under the same BaseURL; nil for the first
}

// IdP answers browsers. It is an [http.Handler], safe for concurrent use.
type IdP struct {
	http.Handler

	saml     saml.IdentityProvider
	key      crypto.Signer
	next     *x509.Certificate // in the metadata besides; may be nil
	provider providers
	users    []User
	log      *slog.Logger
	pages    *template.Template
	now      func() time.Time
	pending  *store[pending]
	sessions *store[session]
	logouts  *store[logout]
}

// pending is a sign-on that waits for a password.
type pending struct {
	request []byte // the AuthnRequest
	relay   string
	came    time.Time
	service string // for the page
}

// session is a browser that has given a password.
type session struct {
	user  User
	since time.Time
	index string       // SessionIndex towards service providers
	used  *atomic.Bool // whether the service provider was told who it is
}

// Lifetimes: a login page may stay open over lunch; a session lasts a working day.
const (
	pendingLife  = time.Hour
	sessionLife  = 10 * time.Hour
	metadataLife = 30 * 24 * time.Hour
	maxPending   = 1000
	maxSessions  = 1000
	logoutLife   = 10 * time.Minute
)

// New checks cfg and returns an IdP that serves. It starts nothing.
func New(cfg Config) (*IdP, error) {
	if cfg.BaseURL == nil || cfg.Key == nil || cfg.Certificate == nil || cfg.Provider == nil || cfg.Log == nil {
		return nil, errors.New("idp: BaseURL, Key, Certificate, Provider and Log are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	life := metadataLife
	p := &IdP{
		users: cfg.Users, log: cfg.Log, now: cfg.Now, pages: parsePages(),
		key: cfg.Key, next: cfg.Published, provider: providers{cfg.Provider},
		logouts:  newStore[logout](maxSessions, logoutLife, cfg.Now),
		pending:  newStore[pending](maxPending, pendingLife, cfg.Now),
		sessions: newStore[session](maxSessions, sessionLife, cfg.Now),
	}
	if cfg.Replaces != nil {
		p.pending, p.sessions, p.logouts = cfg.Replaces.pending, cfg.Replaces.sessions, cfg.Replaces.logouts
	}
	p.saml = saml.IdentityProvider{
		Key: cfg.Key, Certificate: cfg.Certificate, SignatureMethod: rsaSHA256,
		Logger:                  logger.Interface(slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn)),
		MetadataURL:             *cfg.BaseURL.JoinPath("metadata"),
		SSOURL:                  *cfg.BaseURL.JoinPath("sso"),
		LogoutURL:               *cfg.BaseURL.JoinPath("slo"),
		ServiceProviderProvider: p.provider,
		ValidDuration:           &life,
		ResponseFormTemplate:    p.pages.Lookup("respond.html"),
	}
	p.Handler = p.routes()
	return p, nil
}

func (p *IdP) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.serveHome)
	mux.HandleFunc("GET /metadata", p.serveMetadata)
	mux.HandleFunc("GET /sso", p.serveSSO)
	mux.HandleFunc("POST /sso", p.serveSSO)
	mux.HandleFunc("GET /slo", p.serveSLO)
	mux.HandleFunc("POST /slo", p.serveSLO)
	mux.HandleFunc("GET /login", p.serveLogin)
	mux.HandleFunc("POST /login", p.takeLogin)
	mux.HandleFunc("GET /continue", p.serveContinue)
	mux.HandleFunc("GET /signout", p.serveSignOut)
	mux.HandleFunc("POST /signout", p.takeSignOut)
	mux.Handle("GET /static/", http.FileServerFS(static))
	mux.HandleFunc("GET /", p.serveNotFound)
	protection := http.NewCrossOriginProtection()
	protection.AddInsecureBypassPattern("POST /sso") // another site posts these, as it should
	protection.AddInsecureBypassPattern("POST /slo")
	return secure(protection.Handler(mux))
}

// secure sets what every answer carries and limits what a form may bring.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		// No form-action: browsers apply it to the redirects after a form as well,
		// and the response is posted to another site, which redirects on.
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		next.ServeHTTP(w, r)
	})
}

// Metadata returns the IdP's own metadata.
func (p *IdP) Metadata() ([]byte, error) {
	descriptor := p.saml.Metadata()
	for i := range descriptor.IDPSSODescriptors {
		role := &descriptor.IDPSSODescriptors[i]
		role.SingleSignOnServices = bothBindings(p.saml.SSOURL)
		role.SingleLogoutServices = bothBindings(p.saml.LogoutURL)
		role.NameIDFormats = []saml.NameIDFormat{saml.EmailAddressNameIDFormat}
		role.KeyDescriptors = signingOnly(role.KeyDescriptors, p.next)
	}
	data, err := xml.MarshalIndent(descriptor, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the IdP's metadata: %w", err)
	}
	return append([]byte(xml.Header), data...), nil
}

func bothBindings(location url.URL) []saml.Endpoint {
	return []saml.Endpoint{
		{Binding: saml.HTTPRedirectBinding, Location: location.String()},
		{Binding: saml.HTTPPostBinding, Location: location.String()},
	}
}

// signingOnly drops the encryption keys: this IdP decrypts nothing. It adds another
// certificate if there is one.
func signingOnly(keys []saml.KeyDescriptor, other *x509.Certificate) []saml.KeyDescriptor {
	var signing []saml.KeyDescriptor
	for _, key := range keys {
		if key.Use == "signing" {
			signing = append(signing, key)
		}
	}
	if other != nil {
		signing = append(signing, saml.KeyDescriptor{Use: "signing", KeyInfo: saml.KeyInfo{X509Data: saml.X509Data{
			X509Certificates: []saml.X509Certificate{{Data: base64.StdEncoding.EncodeToString(other.Raw)}},
		}}})
	}
	return signing
}

func (p *IdP) serveMetadata(w http.ResponseWriter, _ *http.Request) {
	data, err := p.Metadata()
	if err != nil {
		p.fail(w, http.StatusInternalServerError, "The metadata could not be written.", err)
		return
	}
	w.Header().Set("Content-Type", "application/samlmetadata+xml")
	_, _ = w.Write(data) // the browser went away
}

// withoutPort returns r with a bare address: crewjam copies RemoteAddr into the
// assertion as the subject's address, where a port makes it no address.
func withoutPort(r *http.Request) *http.Request {
	bare := *r
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		bare.RemoteAddr = host
	}
	return &bare
}
