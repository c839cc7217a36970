package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"
)

// Gateway is the configuration of `sallyport gateway`, checked and with every
// default filled in. It holds no pointers, and must not be modified after
// [LoadGateway] has returned it; reading it concurrently is safe.
type Gateway struct {
	// Door is the gateway's own host. Required.
	Door Door `yaml:"door"`
	// Listen says on which addresses to accept connections.
	Listen Listen `yaml:"listen"`
	// Clients says how the gateway learns whom a request comes from.
	Clients Clients `yaml:"clients"`
	// Vault says where in Vault the gateway's secrets and certificates are.
	// How to reach Vault and how to log in is said by flags and environment.
	Vault Vault `yaml:"vault"`
	// SAML is how sign-on works.
	SAML SAML `yaml:"saml"`
	// Session is how long a sign-on lasts.
	Session Session `yaml:"session"`
	// AccessLog is where the decisions are recorded.
	AccessLog AccessLog `yaml:"access_log"`
	// ForwardAuth says which ingress may ask who may pass.
	ForwardAuth ForwardAuth `yaml:"forward_auth"`
	// Tracing says what is told of the way of requests.
	Tracing Tracing `yaml:"tracing"`
	// Stop is how the process ends.
	Stop Stop `yaml:"stop"`
	// Limits are how much is served at once, and how much strangers may ask for.
	Limits Limits `yaml:"limits"`
	// Routes are the tools behind the gateway, in the order of the portal.
	// Names are unique, and so are host and path together.
	Routes []Route `yaml:"routes"`
}

// Door is the gateway's own host, where people sign on and find their tools.
type Door struct {
	// Host is the door's DNS name. Required; no route may have it.
	Host Host `yaml:"host"`
	// PublicPort is the port in the URLs that browsers see, for the door and
	// for every route. It differs from the port of Listen.HTTPS behind a port
	// mapping. Default 443, which the URLs leave out.
	PublicPort int `yaml:"public_port"`
}

// Listen says on which addresses a gateway accepts connections. Each is
// "host:port" or ":port" as [net.Listen] takes it.
type Listen struct {
	// HTTPS is the address for browsers. Default ":8443".
	HTTPS string `yaml:"https"`
	// HTTP3 has the gateway speak HTTP/3 besides, on the UDP port with HTTPS's number,
	// and tell browsers so. Default false.
	HTTP3 bool `yaml:"http3"`
	// Admin is the plain-HTTP address of probes and metrics; nobody signs in
	// there. Default "127.0.0.1:9090"; only loopback unless
	// UnsafeAdminNotLoopback.
	Admin string `yaml:"admin"`
	// UnsafeAdminNotLoopback lets Admin be an address that other machines can
	// reach. Default false.
	UnsafeAdminNotLoopback bool `yaml:"unsafe_admin_not_loopback"`
	// ACMEHTTP is the plain-HTTP address of validations by http-01. It is
	// listened on just while one is under way. Default ":8080".
	ACMEHTTP string `yaml:"acme_http"`
	// ForwardAuth is the address for an ingress that asks who may pass, or
	// "none"; see [ForwardAuth]. Default "none".
	ForwardAuth string `yaml:"forward_auth"`
	// ReusePort lets another process listen on HTTPS, Admin and ForwardAuth
	// beside this one, for an upgrade. Linux only. Default false.
	ReusePort bool `yaml:"reuse_port"`
}

// Vault says where in Vault the gateway finds what it needs. Paths have no
// slash at either end.
type Vault struct {
	// KVMount is the mount of the KV v2 engine. Default "secret".
	KVMount string `yaml:"kv_mount"`
	// SAMLPath is the secret with sp_private_key, sp_public_cert and
	// idp_metadata_xml, and the keys before and after. Default "sallyport/saml".
	SAMLPath string `yaml:"saml_path"`
	// SessionPath is the secret with the session keys. Default
	// "sallyport/session".
	SessionPath string `yaml:"session_path"`
	// AssertionPath is the secret with the keys that sign assertions. Default
	// "sallyport/assertion".
	AssertionPath string `yaml:"assertion_path"`
	// AssertionRole is the role of BackendPKI's engine that signs certificates of
	// those keys. Default "sallyport-assertion".
	AssertionRole string `yaml:"assertion_role"`
	// AssertionName is the DNS name in them. Default "assertion.sallyport.internal".
	AssertionName Host `yaml:"assertion_name"`
	// AuditPath is the secret with the key that pseudonyms are made with. It is
	// read only if AccessLog.Pseudonymise. Default "sallyport/audit".
	AuditPath string `yaml:"audit_path"`
	// AuditDevice is the audit device of Vault in whose form the accessor of the
	// gateway's token is recorded, or "none". Default "none".
	AuditDevice string `yaml:"audit_device"`
	// Refresh is how often the secrets, and the configuration itself, are read
	// again. Default 1m, 1s to 1h.
	Refresh Duration `yaml:"refresh"`
	// EdgePKI issues the certificates that browsers see. Default mount
	// "pki-edge", role "sallyport-edge", TTL 24h.
	EdgePKI PKI `yaml:"edge_pki"`
	// EdgeACME orders those certificates from an ACME server in place of
	// EdgePKI. Default: it does not.
	EdgeACME ACME `yaml:"edge_acme"`
	// BackendPKI issues the client certificate that sidecars see. Default
	// mount "pki-backend", role "sallyport-gateway", TTL 24h.
	BackendPKI PKI `yaml:"backend_pki"`
	// ClientName is the name in that client certificate. Default
	// "gateway.sallyport.internal".
	ClientName Peer `yaml:"client_name"`
}

// HashesAccessor reports whether there is an AuditDevice.
func (v Vault) HashesAccessor() bool { return v.AuditDevice != none }

// PKI names a role of a PKI engine of Vault and the life of its certificates.
type PKI struct {
	// Mount is the path of the engine.
	Mount string `yaml:"mount"`
	// Role is the role whose sign endpoint is called.
	Role string `yaml:"role"`
	// TTL is the life that is asked for; Vault may grant less. At least 5m,
	// so that a renewal has time for a second try.
	TTL Duration `yaml:"ttl"`
	// RenewalWindow is when certificates shall be renewed, if their life allows.
	// Default: at any time.
	RenewalWindow Window `yaml:"renewal_window"`
	// RevokeOnStop has the certificates revoked when the process ends. Default
	// false.
	RevokeOnStop bool `yaml:"revoke_on_stop"`
}

// Session is how long a sign-on lasts, whatever the IdP thinks.
type Session struct {
	// Idle ends a session that was not used for so long. Default 1h.
	Idle Duration `yaml:"idle"`
	// Absolute ends every session so long after sign-on. Default 10h, at
	// least Idle, at most 168h.
	Absolute Duration `yaml:"absolute"`
}

// AccessLog is where the record of every request goes.
type AccessLog struct {
	// File is an absolute path to append to, or "-" for the standard output.
	// Default "-".
	File string `yaml:"file"`
	// Durability is what a record has survived when its request ends: "none", "batch"
	// or "fsync". Default "batch".
	Durability string `yaml:"durability"`
	// OnFailure is what becomes of requests while nothing can be recorded: "deny" lets
	// nobody in, "drop" lets people in and loses records. Default "deny".
	OnFailure string `yaml:"on_failure"`
	// BufferMiB is how many records may wait to be written, in MiB. Default 8.
	BufferMiB int `yaml:"buffer_mib"`
	// QueryKeys are the query parameters whose values are recorded; the values
	// of all others are left out. Default none.
	QueryKeys []string `yaml:"query_keys"`
	// Pseudonymise has records call people by pseudonyms, made with the key in
	// Vault.AuditPath. Default false.
	Pseudonymise bool `yaml:"pseudonymise"`
	// Rotate says when a new file is begun in place of File, and how long old ones
	// are kept. Default: File is never rotated.
	Rotate Rotate `yaml:"rotate"`
	// Sinks are where records go besides File. Default none.
	Sinks []Sink `yaml:"sinks"`
	// Checkpoints say how often Vault signs what is in the log. Default: not at all.
	Checkpoints Checkpoints `yaml:"checkpoints"`
	// AuditPage is where auditors look through the log. Default: nowhere.
	AuditPage AuditPage `yaml:"audit_page"`
}

// Stop is how a process ends after SIGTERM.
type Stop struct {
	// Announce is how long connections are still taken while readiness says
	// "stopping" and clients are asked to leave. Default 1s, at most 5m.
	Announce Duration `yaml:"announce"`
	// Drain is how long requests in flight may take to finish after that.
	// Default 30s, at most 10m.
	Drain Duration `yaml:"drain"`
}

// Route is one tool behind the gateway: who may open it, and where it is.
type Route struct {
	// Name identifies the route in logs and metrics: 1 to 40 of a-z, 0-9 and
	// inner hyphens. Required, unique.
	Name string `yaml:"name"`
	// Title is the tool's name in the portal. Default: Name.
	Title string `yaml:"title"`
	// Description is one line below the title. Default none.
	Description string `yaml:"description"`
	// Host is the tool's own DNS name, or a wildcard. Required, not the door's.
	Host RouteHost `yaml:"host"`
	// Path is where at Host the tool begins, by whole segments; of several routes the
	// longest wins. Default "/".
	Path string `yaml:"path"`
	// StripPath takes Path away before the tool is asked. Default false.
	StripPath bool `yaml:"strip_path"`
	// HostHeader is the Host that the tool sees: "public", as browsers do, "backend",
	// as in Backend.URL, or a host. Default "public".
	HostHeader string `yaml:"host_header"`
	// Rules are parts of the route in which others may enter. Default none.
	Rules []RouteRule `yaml:"rules"`
	// Redirect or Respond answers in place of Backend. Default: neither.
	Redirect Redirect `yaml:"redirect"`
	Respond  Respond  `yaml:"respond"`
	// Backend is the tool's sidecar.
	Backend Backend `yaml:"backend"`
	// Allow says who may open the tool. Default: nobody.
	Allow Allow `yaml:"allow"`
	// Identity says what the tool is told of a person, and how.
	Identity Identity `yaml:"identity"`
	// PassAuthorization lets the browser's Authorization header through to
	// the tool. Default false: it is removed.
	PassAuthorization bool `yaml:"pass_authorization"`
	// WebSocket lets connections be upgraded. Default true.
	WebSocket bool `yaml:"websocket"`
	// Assertion sends along who asks, signed, as X-Sallyport-Assertion. Default true.
	Assertion bool `yaml:"assertion"`
	// IdPs are the names of the identity providers whose people may open the
	// tool, besides what Allow says. Default: all.
	IdPs []string `yaml:"idps"`
	// StepUp is what is demanded of the sign-on besides.
	StepUp StepUp `yaml:"step_up"`
	// UnsafeCrossOrigin lets pages of other origins, sibling tools among them,
	// send requests that change something in a person's name. Default false.
	UnsafeCrossOrigin bool `yaml:"unsafe_cross_origin"`
	// Answers is what becomes of the tool's answers.
	Answers Answers `yaml:"answers"`
	// Limits are how much may be asked of the tool.
	Limits RouteLimits `yaml:"limits"`
	// QueryKeys are the query parameters whose values are recorded for this
	// route, beside those of AccessLog. Default none.
	QueryKeys []string `yaml:"query_keys"`
	// ForwardAuth lets an ingress ask who may open the tool, and pass requests
	// on by itself. Backend may be left out then. Default false.
	ForwardAuth bool `yaml:"forward_auth"`
}

// Allow says who may open a tool: a person with one of the users' names, or
// in one of the groups, or anyone who has signed in. The zero value lets
// nobody in.
type Allow struct {
	// Groups are compared byte for byte with the person's groups.
	Groups []string `yaml:"groups"`
	// Users are compared byte for byte with what becomes X-Forwarded-User.
	Users []string `yaml:"users"`
	// Anyone lets in everybody who has signed in; it cannot stand beside
	// Groups or Users.
	Anyone bool `yaml:"any_signed_in"`
}

// Nobody reports whether a lets no one in.
func (a Allow) Nobody() bool {
	return !a.Anyone && len(a.Groups) == 0 && len(a.Users) == 0
}

// Paths at the door that follow from the configuration alone.
const (
	metadataPath = "/saml/metadata"
	acsPath      = "/saml/acs"
	sloPath      = "/saml/slo"
)

// httpsPort is the port that a URL leaves out.
const httpsPort = 443

// Origin returns the origin of host as browsers see it: "https://HOST", with
// the public port when that is not 443, and without a final slash.
func (g *Gateway) Origin(host Host) string {
	if g.Door.PublicPort == httpsPort {
		return "https://" + string(host)
	}
	return "https://" + net.JoinHostPort(string(host), strconv.Itoa(g.Door.PublicPort))
}

// DoorURL returns the address of the portal, with its final slash.
func (g *Gateway) DoorURL() string {
	return g.Origin(g.Door.Host) + "/"
}

// ACSURL returns the address that the IdP posts its responses to.
func (g *Gateway) ACSURL() string {
	return g.Origin(g.Door.Host) + acsPath
}

// SLOURL returns the address that the IdP sends its logout messages to.
func (g *Gateway) SLOURL() string {
	return g.Origin(g.Door.Host) + sloPath
}

// Hosts returns every name that browsers may ask for: the door's first, then
// the routes' in their order, each once, and wildcards as they are written. The edge
// certificates are issued for them.
func (g *Gateway) Hosts() []string {
	hosts := []string{string(g.Door.Host)}
	for _, route := range g.Routes {
		if !slices.Contains(hosts, string(route.Host)) {
			hosts = append(hosts, string(route.Host))
		}
	}
	return hosts
}

// defaultGateway returns what an empty file means, before [Gateway.complete].
func defaultGateway() Gateway {
	return Gateway{
		Door:   Door{PublicPort: httpsPort},
		Listen: Listen{HTTPS: ":8443", Admin: "127.0.0.1:9090", ACMEHTTP: ":8080", ForwardAuth: none},
		Vault: Vault{
			KVMount:     "secret",
			SAMLPath:    "sallyport/saml",
			SessionPath: "sallyport/session",

			AssertionPath: "sallyport/assertion",
			AssertionRole: "sallyport-assertion",
			AssertionName: defaultAssertionName,

			AuditPath:   "sallyport/audit",
			AuditDevice: none,

			Refresh:    Duration{time.Minute},
			EdgeACME:   ACME{Directory: none, Email: none, CAFile: systemRoots, Challenge: tlsALPN, KVPath: "sallyport/acme", EABPath: none},
			EdgePKI:    PKI{Mount: "pki-edge", Role: "sallyport-edge", TTL: Duration{24 * time.Hour}},
			BackendPKI: PKI{Mount: "pki-backend", Role: "sallyport-gateway", TTL: Duration{24 * time.Hour}},
			ClientName: defaultGatewayName,
		},
		SAML:      defaultSAML(),
		Session:   Session{Idle: Duration{time.Hour}, Absolute: Duration{10 * time.Hour}},
		AccessLog: defaultAccessLog(),
		Tracing:   defaultTracing(),
		Stop:      defaultStop(),
		Limits:    defaultLimits(),
	}
}

func defaultStop() Stop {
	return Stop{Announce: Duration{time.Second}, Drain: Duration{30 * time.Second}}
}

// defaultGatewayName is in the gateway's client certificate, and what sidecars
// let in.
const defaultGatewayName = "gateway.sallyport.internal"

// setDefaults makes r what an empty entry of routes means.
func (r *Route) setDefaults() {
	r.WebSocket = true
	r.Identity.setDefaults()
	r.Assertion = true
	r.setRoutingDefaults()
	r.StepUp.AuthnContext.Comparison = comparisonExact
	r.Backend = defaultBackend()
	r.Answers.Frames = framesSameOrigin
}

// complete fills in the defaults that follow from other keys.
// isGiven says which stand in the file.
func (g *Gateway) complete(isGiven func(path string) bool) {
	if g.SAML.EntityID == "" && g.Door.Host != "" {
		g.SAML.EntityID = g.Origin(g.Door.Host) + metadataPath
	}
	g.SAML.usePreset(isGiven)
	for i := range g.Routes {
		g.Routes[i].complete()
		if health := &g.Routes[i].Backend.Health; !isGiven(entry("routes", i) + ".backend.health.timeout") {
			health.Timeout.Duration = min(health.Timeout.Duration, health.Interval.Duration)
		}
	}
}

func (r *Route) complete() {
	if r.Title == "" {
		r.Title = r.Name
	}
	for i := range r.Rules {
		if r.Rules[i].Name == "" {
			r.Rules[i].Name = fmt.Sprintf("rule-%d", i+1)
		}
	}
	if r.Backend.Name == "" && r.HasBackend() {
		r.Backend.Name = Peer(r.Name + ".backend.sallyport.internal")
	}
}
