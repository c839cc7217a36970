package auditpage

import (
	"context"
	"time"
)

// Verification is what is known of the files of the log: the last verification of them,
// which runs by itself in the background. The zero value says that nobody looks.
type Verification struct {
	// On says that the files are verified, and Since when for the last time; zero before
	// the first time.
	On    bool
	Since time.Time
	// Records were found whole, in Files.
	Records int64
	Files   int
	// Signatures says that checkpoints were verified with Vault's public keys; else only
	// the chain was.
	Signatures bool
	// Findings are what is wrong, the gravest first; nil for nothing. More says how many
	// others there are.
	Findings []Finding
	More     int
	// Chains are the instances whose records there are, the latest first.
	Chains []Chain
	// Fault is why the files cannot be verified; nil if they are.
	Fault error
}

// Finding is one thing that is wrong with the log.
type Finding struct{ Kind, Where, What string }

// Chain is what is known of the records of one instance.
type Chain struct {
	Instance    string
	First, Last uint64    // sequence numbers
	At          time.Time // of the last record
	Ended       bool      // in order; else it runs, or was killed
	Current     bool      // it is this process's
	// Signed is the number of the last record that a checkpoint covers, SignedAt when that
	// was made, and Signer by which key. Zero and empty before the first.
	Signed   uint64
	SignedAt time.Time
	Signer   string
	// Verified is the number of the last record that Vault's signature was verified for,
	// the last time; 0 for none.
	Verified uint64
}

// Uncovered is how many records no checkpoint covers yet.
func (c Chain) Uncovered() uint64 { return c.Last - min(c.Signed, c.Last) }

// verified is the page of the verification.
type verified struct {
	Verification
	When   string
	Count  string
	Whole  bool
	Reason string // why the files cannot be verified, in words for a person
	Extent Extent
}

func (v *visit) verification(ctx context.Context) (title string, data any, err error) {
	out := verified{Verification: v.page.cfg.Verified()}
	out.Extent, err = v.page.cfg.Recent.Extent(ctx)
	out.Count = grouped(out.Records)
	if !out.Since.IsZero() {
		out.When = out.Since.UTC().Format("2006-01-02 15:04:05") + " UTC"
	}
	out.Whole = out.On && out.Fault == nil && len(out.Findings) == 0 && !out.Since.IsZero()
	return "Verification", out, err
}
