package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/assertion"
	"github.com/sallyport/sallyport/proxy/keep"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/portal"
	"github.com/sallyport/sallyport/proxy/relay"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/proxy/tracing"
)

// Config is what a Gateway needs. It must not be changed after New. All fields
// are required unless they say otherwise.
type Config struct {
	// DoorHost is the host name where sign-on happens, lower-case.
	DoorHost string
	// PublicPort is the port in the addresses that browsers see.
	PublicPort int
	// EntityID is our name towards identity providers, for whom a NameID is unless it
	// says otherwise. Empty compares what it says to the letter.
	EntityID string
	// Routes are the tools; no two have the same host and path, and none has DoorHost.
	Routes []Route
	// IdPs are the identity providers that sign people in, in the order of the
	// chooser: at least one; names are unique.
	IdPs []IdP
	// OutIdPs are further ones that are configured and that nobody can sign in with for
	// now: entity IDs by names. Sessions that they have vouched for go on. Nil for none.
	OutIdPs map[string]string
	// Sessions remembers them.
	Sessions *session.Manager
	// Assertions signs for the routes that want it, and has the key set that the
	// door shows. Its client certificate must be the one that every Route.TLS shows.
	// Nil for none.
	Assertions *assertion.Issuer
	// Access gets one line per request.
	Access *accesslog.Log
	// QueryKeys are the query parameters whose values the access log keeps;
	// nil means none.
	QueryKeys []string
	// ClientSerial is the serial number of the client certificate that every Route.TLS
	// shows, for the access log; empty if it is not known.
	ClientSerial string
	// TrustedProxies are the peers whose X-Forwarded-For is believed; nil for nobody.
	TrustedProxies []netip.Prefix
	// Refresh looks whether the named identity provider has new metadata, for an
	// answer that was signed with an unknown key, and returns it with that; nil if
	// there is nothing new, or it was asked too often. On account of messages that
	// nobody here has asked for, it is asked once a minute at most for each. It is
	// called concurrently and returns with ctx. Nil never looks.
	Refresh func(ctx context.Context, idp string) ServiceProvider
	// Audit is the audit page at the door; nil for none.
	Audit *Audit
	// Tracer begins spans; nil traces nothing. TrustTraces has it continue the traces that
	// TrustedProxies say a request belongs to, and not only link to them.
	Tracer      *tracing.Tracer
	TrustTraces bool
	// Traces keeps what was found out about the last messages of identity providers;
	// nil keeps nothing.
	Traces *Traces
	// Limits are how much is served at once, and how much strangers may ask for. The
	// zero value has defaults.
	Limits Limits
	// Asks tells whether whoever has sent a request to [Live.ForwardAuth] may ask, and
	// who that is. It is called concurrently. Nil lets nobody ask.
	Asks func(*http.Request) (name string, err error)
	// Log is for what no request is to blame for; nil discards.
	Log *slog.Logger
	// Metrics counts; nil counts nowhere.
	Metrics *Metrics
	// Replaces is the Gateway whose place this one takes, with another
	// configuration, other keys or other backends. What it allows strangers at
	// once, and its connections to backends that stay the same, are shared.
	// Requests that it has begun are its own until they end. Nil for the first.
	Replaces *Gateway
	// Now is the clock, called concurrently; nil means time.Now.
	Now func() time.Time
}

// Gateway is the front door as an http.Handler. It is immutable and safe for
// concurrent use.
type Gateway struct {
	cfg       Config
	door      string // the door's origin, without a trailing slash
	table     table
	order     []*route
	audit     *place // of the audit page; nil for none
	idps      idps
	pages     *portal.Pages
	crossSite *http.CrossOriginProtection
	named     map[string]bool // groups that some route mentions
	queryKeys map[string]bool
	backends  relay.Serials // of the certificates that they have shown
	foreign   []string      // header names that only some routes set; see ownNames
	answers   *admission    // of identity providers
	begins    *admission    // requests to them
	forms     *keep.Store
	recorder  relay.Recorder
	alarms    *alarms
	limits    Limits       // defaults filled in
	load      *load        // what is in hand
	strangers *rates       // how often each address has asked
	watch     *relay.Watch // who waits for a client that does not move
	full      *canned      // the answer of a gateway that is asked for too much
	often     *canned      // the answer to whoever asks too often
}

func (c *Config) setDefaults() {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics()
	}
}

// New returns a Gateway, or an error that names what is wrong with cfg.
func New(cfg Config) (*Gateway, error) {
	cfg.setDefaults()
	g := &Gateway{
		cfg: cfg, table: newTable(), named: make(map[string]bool), queryKeys: make(map[string]bool),
		crossSite: http.NewCrossOriginProtection(),
		answers:   newAdmission(answersAtOnce, answersPerAddress, admissionWait),
		begins:    newAdmission(beginsAtOnce, beginsPerAddress, admissionWait),
		alarms:    &alarms{last: make(map[string]time.Time)},
		forms:     keep.New(cfg.Now),
		recorder:  relay.Recorder{Access: cfg.Access, Log: cfg.Log, Now: cfg.Now, Ended: cfg.Metrics.end},
	}
	g.cfg.Replaces = nil // or every one that ever was would be kept
	g.door = g.origin(cfg.DoorHost)
	g.limits = cfg.Limits.orDefaults()
	g.load, g.strangers, g.watch = newLoad(), newRates(g.limits.StrangersPerSecond), relay.NewWatch(g.limits.Stall)
	g.watch.Cut = func(why string) { cfg.Metrics.slow.WithLabelValues(why).Inc() }
	for _, key := range cfg.QueryKeys {
		g.queryKeys[key] = true
	}
	if err := g.addRoutes(); err != nil {
		return nil, err
	}
	if err := g.addAudit(); err != nil {
		return nil, err
	}
	if err := g.addIdPs(); err != nil {
		return nil, err
	}
	pages, err := portal.New(g.door)
	if err != nil {
		return nil, err
	}
	g.pages = pages
	if err := g.prepareRefusals(); err != nil {
		return nil, err
	}
	if cfg.Replaces != nil {
		g.inherit(cfg.Replaces)
	}
	return g, nil
}

// ServeHTTP takes one request the whole way and writes its line.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.cfg.Metrics.begin()
	if len(g.cfg.TrustedProxies) > 0 {
		g.serveForwarded(w, r)
		return
	}
	g.recorder.Serve(w, r, g.serve)
}

// serve is the way of a request, after its record was opened.
func (g *Gateway) serve(ex *exchange, r *http.Request) {
	ex.Record.RequestID, ex.Record.Query = newRequestID(), g.loggedQuery(r, nil)
	g.beginSpan(ex, r)
	if r.ContentLength != 0 {
		ex.ExpectBody(strangerPatience) // forward lets those who are let in take longer
	}
	ex.CountIn(&g.load.inHand, g.limits.Stall)
	g.watch.Follow(ex)
	defer g.watch.Forget(ex)
	if level, why := g.pressure(ex.Record.Time); !g.load.admits(level, ex.Record.Time) {
		g.shed(ex, r, why)
		return
	}
	rf := clean(r)
	if rf == nil {
		rf = g.limits.exceeded(r)
	}
	if rf != nil {
		g.refuse(ex, r, *rf)
		return
	}
	if rf := g.unrecorded(); rf != nil {
		g.refuse(ex, r, *rf)
		return
	}
	host, ok := normalHost(r.Host)
	ex.Record.Host = host
	if !ok {
		g.refuse(ex, r, refusal{
			status: http.StatusBadRequest, reason: "host",
			title: "That address is not valid", message: "The address of this request is not one that a browser sends.",
		})
		return
	}
	if misdirected(r, host) {
		g.refuseMisdirected(ex, r)
		return
	}
	if host == g.cfg.DoorHost {
		g.serveDoor(ex, r)
		return
	}
	g.serveHost(ex, r, host)
}

// unrecorded refuses everybody while nobody can be recorded.
func (g *Gateway) unrecorded() *refusal {
	err := g.cfg.Access.Err() // tried again with this refusal's own line
	if err == nil {
		return nil
	}
	return &refusal{
		status: http.StatusServiceUnavailable, reason: "access_log", cause: err,
		title: "Closed for the moment", message: "Sallyport cannot record who enters, so it lets nobody in. Its operators can see why.",
	}
}

// serveTool decides who may pass, and forwards.
func (g *Gateway) serveTool(ex *exchange, r *http.Request, rt *place) {
	ex.Record.Action = accesslog.ActionAccess
	if rt.ingressOnly() {
		g.refuse(ex, r, refusal{
			status: http.StatusMisdirectedRequest, reason: "ingress_only",
			title: "Not this way", message: rt.Title + " is not reached through this server. Open it from your list of tools.",
			link: g.door + "/", text: "Your tools",
		})
		return
	}
	if strings.Contains(r.URL.RawQuery, formMark) {
		if r = g.unmarked(ex, r, rt); r == nil {
			return
		}
		defer g.settle(r)
	}
	switch state := g.admit(ex, r, rt); {
	case state == nil:
	case rt.itself():
		g.answerItself(ex, r, rt)
	default:
		g.forward(ex, r, rt, state)
	}
}

// admit returns the state of whoever may pass, or answers and returns nil.
func (g *Gateway) admit(ex *exchange, r *http.Request, rt *place) *session.State {
	state, absence := g.find(ex, r, rt)
	if absence != session.Present {
		g.askToSignIn(ex, r, rt, absence)
		return nil
	}
	g.noteSession(ex, state)
	decision := g.judge(rt, state)
	ex.Note(accesslog.ActionAccess, decision.Verdict.String(), decision.Reason)
	ex.Record.Rule = decision.Rule
	switch decision.Verdict {
	case policy.Allow:
		return state
	case policy.Again:
		g.askToStepUp(ex, r, rt, state, decision)
	default:
		g.refuse(ex, r, refusal{
			status: http.StatusForbidden, reason: decision.Reason,
			title:   "You may not open " + rt.Title,
			message: "You are signed in as " + state.User + ", and this tool is not open to you. If you need it, ask its owner, and give the request number below.",
			link:    g.door + "/", text: "Your tools",
		})
	}
	return nil
}

// noteSession writes who it is into the record.
func (g *Gateway) noteSession(ex *exchange, s *session.State) {
	ex.Record.User, ex.Record.Groups, ex.Record.SessionID = s.User, s.Groups, s.LogID()
	ex.Record.Knows(s.Email, s.Name)
}

// askToSignIn sends a navigation to the door, and tells everything else that it
// is not signed in: a background request must never start SAML.
func (g *Gateway) askToSignIn(ex *exchange, r *http.Request, rt *place, absence session.Absence) {
	ex.Note(accesslog.ActionAccess, accesslog.DecisionDeny, string(absence))
	if g.shedStranger(ex, r) {
		return
	}
	switch {
	case navigates(r):
		ex.Note(accesslog.ActionSignInBegin, accesslog.DecisionSignIn, string(absence))
		g.toDoor(ex, r, rt, absence)
	case wantsPage(r) && r.Body == nil: // an ingress has the form, if there is one
		ex.Record.Reason = string(absence)
		g.refuseUnsent(ex, r, rt, "")
	case wantsPage(r):
		g.holdLapsed(ex, r, rt, absence)
	default:
		notSignedIn(ex, absence, rt.url())
	}
}

// toDoor sends a navigation to the door, from where it comes back signed in. why is
// what it has come without.
func (g *Gateway) toDoor(ex *exchange, r *http.Request, rt *place, why session.Absence) {
	token := g.cfg.Sessions.Begin(ex, r, g.aim(rt), r.URL.RequestURI(), why)
	g.redirect(ex, g.door+reservedPrefix+"sign_in?begin="+token)
}

// redirect sends the browser on with a GET. Only the gateway's own origins and
// the identity provider are ever targets.
func (g *Gateway) redirect(ex *exchange, location string) {
	portal.Protect(ex.Header())
	ex.Header().Set("Location", location)
	ex.WriteHeader(http.StatusSeeOther)
}

// loggedQuery is the query as the access log may keep it: the values of keys that are
// allowed everywhere, or on a route if more are its own; the names of no others.
func (g *Gateway) loggedQuery(r *http.Request, more []string) string {
	if len(g.queryKeys)+len(more) == 0 || r.URL.RawQuery == "" {
		return ""
	}
	kept := r.URL.Query()
	for key := range kept {
		if !g.queryKeys[key] && !slices.Contains(more, key) {
			delete(kept, key)
		}
	}
	return kept.Encode()
}

// noteRoute writes into the record which route it is, and what of the query it keeps.
func (g *Gateway) noteRoute(ex *exchange, r *http.Request, rt *route) {
	ex.Record.Route = rt.Name
	if len(rt.QueryKeys) > 0 {
		ex.Record.Query = g.loggedQuery(r, rt.QueryKeys)
	}
}
