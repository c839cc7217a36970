package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/handover"
	"github.com/sallyport/sallyport/proxy/tracing"
	"github.com/sallyport/sallyport/vaultpki"
)

// life is what a gateway and a sidecar have in common once they have what they
// need: an identity that is kept fresh, a listener for the work, one for the
// operators, and a stop in two phases.
type life struct {
	service      string
	log          *slog.Logger
	client       *vaultpki.Client
	certificates []heldCertificates
	access       *accesslog.Log
	sinks        *logSinks  // nil for a sidecar
	accessor     accessorOf // for lines about logins; nil for a process that does not know it
	metrics      *prometheus.Registry
	signed       checkpoints
	calls        *vaultMetrics   // of client
	tracer       *tracing.Tracer // nil if nothing is traced

	sockets   sockets
	listen    addresses
	tls       *tls.Config
	handler   http.Handler
	announce  time.Duration
	drain     time.Duration
	strangers slog.Level // of a failed handshake
	reception reception
	// overload says whether requests are turned away, http2Error counts faults of
	// clients; nil for a sidecar.
	overload   func() (shedding, stuck bool)
	http2Error func(kind string)
	// opened and closed are shown the connections of peers; nil for a gateway, whose
	// clients are strangers.
	opened func(context.Context, net.Conn) context.Context
	closed func(net.Conn)

	// asked answers an ingress that asks who may pass, and askTLS lets it in; both
	// are nil if listen.forwardAuth is empty.
	asked  http.Handler
	askTLS *tls.Config

	// followed are kept fresh beside token and certificates, and at once on hangup. The
	// first is the configuration.
	followed []followed
	hangup   *hangup
	probe    *tokenProbe
	// more are artefacts beside those that every process has; nil for none.
	more func() []artefact
	// beside is what runs besides, until the last request was answered; nil for nothing.
	beside []func(context.Context)
	// guards are what ends the process with its error, if that is not nil.
	guards []func(context.Context) error
	// connections, if not nil, serves the work in place of handler: what is guarded is no
	// HTTP.
	connections func(context.Context, *handover.Listener) error
	// traces are the last messages of identity providers; nil for a sidecar.
	traces *proxy.Traces
	// app is the application that a sidecar runs; nil for none.
	app *app
	// rendered are the secrets of that application, or of another one; nil for none.
	rendered *appSecrets
	// tools are where a gateway sends requests; nil for a sidecar.
	tools *proxy.Live

	// parts are what the answer about health has in detail; nil for no detail.
	parts []part

	startup  *stopwatch // of the steps before run
	started  time.Time  // by run
	stopping atomic.Bool
	guarding atomic.Bool // beside an application: it answers, and requests may come
}

// part is one of the things that must be well for a process to be ready. State is called
// concurrently; says has no name in it.
type part struct {
	Name  string
	State func() (ok bool, says string)
}

// heldCertificates are certificates, and what stops when one of them ends.
type heldCertificates struct {
	*vaultpki.Certificates
	stops string
}

// adminDrain is how long the last probe may take.
const adminDrain = time.Second

// run serves until ctx ends. The identity is kept fresh until the last request
// has been answered, and the admin listener says "stopping" meanwhile.
func (l *life) run(ctx context.Context) error {
	open, err := l.open(ctx)
	if err != nil {
		for _, held := range l.certificates {
			held.Close()
		}
		return err
	}
	l.started = time.Now()
	l.register()
	// Renewals and probes outlive ctx by the drain: a certificate may end, and
	// somebody will ask for readiness, while the last requests are answered.
	background, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	// The application's secrets outlast everything else: whatever the reason for a stop is,
	// it answers the last requests with them.
	used, unused := context.WithCancel(context.WithoutCancel(ctx))
	defer unused()
	group, background := errgroup.WithContext(background)
	l.access.Begin()
	if l.app == nil {
		// All listen since open, so it is true; and it precedes any line of theirs.
		l.tellServing(ctx, open)
	}
	l.keepFresh(background, group)
	group.Go(func() error { return l.rendered.run(used) })
	group.Go(func() error {
		return proxy.Serve(background, proxy.ServerConfig{
			Listener: open.admin, Handler: l.adminHandler(), Drain: adminDrain, Log: l.log, Strangers: slog.LevelDebug,
		})
	})
	group.Go(func() error {
		defer end() // when the work is over, everything else may stop
		defer unused()
		return l.work(ctx, background, open)
	})
	err = group.Wait()
	l.log.Info("stopped", "clean", exitCode(err) == exitOK || stoppedEarly(ctx, err))
	return err
}

// work answers requests until ctx or background ends, and the application has, if there is
// one.
func (l *life) work(ctx, background context.Context, open listeners) error {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(background, stop)() // a broken admin listener ends the work too
	told := onEnd(serving, func() {
		l.stopping.Store(true)
		l.app.retire()
		l.log.Info("stopping", "announce", l.announce.String(), "drain", l.drain.String())
		l.notify(context.WithoutCancel(ctx), handover.Stopping)
	})
	defer told() // it stands before "stopped", in every log
	if l.app != nil {
		return l.serveApp(serving, stop, open)
	}
	return l.serve(serving, open)
}

// register has metrics told.
func (l *life) register() {
	l.metrics.MustRegister(&identityMetrics{life: l}, l.calls, proxy.NewAccessLogMetrics(l.access))
	if l.sinks != nil {
		l.metrics.MustRegister(&logSinkMetrics{sinks: l.sinks})
	}
	if l.tracer != nil {
		l.metrics.MustRegister(l.tracer)
	}
	if l.app != nil {
		l.metrics.MustRegister(&appMetrics{l.app})
	}
	if l.rendered != nil {
		l.metrics.MustRegister(&appSecretsMetrics{l.rendered})
	}
}

// tellServing says that requests are answered from now on.
func (l *life) tellServing(ctx context.Context, open listeners) {
	l.startup.lap("listening")
	l.log.Info("serving", "https", open.work.Addr().String(), "admin", open.admin.Addr().String(), "forward_auth", open.asks(), "startup", l.startup)
	l.notify(ctx, handover.Ready)
}

// serveApp starts the application, and answers requests from when it answers until stop is
// called or it has ended. It is ended after the last request.
func (l *life) serveApp(ctx context.Context, stop func(), open listeners) error {
	if err := l.app.start(ctx, l.startup); err != nil {
		return err
	}
	go func() {
		select {
		case <-l.app.ended():
			stop()
		case <-ctx.Done():
		}
	}()
	err := l.openWork(ctx, &open)
	if err == nil {
		l.tellServing(ctx, open)
		l.guarding.Store(true)
		err = l.serve(ctx, open)
	}
	return errors.Join(l.app.stop(), err)
}

// onEnd has tell called when ctx ends. Once settled has returned, it was and has returned, or
// never will be.
func onEnd(ctx context.Context, tell func()) (settled func()) {
	told := make(chan struct{})
	forget := context.AfterFunc(ctx, func() {
		defer close(told)
		tell()
	})
	return func() {
		if !forget() {
			<-told
		}
	}
}

// adminHandler is what operators and their probes meet.
func (l *life) adminHandler() http.Handler {
	more := map[string]http.Handler{
		"GET /status":       http.HandlerFunc(l.serveStatus),
		"POST " + renewPath: renewEndpoint(l.log, l.certificates),
	}
	if l.traces != nil {
		more["GET "+tracesPath] = l.traces.Handler()
		more["GET "+tracesPath+"/{id}"] = l.traces.Handler()
	}
	return proxy.Admin(proxy.AdminConfig{
		Readiness: func() (reasons, remarks []string) { doc := l.status(); return doc.Unready, doc.Remarks },
		Parts:     l.partLines,
		Metrics:   l.metrics, More: more,
	})
}

// listeners are what a process answers on. forwardAuth is nil if nobody may ask there,
// work3 if HTTP/3 is not spoken.
type listeners struct {
	work, admin, forwardAuth *handover.Listener
	work3                    net.PacketConn
}

// close lets go of those that there are, on a failed start.
func (l listeners) close() error {
	var err error
	for _, listener := range []*handover.Listener{l.work, l.admin, l.forwardAuth} {
		if listener != nil {
			err = errors.Join(err, listener.Close())
		}
	}
	return err
}

// asks is where an ingress may ask, "none" if nowhere.
func (l listeners) asks() string {
	if l.forwardAuth == nil {
		return "none"
	}
	return l.forwardAuth.Addr().String()
}

// open listens on every address, or on none. Where an application is awaited it is that of
// the operators alone.
func (l *life) open(ctx context.Context) (open listeners, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, open.close())
		}
	}()
	if open.admin, err = l.sockets.listen(ctx, socketAdmin, l.listen.admin, forAdmin); err != nil {
		return open, err
	}
	if l.app == nil {
		err = l.openWork(ctx, &open)
	}
	return open, err
}

// openWork listens for everybody who is not an operator.
func (l *life) openWork(ctx context.Context, open *listeners) (err error) {
	if open.work, err = l.sockets.listen(ctx, socketHTTPS, l.listen.work, forRequests); err != nil {
		return err
	}
	if l.listen.forwardAuth != "" {
		if open.forwardAuth, err = l.sockets.listen(ctx, socketForwardAuth, l.listen.forwardAuth, forIngress); err != nil {
			return err
		}
	}
	if l.listen.http3 != "" { // the port that the other has got
		open.work3, err = l.sockets.packets(ctx, socketHTTP3, open.work.Addr().String(), forHTTP3)
	}
	return err
}

// serve answers requests, and an ingress if one may ask, until ctx ends or one of the
// listeners breaks.
func (l *life) serve(ctx context.Context, open listeners) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if l.connections != nil {
			return l.connections(ctx, open.work)
		}
		return l.reception.serve(ctx, proxy.ServerConfig{
			Listener: open.work, Quiet: open.work.Quiet, TLS: l.tls, Handler: l.handler,
			Announce: l.announce, Drain: l.drain, Log: l.log, Strangers: l.strangers, HTTP2Error: l.http2Error,
			Opened: l.opened, Closed: l.closed,
		}, open.work3)
	})
	if open.forwardAuth != nil {
		group.Go(func() error {
			return proxy.Serve(ctx, proxy.ServerConfig{
				Listener: l.reception.limited(open.forwardAuth), Quiet: open.forwardAuth.Quiet, TLS: l.askTLS, Handler: l.asked,
				Announce: l.announce, Drain: l.drain, Log: l.log, Strangers: slog.LevelWarn,
			})
		})
	}
	return group.Wait()
}

// notify tells the service manager; that it cannot be told is no reason to stop.
func (l *life) notify(ctx context.Context, state string) {
	if err := handover.Notify(ctx, state); err != nil {
		l.log.Warn("service manager cannot be told", "state", state, "error", err)
	}
}

// keepFresh runs the keepers of the token and the certificates. When one of
// the latter gives up, the process goes on with what it holds: it is the end of a
// certificate, not of a renewal, that people notice, and /readyz names it. The
// former gives up if the token was revoked and that is to end the process.
func (l *life) keepFresh(ctx context.Context, group *errgroup.Group) {
	keep := func(what string, run func(context.Context) error) {
		group.Go(func() error {
			if err := run(ctx); err != nil {
				l.log.Error("serving with what is held", "lost", what, "error", err, "first_hard_stop", l.firstStop())
			}
			return nil
		})
	}
	sleepers := []sleeper{l.probe}
	if l.rendered != nil {
		sleepers = append(sleepers, l.rendered)
	}
	for _, f := range l.followed {
		sleepers = append(sleepers, f)
		group.Go(func() error { return f.run(ctx) })
	}
	if l.app != nil {
		group.Go(func() error { return l.guardEnds(ctx) })
	}
	group.Go(func() error { return l.probe.run(ctx) })
	group.Go(func() error { return l.signed.run(ctx) })
	group.Go(func() error { return l.tracer.Run(ctx) })
	group.Go(func() error { return l.hangup.obey(ctx, l.log, sleepers...) })
	if l.tools != nil {
		group.Go(func() error { return l.tools.Run(ctx) })
	}
	for _, guard := range l.guards {
		group.Go(func() error { return guard(ctx) })
	}
	for _, run := range l.beside {
		group.Go(func() error { run(ctx); return nil })
	}
	watch := &sentinel{artefacts: l.artefacts, log: l.log}
	group.Go(func() error { return watch.run(ctx) })
	if events := eventsOf(l.log); events != nil {
		group.Go(func() error { return events.run(ctx, l.accessor) })
	}
	group.Go(func() error { return l.client.Run(ctx) }) // ends by itself only if it is to stop the process
	for _, held := range l.certificates {
		keep("certificates", held.Run)
	}
}

// unready says why this process should get no traffic.
func (l *life) unready() []string {
	var reasons []string
	if l.stopping.Load() {
		reasons = append(reasons, "stopping")
	}
	if _, stuck := l.overloaded(); stuck {
		reasons = append(reasons, "overloaded: nobody was let in for ten seconds")
	}
	for _, p := range l.parts {
		if ok, says := p.State(); !ok {
			reasons = append(reasons, p.Name+": "+says)
		}
	}
	return append(reasons, l.broken()...)
}

// broken says why this process itself does no work, whatever stands behind it.
func (l *life) broken() []string {
	var reasons []string
	if err := l.access.Err(); err != nil {
		reasons = append(reasons, "access log: "+err.Error())
	}
	for _, c := range l.certificates {
		for _, status := range c.Status() {
			if !time.Now().Before(status.NotAfter) {
				reasons = append(reasons, fmt.Sprintf("certificate %s expired at %s", status.Name, status.NotAfter.UTC().Format(time.RFC3339)))
			}
		}
	}
	return reasons
}

// overloaded says whether requests were turned away of late, and whether all were.
func (l *life) overloaded() (shedding, stuck bool) {
	if l.overload == nil {
		return false, false
	}
	return l.overload()
}

// firstStop is the first moment at which something stops that people notice.
func (l *life) firstStop() string {
	if first, found := hardStop(l.artefacts()); found {
		return describeStop(first)
	}
	return "none"
}

// artefacts are what this process lives from, in the order of their kinds.
func (l *life) artefacts() []artefact {
	all := l.identityArtefacts()
	if l.more != nil {
		all = append(all, l.more()...)
	}
	for _, state := range l.follows() {
		all = append(all, followArtefact(state))
	}
	return all
}

// follows is what is known of everything that is followed, and is there at all.
func (l *life) follows() []followState {
	var states []followState
	for _, f := range l.followed {
		for _, state := range f.states() {
			if state.Version != versionNone || state.Cause != "" {
				states = append(states, state)
			}
		}
	}
	return states
}

// identityArtefacts are the token and the certificates.
func (l *life) identityArtefacts() []artefact {
	all := tokenArtefacts(l.client.Status())
	for _, c := range l.certificates {
		for _, status := range c.Status() {
			all = append(all, artefact{
				Kind: kindCertificate, Name: status.Name, Version: status.Serial, Since: status.NotBefore, Until: status.NotAfter,
				Renews: true, Stops: c.stops, Hard: true, Fault: faultOf(status.Failure),
			})
		}
		for _, root := range c.Roots() {
			a := artefact{Kind: kindAuthority, Name: shortFingerprint(root.Fingerprint), Since: root.NotBefore, Until: root.NotAfter}
			if root.InUse {
				a.Stops, a.Hard = c.stops, true
			}
			all = append(all, a)
		}
	}
	return all
}

// tokenArtefacts are the token, and the heir that stands in for it after its end.
func tokenArtefacts(s vaultpki.Status) []artefact {
	token := artefact{
		Kind: kindToken, Name: s.Method, Since: s.Expires.Add(-s.TTL), Until: s.Expires, Renews: true, Stops: "renewals and new versions",
		Note: "a Vault that is away is outlasted for " + readable(s.Outlasts),
	}
	if s.Expires.IsZero() {
		token.Since = s.Since
	}
	if s.Lost {
		token.Fault = fmt.Sprintf("lost since %s: %s", s.LostSince.UTC().Format(time.RFC3339), s.LostCause)
	}
	all := []artefact{token}
	if !s.HeirEnds.IsZero() {
		all = append(all, artefact{Kind: kindHeir, Name: s.Method, Until: s.HeirEnds, Renews: true, Stops: "a restart without an introduction"})
	}
	return all
}

// faultOf is a line about renewals that failed, empty if the last one did not.
func faultOf(failure vaultpki.Failure) string {
	if failure.Attempts == 0 {
		return ""
	}
	return fmt.Sprintf("not renewed in %d attempts since %s: %s", failure.Attempts, failure.Since.UTC().Format(time.RFC3339), failure.Cause)
}

// followArtefact is a secret, a configuration or a document that is followed. It
// has no end of its own.
func followArtefact(state followState) artefact {
	a := artefact{Kind: state.Kind, Name: state.Name, Version: state.Version, Since: state.Since, Renews: true, Fault: state.Cause}
	if state.Refused != "" {
		a.Fault = fmt.Sprintf("version %s refused: %s", state.Refused, state.Cause)
	}
	return a
}

// closeIdentity ends what was made before serving began, on a failed start.
func closeIdentity(certificates ...*vaultpki.Certificates) {
	for _, c := range certificates {
		if c != nil {
			c.Close()
		}
	}
}
