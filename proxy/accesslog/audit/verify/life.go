package verify

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// life is what an instance says of itself.
type life struct {
	key     checkpoint.Keys // its own, under checkpoint.InstanceKey; nil if not known
	promise checkpoint.Promise
	end     uint64                  // the number of its last record; 0 if that is not there
	good    map[uint64]logfile.Hash // of records that a right checkpoint is about
	cut     *claim                  // the farthest beyond its end
	unknown map[string]uint64       // checkpoints by keys that were not given
	keyless bool                    // there are some by its own key, and the record with that is not here
}

// maxGood bounds the hashes that an instance's checkpoints confirm and that are kept.
const maxGood = 1 << 16

// know remembers a record that a checkpoint of its instance has confirmed: others
// will name it.
func (l *life) know(c *claim) {
	if c.kind != claimVault && c.kind != claimOwn || len(l.good) >= maxGood {
		return
	}
	if l.good == nil {
		l.good = map[uint64]logfile.Hash{}
	}
	l.good[c.sequence] = c.hash
}

// beyond remembers the claim farthest behind the last record.
func (l *life) beyond(c *claim) {
	if l.cut == nil || c.sequence > l.cut.sequence {
		l.cut = c
	}
}

// The actions that say something of the log, as they stand in a record.
const (
	actionStart      = `"log_start"`
	actionEnd        = `"log_end"`
	actionGap        = `"log_gap"`
	actionCheckpoint = `"` + checkpoint.Action + `"`
)

// special looks at the records that say something of the log, and at the time of all
// others.
func (v *verifier) special(i *instance, in *run, r *entry) {
	action := r.Member("event.action")
	if first := r.Sequence == 1; first != (string(action) == actionStart) {
		v.report.find(at(Inserted, r.place, "%s is the first record of an instance, and nothing else is", actionStart).about(i.id, r.Sequence, 0))
	} else if first && r.Previous != (logfile.Hash{}) {
		v.report.find(at(Edited, r.place, "the first record names one before it").about(i.id, 1, 0))
	}
	switch string(action) {
	case actionStart:
		v.start(i, in, r)
	case actionEnd:
		i.life.end = r.Sequence
	case actionGap:
		v.gap(i, r)
	case actionCheckpoint:
		v.checkpoint(i, in, r)
		return
	}
	v.onTime(i, in, r)
}

func promised(p checkpoint.Promise) string {
	return fmt.Sprintf("every %v and every %d records, by %s", p.Every, p.Records, p.Signer)
}

// start reads the first record of an instance.
func (v *verifier) start(i *instance, in *run, r *entry) {
	if value := r.Member(checkpoint.KeyMember); value != nil {
		key, err := base64.StdEncoding.DecodeString(logfile.Text(value))
		if err != nil || len(key) != ed25519.PublicKeySize {
			v.report.find(at(Forged, r.place, "%s is no public key", checkpoint.KeyMember).about(i.id, r.Sequence, 0))
		} else {
			i.life.key = checkpoint.Keys{checkpoint.InstanceKey: ed25519.PublicKey(key)}
		}
	}
	if value := r.Member(checkpoint.PromiseMember); value != nil {
		promise, err := checkpoint.ParsePromise(value)
		if err != nil {
			v.report.find(at(Forged, r.place, "%v", err).about(i.id, r.Sequence, 0))
		}
		i.life.promise, i.sum.Promise = promise, promised(promise)
		in.cadence = cadence{known: err == nil}
		in.cadence.notBefore(r.Time())
		in.early.over = true
	}
	if value := r.Member("sallyport.log.predecessor"); value != nil {
		head, err := checkpoint.ParseHead(value)
		if err != nil {
			v.report.find(at(Inserted, r.place, "its predecessor: %v", err).about(i.id, r.Sequence, 0))
			return
		}
		v.claim(claim{kind: claimPredecessor, instance: head.Instance, sequence: head.Sequence, hash: head.Hash, place: r.place})
	}
}

// gap notes what an instance says it has dropped.
func (v *verifier) gap(i *instance, r *entry) {
	n := uint64(max(logfile.Number(r.Member("sallyport.log.dropped")), 0))
	i.sum.Dropped += n
	v.report.note(at(Gap, r.place, "%d records were dropped from %.40q to %.40q, and the instance says so",
		n, logfile.Text(r.Member("event.start")), logfile.Text(r.Member("event.end"))).about(i.id, r.Sequence, 0))
}

// checkpoint judges a checkpoint, and has what it says compared with the records.
func (v *verifier) checkpoint(i *instance, in *run, r *entry) {
	c, err := checkpoint.Parse(r.Member(checkpoint.Member))
	switch {
	case err != nil:
	case c.Instance != i.id || c.Sequence >= r.Sequence:
		err = fmt.Errorf("%w: it is about record %d of instance %s, expected one of its own before it", checkpoint.ErrForged, c.Sequence, c.Instance)
	default:
		err = v.signature(i, c)
	}
	if errors.Is(err, checkpoint.ErrUnknownKey) {
		v.unknown(i, c, r.place)
		return
	}
	if err != nil {
		v.report.find(at(Forged, r.place, "%v", err).about(i.id, r.Sequence, 0))
		return
	}
	in.checkpoint(c, r.Sequence, i.life.promise)
	kind := claimVault
	if c.Key == checkpoint.InstanceKey {
		if kind = claimOwn; i.life.key == nil {
			v.keyless(i, c, r.place)
			return
		}
	}
	v.claim(claim{kind: kind, instance: c.Instance, sequence: c.Sequence, hash: c.Hash, place: r.place, key: c.Key})
	for _, other := range c.Others {
		v.claim(claim{kind: claimOther, instance: other.Instance, sequence: other.Sequence, hash: other.Hash, place: r.place})
	}
}

// signature verifies who has signed a checkpoint of an instance.
func (v *verifier) signature(i *instance, c *checkpoint.Checkpoint) error {
	if c.Key == checkpoint.InstanceKey {
		if i.life.key == nil && i.runs[0].first > 1 {
			return nil // the key stands in a record that is missing; see keyless
		}
		return i.life.key.Verify(c)
	}
	if signer := i.life.promise.Signer; signer != "" && !strings.HasPrefix(c.Key, signer+"/v") {
		return fmt.Errorf("%w: %s, and its first record promised %s", checkpoint.ErrForged, c.Key, signer)
	}
	if v.cfg.ChainOnly {
		return nil
	}
	return v.cfg.Keys.Verify(c)
}

// keyless is a checkpoint by an instance's own key, which stands in a record that is not
// here: it shows nothing. It is told once.
func (v *verifier) keyless(i *instance, c *checkpoint.Checkpoint, place logfile.Place) {
	if !i.life.keyless {
		i.life.keyless = true
		v.report.note(at(NotGiven, place, "checkpoints by its own key show nothing here: the record with that key, its first, is not given").about(i.id, c.Sequence, 0))
	}
}

// unknown is a checkpoint by a key that was not given: one finding for each key of an
// instance.
func (v *verifier) unknown(i *instance, c *checkpoint.Checkpoint, place logfile.Place) {
	if i.life.unknown == nil {
		i.life.unknown = map[string]uint64{}
	}
	if i.life.unknown[c.Key]++; i.life.unknown[c.Key] == 1 && len(i.life.unknown) <= MaxFindings {
		v.report.find(at(UnknownSigner, place, "a checkpoint by %s, whose public key was not given", c.Key).about(i.id, c.Sequence, 0))
	}
}

// kindOf is the kind of finding for a checkpoint that does not count.
func kindOf(err error) Kind {
	switch {
	case errors.Is(err, checkpoint.ErrUnknownKey):
		return UnknownSigner
	case errors.Is(err, checkpoint.ErrReplaced):
		return Replaced
	}
	return Forged
}

// absent remembers that an instance is named, and has no record.
func (v *verifier) absent(c *claim) {
	if v.claims.absent[c.instance] == nil || c.sequence > v.claims.absent[c.instance].sequence {
		v.claims.absent[c.instance] = c
	}
}

// finish judges what only the end shows, and fills in what is known of instances.
func (v *verifier) finish() {
	for _, i := range v.order {
		if len(i.runs) == 0 {
			continue // there was too much disorder
		}
		v.crossed(i)
		v.missing(i)
		v.ending(i)
		i.fill()
		v.report.Instances = append(v.report.Instances, i.sum)
	}
	var absent []*claim
	for _, c := range v.claims.absent {
		absent = append(absent, c)
	}
	slices.SortFunc(absent, func(a, b *claim) int { return strings.Compare(a.instance.String(), b.instance.String()) })
	for _, c := range absent {
		f := at(MissingInstance, c.place, "%s names it, and none of its records is here", c.says())
		if c.kind == claimPublished {
			f.Place, f.Offset = "", 0
		}
		v.outside(f.about(c.instance, 1, c.sequence))
	}
}

// outside is something that is missing and that an excerpt need not have.
func (v *verifier) outside(f Finding) {
	if v.cfg.Partial {
		f.Kind, f.Detail = NotGiven, string(f.Kind)+": "+f.Detail
		v.report.note(f)
		return
	}
	v.report.find(f)
}

// missing tells what is missing before and between the records of an instance.
func (v *verifier) missing(i *instance) {
	if first := i.runs[0]; first.first > 1 {
		v.outside(at(Removed, first.firstPlace, "record %d is the first that is here", first.first).about(i.id, 1, first.first-1))
	}
	for n := 1; n < len(i.runs); n++ {
		before, behind := i.runs[n-1], i.runs[n]
		v.report.find(at(Removed, behind.firstPlace, "they are missing between record %d at %v and record %d", before.last, before.lastPlace, behind.first).
			about(i.id, before.last+1, behind.first-1))
	}
}

// ending tells what is missing behind the last record of an instance.
func (v *verifier) ending(i *instance) {
	last := i.runs[len(i.runs)-1]
	if cut := i.life.cut; cut != nil {
		v.outside(at(Truncated, last.lastPlace, "record %d of %s is the last that is here, and %s names record %d",
			last.last, last.lastTime, cut.says(), cut.sequence).about(i.id, last.last+1, cut.sequence))
	}
	switch {
	case i.life.end == 0:
		v.report.note(at(NotEnded, last.lastPlace, "record %d of %s is the last one, and does not end the instance: it was killed, still runs, or its last records are cut off",
			last.last, last.lastTime).about(i.id, last.last, 0))
	case i.life.end < last.last:
		v.report.find(at(Inserted, last.lastPlace, "record %d has ended the instance", i.life.end).about(i.id, i.life.end+1, last.last))
	}
	v.unsigned(i, last)
}

// lasted is the time from the first record of an instance to its last.
func lasted(first, last *run) time.Duration {
	from, err := time.Parse(logfile.TimeFormat, first.firstTime)
	if err != nil {
		return 0
	}
	to, err := time.Parse(logfile.TimeFormat, last.lastTime)
	if err != nil {
		return 0
	}
	return to.Sub(from)
}

// unsigned tells of an instance that should have checkpoints by Vault, and has none at
// all. One is made at its start, by its own key if Vault does not answer; it may have been
// killed before.
func (v *verifier) unsigned(i *instance, last *run) {
	whole := i.runs[0].first == 1
	switch {
	case !whole || i.sum.Covered > 0 || len(i.life.unknown) > 0:
	case i.sum.OwnCheckpoints > 0:
		v.report.find(at(MissingCheckpoint, i.runs[0].firstPlace, "the instance has none by Vault, so that nobody vouches for its own key").about(i.id, 1, last.last))
	case i.life.promise == (checkpoint.Promise{}) && len(v.cfg.Keys) > 0 && !v.cfg.ChainOnly && !v.cfg.Unpromised:
		v.report.find(at(MissingCheckpoint, i.runs[0].firstPlace, "the instance has none, and promises none").about(i.id, 1, last.last))
	case i.life.promise != (checkpoint.Promise{}) && (i.life.end > 0 || lasted(i.runs[0], last) > grace):
		v.report.find(at(MissingCheckpoint, i.runs[0].firstPlace, "the instance has none, and has promised them %s", promised(i.life.promise)).
			about(i.id, 1, last.last))
	}
}

// fill completes what is told of an instance.
func (i *instance) fill() {
	first, last := i.runs[0], i.runs[len(i.runs)-1]
	i.sum.ID, i.sum.First, i.sum.Last = i.id.String(), first.first, last.last
	i.sum.FirstTime, i.sum.LastTime = first.firstTime, last.lastTime
	i.sum.Ended = i.life.end == last.last
	i.sum.Uncovered = last.last - min(last.last, max(i.sum.Covered, first.first-1))
}
