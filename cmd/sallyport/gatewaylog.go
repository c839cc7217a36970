package main

import (
	"context"
	"io"
	"log/slog"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/accesslog"
)

// gatewayLog is a gateway's access log, with who signs it and who looks through it. The
// zero value is one that is not open yet.
type gatewayLog struct {
	access *accesslog.Log
	sinks  *logSinks
	signed checkpoints
	view   *auditView
}

// open opens what cfg says.
func (g *gatewayLog) open(ctx context.Context, cfg *config.Gateway, out io.Writer, log *slog.Logger) (err error) {
	if g.signed.maker, err = newCheckpointer(cfg.AccessLog.Checkpoints, log); err != nil {
		return err
	}
	if g.view, err = newAuditView(cfg, log); err != nil {
		return err
	}
	g.access, g.sinks, err = openGatewayLog(ctx, cfg.AccessLog, logParts{maker: g.signed.maker, beside: g.view.sinks()}, out, log)
	return err
}

// take has events recorded, those that have happened before, too.
func (g *gatewayLog) take(ctx context.Context, log *slog.Logger, accessor func(context.Context) string) {
	if g.access != nil {
		eventsOf(log).attach(ctx, g.access, accessor)
	}
}

// attend has a gateway's life look after what the log needs while it serves.
func (g *gatewayLog) attend(l *life, of *liveGateway) {
	g.sinks.identity.Store(of.backend)
	l.sinks, l.signed = g.sinks, g.signed
	if g.signed.maker != nil {
		l.metrics.MustRegister(&checkpointMetrics{g.signed})
	}
}

// end writes what is left, after the last request, and has it signed.
func (g *gatewayLog) end(ctx context.Context, log *slog.Logger) {
	if g.access != nil {
		eventsOf(log).finish()
		endAccessLog(ctx, g.access, log)
		g.signed.end(ctx)
	}
}
