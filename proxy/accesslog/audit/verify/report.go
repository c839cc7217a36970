package verify

import (
	"fmt"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// Kind is what is wrong.
type Kind string

// The kinds of findings.
const (
	// Edited is a record that the one after it does not name: the one or the other is
	// not what was written.
	Edited Kind = "edited"
	// Removed are records that are missing between others, or before the first one.
	Removed Kind = "removed"
	// Inserted is a line, or a record, that does not belong there.
	Inserted Kind = "inserted"
	// Reordered is a record that stands behind one that was written later.
	Reordered Kind = "reordered"
	// Repeated are records that are there twice.
	Repeated Kind = "repeated"
	// Truncated are records that are missing behind the last one.
	Truncated Kind = "truncated"
	// Rewritten are records that agree with each other, and not with a signature or with
	// what another instance says of them: the chain was made anew.
	Rewritten Kind = "rewritten"
	// Forged is a checkpoint with a wrong signature, or in a form in which none is made.
	Forged Kind = "forged_checkpoint"
	// MissingCheckpoint is a stretch without the checkpoints that were promised.
	MissingCheckpoint Kind = "missing_checkpoint"
	// Backwards is a record that says it was written long before the checkpoint that it
	// stands behind.
	Backwards Kind = "time_backwards"
	// Replaced is a published checkpoint that somebody put in the place of a later one.
	Replaced Kind = "replaced_checkpoint"
	// UnknownSigner is a checkpoint by a key that was not given.
	UnknownSigner Kind = "unknown_signer"
	// MissingInstance is an instance that others name, and that has no record.
	MissingInstance Kind = "missing_instance"
	// Unreadable is a part of a file that cannot be read.
	Unreadable Kind = "unreadable"
	// Overflow is more disorder than is kept track of.
	Overflow Kind = "too_much"
)

// Finding is one thing that is wrong, or (see Report.Notes) remarkable.
type Finding struct {
	Kind Kind `json:"kind"`
	// Place is file:line; empty for what is not there. Offset is the line's first byte.
	Place  string `json:"place,omitempty"`
	Offset int64  `json:"offset,omitempty"`
	// Instance and the sequence numbers that it is about, from and to included; empty
	// and 0 where there are none.
	Instance string `json:"instance,omitempty"`
	Sequence uint64 `json:"sequence,omitempty"`
	Through  uint64 `json:"through,omitempty"`
	// Detail is for people.
	Detail string `json:"detail"`
}

// String is the finding on one line.
func (f Finding) String() string {
	text := string(f.Kind) + ": "
	if f.Place != "" {
		text = f.Place + ": " + text
	}
	switch {
	case f.Instance != "" && f.Through > f.Sequence:
		text += fmt.Sprintf("instance %s records %d to %d: ", f.Instance, f.Sequence, f.Through)
	case f.Instance != "" && f.Sequence > 0:
		text += fmt.Sprintf("instance %s record %d: ", f.Instance, f.Sequence)
	case f.Instance != "":
		text += fmt.Sprintf("instance %s: ", f.Instance)
	}
	return text + f.Detail
}

// The kinds of notes: what is no fault of the log's, and yet worth knowing.
const (
	// Gap are records that the instance itself says it has dropped.
	Gap Kind = "gap"
	// TornLine is a line that broke off: its writer was killed, or the disk was full.
	TornLine Kind = "torn"
	// NotEnded is an instance without its last record: it was killed, or still runs.
	NotEnded Kind = "not_ended"
	// NotGiven is what lies outside of an excerpt; see Config.Partial.
	NotGiven Kind = "not_given"
)

// Instance is what is known of one instance.
type Instance struct {
	ID string `json:"instance"`
	// First and Last are the lowest and the highest sequence number, with their times.
	First     uint64 `json:"first"`
	Last      uint64 `json:"last"`
	FirstTime string `json:"first_time"`
	LastTime  string `json:"last_time"`
	// Records are those that are there, Repeats those that are there again, Moved those
	// that stand behind later ones.
	Records uint64 `json:"records"`
	Repeats uint64 `json:"repeats"`
	Moved   uint64 `json:"moved"`
	// Dropped are those that the instance says it has dropped.
	Dropped uint64 `json:"dropped"`
	// Ended says whether its last record is there.
	Ended bool `json:"ended"`
	// Checkpoints counts those by Vault, OwnCheckpoints those by the instance's key;
	// both only with a right signature over what is there.
	Checkpoints    uint64 `json:"checkpoints"`
	OwnCheckpoints uint64 `json:"own_checkpoints"`
	// Covered is the last record that a checkpoint by Vault covers, OwnCovered the
	// last one that a checkpoint by the instance's key covers.
	Covered    uint64 `json:"covered"`
	OwnCovered uint64 `json:"own_covered"`
	// Uncovered is how many records no signature of Vault's covers.
	Uncovered uint64 `json:"uncovered"`
	// Promise is how often it makes checkpoints, as it says in its first record.
	Promise string `json:"promise,omitempty"`
}

// Report is what verifying has found.
type Report struct {
	Files     []string   `json:"files"`
	Lines     uint64     `json:"lines"`
	Records   uint64     `json:"records"`
	Blank     uint64     `json:"blank"`
	Torn      uint64     `json:"torn"`
	Foreign   uint64     `json:"foreign"` // in a collector's copy: lines of others
	Instances []Instance `json:"instances"`
	// Findings are what is wrong, at most MaxFindings; FindingCount is how many there
	// are. The log is whole if there are none.
	Findings     []Finding `json:"findings"`
	FindingCount uint64    `json:"finding_count"`
	// Notes are what is no fault of the log's, at most MaxFindings.
	Notes     []Finding `json:"notes"`
	NoteCount uint64    `json:"note_count"`
	// SignaturesChecked is false if only the chain was verified.
	SignaturesChecked bool `json:"signatures_checked"`
}

// MaxFindings bounds what a Report names; the rest is counted.
const MaxFindings = 1000

// Whole reports whether nothing is wrong.
func (r *Report) Whole() bool { return r.FindingCount == 0 }

func (r *Report) find(f Finding) {
	if r.FindingCount++; len(r.Findings) < MaxFindings {
		r.Findings = append(r.Findings, f)
	}
}

func (r *Report) note(f Finding) {
	if r.NoteCount++; len(r.Notes) < MaxFindings {
		r.Notes = append(r.Notes, f)
	}
}

// at makes a finding about a line.
func at(kind Kind, place logfile.Place, detail string, args ...any) Finding {
	return Finding{Kind: kind, Place: place.String(), Offset: place.Offset, Detail: fmt.Sprintf(detail, args...)}
}

// about adds of which record it is.
func (f Finding) about(instance logfile.Instance, from, through uint64) Finding {
	f.Instance, f.Sequence, f.Through = instance.String(), from, through
	return f
}
