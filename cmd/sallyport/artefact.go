package main

import (
	"fmt"
	"time"
)

// artefact is one thing that a process lives from: a token, a certificate, a key,
// somebody else's metadata. It is what `sallyport status` lists.
type artefact struct {
	Kind    string    `json:"kind"`
	Name    string    `json:"name"`
	Version string    `json:"version,omitempty"`
	Since   time.Time `json:"since,omitzero"` // issued, read, or put in use
	Until   time.Time `json:"until,omitzero"` // its end; zero if it has none of its own
	// Stops says what stops working at Until; empty if nothing does, because
	// something else goes on. Hard is true if people notice at once.
	Stops string `json:"stops,omitempty"`
	Hard  bool   `json:"hard,omitempty"`
	// Renews is true for what is replaced without a person: it is due at half of
	// its life, and only a Fault or less than a quarter left is worth a word.
	Renews bool   `json:"renews"`
	Note   string `json:"note,omitempty"`  // what an operator may want to know
	Fault  string `json:"fault,omitempty"` // what is wrong with it now
}

// Kinds of artefacts, in the order in which they are listed.
const (
	kindToken         = "vault_token"
	kindHeir          = "heir"
	kindCertificate   = "certificate"
	kindAuthority     = "authority"
	kindIdPCert       = "idp_certificate"
	kindIdPMetadata   = "idp_metadata"
	kindSPCertificate = "sp_certificate"
	kindSecret        = "secret"
	kindAppSecret     = "app_secret"
	kindDocument      = "document" // a configuration file, metadata at a URL
)

// level says how near an artefact's end is.
type level int

const (
	levelFine    level = iota
	levelHalf          // half of its life is over, and something is wrong or nobody renews it
	levelQuarter       // a quarter is left
	levelTenth         // a tenth is left
	levelOver          // it has ended
)

// String is what a log line and the status page say.
func (l level) String() string {
	return [...]string{"fine", "half of its life left", "a quarter of its life left", "a tenth of its life left", "ended"}[l]
}

// What a person must replace is told of when there is still time, and not years
// before: a certificate of ten years has half of its life left for five.
const (
	halfNotice    = 60 * 24 * time.Hour
	quarterNotice = 21 * 24 * time.Hour
	tenthNotice   = 7 * 24 * time.Hour
)

// level judges the artefact at a moment.
func (a artefact) level(now time.Time) level {
	if a.Until.IsZero() {
		return levelFine
	}
	life, left := a.Until.Sub(a.Since), a.Until.Sub(now)
	switch {
	case left <= 0:
		return levelOver
	case a.Since.IsZero(): // of how much, nobody can say
		return levelFine
	case left <= min(life/10, tenthNotice):
		return levelTenth
	case left <= min(life/4, quarterNotice):
		return levelQuarter
	case left <= min(life/2, halfNotice) && (a.Fault != "" || !a.Renews):
		return levelHalf
	}
	return levelFine
}

// String names the artefact in a sentence: "certificate door.example.com".
func (a artefact) String() string { return fmt.Sprintf("%s %s", a.Kind, a.Name) }

// hardStop returns the artefact at whose end something stops that people notice,
// the first of all; false if there is none.
func hardStop(all []artefact) (first artefact, found bool) {
	for _, a := range all {
		if a.Hard && !a.Until.IsZero() && (!found || a.Until.Before(first.Until)) {
			first, found = a, true
		}
	}
	return first, found
}

// describeStop says it in a line: "2027-01-03T10:00:00Z: certificate NAME (what
// stops)".
func describeStop(a artefact) string {
	return fmt.Sprintf("%s: %s (%s)", a.Until.UTC().Format(time.RFC3339), a, a.Stops)
}
