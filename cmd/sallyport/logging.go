package main

import (
	"io"
	"log/slog"
	"time"

	"github.com/sallyport/sallyport/saml"
)

// newLogger writes one JSON object per line, with durations as Go writes them
// ("5m0s"). The access log is another stream.
func newLogger(w io.Writer, service string) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{ReplaceAttr: readableDuration})).With("service", service)
}

// readableDuration writes a duration as text; slog's own form is a number of
// nanoseconds that nobody recognises as one.
func readableDuration(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// logConfig says that a configuration was accepted, and each thing in it that
// deserves a look.
func logConfig(log *slog.Logger, source string, warnings []string) {
	for _, warning := range warnings {
		log.Warn("configuration warning", "warning", warning)
	}
	log.Info("configuration loaded", "source", source)
}

// idpNotice is how long before its end an identity provider's certificate is
// warned of: weeks pass until somebody elsewhere has changed it.
const idpNotice = 30 * 24 * time.Hour

// warnOfIdP says which certificates of the identity provider end soon, or have
// ended: from then on nobody can sign in by them.
func warnOfIdP(log *slog.Logger, idp saml.IdPInfo, now time.Time) {
	for _, c := range idp.Certificates {
		if left := c.NotAfter.Sub(now); left < idpNotice {
			log.Warn("identity provider's certificate ends soon", "idp", idp.EntityID, "fingerprint", c.Fingerprint,
				"not_after", c.NotAfter, "time_left", left.Round(time.Minute), "what_to_do", hintsSAML[fieldIdPMetadata])
		}
	}
}
