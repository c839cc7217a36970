package auditpage

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/verify"
	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
)

// Verifier verifies the files of the log again and again in the background, slowly: the
// chain, and signatures if it has keys for them. What it says is for auditors to look
// closer, and no proof. Safe for concurrent use, but for Use.
type Verifier struct {
	cfg  VerifierConfig
	last atomic.Pointer[Verification]
	// head is what this process had written when the files were verified before: they have
	// it by now, however slow the disk is. Run's alone.
	head Written
	keys func(context.Context) (checkpoint.Keys, error) // nil: none
}

// VerifierConfig is what a Verifier needs. It must not be changed after NewVerifier.
type VerifierConfig struct {
	// File is the log; its old files are beside it.
	File string
	// Recent knows what this process has written.
	Recent *Recent
	// Log is told when the files cannot be read, or are not whole.
	Log *slog.Logger
}

const (
	// verifyEvery is how often the files are verified, if they have changed.
	verifyEvery = 5 * time.Minute
	// verifyRest is how many times as long as it works a verification rests, which
	// verifyRestMost bounds: it takes a tenth of a processor.
	verifyRest     = 9
	verifyRestMost = 2 * time.Second
)

// NewVerifier returns one that verifies while Run runs.
func NewVerifier(cfg VerifierConfig) *Verifier {
	v := &Verifier{cfg: cfg}
	v.last.Store(&Verification{On: true})
	return v
}

// Use has signatures verified by the public keys that are read when they are needed; nil
// leaves it at the chain. It is called before Run, once at most.
func (v *Verifier) Use(keys func(context.Context) (checkpoint.Keys, error)) {
	if v != nil {
		v.keys = keys
	}
}

// Run verifies until ctx ends.
func (v *Verifier) Run(ctx context.Context) {
	ticks := time.NewTicker(verifyEvery)
	defer ticks.Stop()
	var before []string
	for {
		if now, err := stamps(v.cfg.File); err != nil || !slices.Equal(before, now) {
			before = now
			v.verify(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

// stamps say how each file of a log is.
func stamps(name string) ([]string, error) {
	files, err := audit.Family(name)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return nil, fmt.Errorf("looking at the files of the log: %w", err)
		}
		all = append(all, fmt.Sprintf("%s %d %v", file, info.Size(), info.ModTime()))
	}
	return all, nil
}

// verify looks through all files once.
func (v *Verifier) verify(ctx context.Context) {
	head := v.head
	v.head = v.cfg.Recent.Written()
	report, err := v.report(ctx)
	if ctx.Err() != nil {
		return
	}
	next := &Verification{On: true, Since: time.Now(), Fault: err}
	if err == nil {
		next.read(report, head)
	}
	before := v.last.Swap(next)
	switch {
	case err != nil && before.Fault == nil:
		v.cfg.Log.Warn("access log cannot be verified in the background", "file", v.cfg.File, "error", err)
	case len(next.Findings) > len(before.Findings):
		v.cfg.Log.Error("access log is not whole", "event", "log_not_whole", "findings", len(next.Findings)+next.More, "first", next.Findings[0].What, "where", next.Findings[0].Where)
	}
}

func (v *Verifier) report(ctx context.Context) (*verify.Report, error) {
	files, err := audit.Family(v.cfg.File)
	if err != nil {
		return nil, err
	}
	cfg := verify.Config{Files: files, ChainOnly: true, Partial: true, Unpromised: true, Pace: pace(ctx)}
	if v.keys != nil {
		// Without the keys the page says that only the chain was verified.
		if cfg.Keys, err = v.keys(ctx); err == nil {
			cfg.ChainOnly = false
		}
	}
	return verify.Verify(ctx, cfg)
}

// pace has whoever calls it rest for longer than they have worked.
func pace(ctx context.Context) func() {
	began := time.Now()
	return func() {
		wait(ctx, min(verifyRest*time.Since(began), verifyRestMost))
		began = time.Now()
	}
}

// maxFindings is how many findings are kept to be shown.
const maxFindings = 100

// read takes over what a report says. head is what this process had written long before:
// if the files have less of it, their end was cut off.
func (n *Verification) read(r *verify.Report, head Written) {
	n.Signatures = r.SignaturesChecked
	n.Records, n.Files = int64(r.Records), len(r.Files) //nolint:gosec // counts records
	for _, f := range r.Findings[:min(len(r.Findings), maxFindings)] {
		n.Findings = append(n.Findings, Finding{Kind: string(f.Kind), Where: f.Place, What: f.Detail})
	}
	n.More = int(r.FindingCount) - len(n.Findings) //nolint:gosec // counts findings
	there := uint64(0)
	for _, i := range r.Instances {
		at, _ := time.Parse(time.RFC3339Nano, i.LastTime) // the zero time is none
		n.Chains = append(n.Chains, Chain{Instance: i.ID, First: i.First, Last: i.Last, At: at, Ended: i.Ended, Signed: max(i.Covered, i.OwnCovered)})
		if r.SignaturesChecked {
			n.Chains[len(n.Chains)-1].Verified = i.Covered
		}
		if i.ID == head.Instance {
			there = i.Last
		}
	}
	slices.SortFunc(n.Chains, func(a, b Chain) int { return b.At.Compare(a.At) })
	n.Chains = n.Chains[:min(len(n.Chains), maxFindings)]
	if there < head.Last {
		n.Findings = append([]Finding{{Kind: string(verify.Truncated), What: fmt.Sprintf("this gateway has written record %d of instance %s, and its files end with record %d", head.Last, head.Instance, there)}}, n.Findings...)
	}
}

// Status is what was found last, with what this process has written since.
func (v *Verifier) Status() Verification {
	now, written := *v.last.Load(), v.cfg.Recent.Written()
	if written.Instance == "" {
		return now
	}
	now.Chains = slices.Clone(now.Chains)
	at := slices.IndexFunc(now.Chains, func(c Chain) bool { return c.Instance == written.Instance })
	if at < 0 {
		now.Chains, at = append([]Chain{{Instance: written.Instance, First: 1}}, now.Chains...), 0
	}
	c := &now.Chains[at]
	c.Current, c.Last, c.At = true, max(c.Last, written.Last), written.At
	if written.Signed > 0 {
		c.Signed, c.SignedAt, c.Signer = written.Signed, written.SignedAt, written.Signer
	}
	return now
}

// Written is what this process has written to the log last.
type Written struct {
	Instance string // empty before the first record
	Last     uint64
	At       time.Time
	// Signed is the last record that a checkpoint covers, SignedAt when it was made and
	// Signer by which key; zero and empty before the first.
	Signed   uint64
	SignedAt time.Time
	Signer   string
}

// Written says what was added last of the records of the process itself.
func (m *Recent) Written() Written {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.written
}

// note remembers what a record of a chain says about it. The caller holds mu.
func (m *Recent) note(r *Record) {
	instance := r.Value(audit.Instance)
	if instance == "" {
		return
	}
	if instance != m.written.Instance {
		m.written = Written{Instance: instance}
	}
	m.written.Last, m.written.At = r.Sequence, r.Time
	if r.Value(audit.Action) != checkpoint.Action {
		return
	}
	c, err := checkpoint.Parse([]byte(strings.TrimSpace(r.Member(checkpoint.Member))))
	if err == nil && c.Instance.String() == instance {
		m.written.Signed, m.written.SignedAt, m.written.Signer = c.Sequence, c.Time, c.Key
	}
}
