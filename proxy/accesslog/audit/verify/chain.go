package verify

import (
	"cmp"
	"slices"
	"sort"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// Bounds of what is kept in memory.
const (
	// ringSize is how many of the last hashes of an instance are at hand, and maxRings
	// of how many instances.
	ringSize = 8192
	maxRings = 64
	// maxInstances and maxRuns bound how much disorder is kept track of.
	maxInstances = 100_000
	maxRuns      = 20_000
)

// run is a stretch of consecutive records of an instance, in whatever files.
type run struct {
	first, last         uint64
	firstPrevious       logfile.Hash
	lastHash            logfile.Hash
	firstPlace          logfile.Place
	lastPlace           logfile.Place
	firstTime, lastTime string
	cadence             cadence
	early               early
}

// shadow is a stretch of records that are there again.
type shadow struct {
	first, last uint64
	hash        logfile.Hash // of the last one: by the chain, of all
	place       logfile.Place
}

// instance is the state of one instance.
type instance struct {
	id   logfile.Instance
	sum  Instance // what is counted as it comes
	runs []*run   // sorted, disjoint, and not adjacent
	ring ring     // used while ringed
	life life

	// Where reading is: in which file, in which run, at which sequence number; and what
	// the file had so far that was not there before.
	file   int
	run    *run
	at     uint64
	had    span
	spans  []span // of the files before
	shadow *shadow
	ringed bool // whether ring is used
}

// span is from where to where the records of an instance are that a file has; of no
// record if to is 0.
type span struct {
	from, to uint64
	place    logfile.Place // of from
}

func (s *span) add(sequence uint64, place logfile.Place) {
	if s.to == 0 || sequence < s.from {
		s.from, s.place = sequence, place
	}
	s.to = max(s.to, sequence)
}

// ring is the last hashes of an instance, as far as they are consecutive: at least
// ringSize of them.
type ring struct {
	hashes []logfile.Hash // of from and those behind it
	from   uint64
}

func (r *ring) add(sequence uint64, hash logfile.Hash) {
	if sequence != r.from+uint64(len(r.hashes)) {
		r.hashes, r.from = r.hashes[:0], sequence
	}
	if len(r.hashes) == 2*ringSize {
		copy(r.hashes, r.hashes[ringSize:])
		r.hashes, r.from = r.hashes[:ringSize], r.from+ringSize
	}
	r.hashes = append(r.hashes, hash)
}

func (r *ring) get(sequence uint64) (logfile.Hash, bool) {
	if sequence < r.from || sequence-r.from >= uint64(len(r.hashes)) {
		return logfile.Hash{}, false
	}
	return r.hashes[sequence-r.from], true
}

// entry is a record in its place.
type entry struct {
	logfile.Record
	hash  logfile.Hash
	place logfile.Place
}

// record takes a record into account.
func (v *verifier) record(record logfile.Record, place logfile.Place) {
	r := &entry{record, record.Hash(), place}
	i := v.instanceOf(r.Instance, place)
	if i == nil {
		return
	}
	v.report.Records++
	if i.file != v.file {
		v.beginFile(i)
	}
	if i.run != nil && i.shadow == nil && i.at == i.run.last && r.Sequence == i.at+1 && i.run == i.runs[len(i.runs)-1] {
		v.extend(i, i.run, r) // nearly all are this
	} else {
		v.jump(i, r)
	}
	i.at = r.Sequence
}

// instanceOf returns the state of an instance, or nil if there are too many.
func (v *verifier) instanceOf(id logfile.Instance, place logfile.Place) *instance {
	if n := len(v.order); n > 0 && v.order[n-1].id == id {
		return v.order[n-1] // most often
	}
	if i := v.instances[id]; i != nil {
		return i
	}
	if len(v.order) == maxInstances {
		if !v.claims.full {
			v.claims.full = true
			v.report.find(at(Overflow, place, "more than %d instances; what others have written is not verified", maxInstances))
		}
		return nil
	}
	i := &instance{id: id}
	v.instances[id] = i
	v.order = append(v.order, i)
	return i
}

// beginFile forgets where reading was in another file.
func (v *verifier) beginFile(i *instance) {
	v.leaveFile(i)
	i.file, i.run, i.at = v.file, nil, 0
	if i.ringed {
		return
	}
	if len(v.rings) == maxRings {
		v.rings[0].ring, v.rings[0].ringed = ring{}, false
		v.rings = slices.Delete(v.rings, 0, 1)
	}
	v.rings, i.ringed = append(v.rings, i), true
}

// leaveFile ends what is open of an instance in a file.
func (v *verifier) leaveFile(i *instance) {
	v.endShadow(i)
	if i.had.to > 0 {
		i.spans, i.had = append(i.spans, i.had), span{}
	}
}

// endFiles ends what is open after the last file.
func (v *verifier) endFiles() {
	for _, i := range v.order {
		v.leaveFile(i)
	}
}

// jump is a record that does not follow the one before it in its file.
func (v *verifier) jump(i *instance, r *entry) {
	n := sort.Search(len(i.runs), func(n int) bool { return i.runs[n].first > r.Sequence })
	if n > 0 && r.Sequence <= i.runs[n-1].last {
		i.run = i.runs[n-1]
		v.again(i, r)
		return
	}
	v.endShadow(i)
	if r.Sequence < i.had.to {
		v.moved(i, r.Sequence, r.place, i.had.to)
	}
	if n > 0 && i.runs[n-1].last+1 == r.Sequence {
		v.extend(i, i.runs[n-1], r)
	} else if !v.begin(i, n, r) {
		return
	}
	v.join(i)
}

// moved is a record that stands behind one that was written later.
func (v *verifier) moved(i *instance, sequence uint64, place logfile.Place, behind uint64) {
	i.sum.Moved++
	if !v.cfg.Copy {
		v.report.find(at(Reordered, place, "it stands behind record %d, which was written later", behind).about(i.id, sequence, 0))
	}
}

// crossed looks for records that stand in a file before or behind their own: an
// instance writes to one file, and then to the next.
func (v *verifier) crossed(i *instance) {
	slices.SortFunc(i.spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for n := 1; n < len(i.spans); n++ {
		if before, s := i.spans[n-1], &i.spans[n]; s.from < before.to {
			v.moved(i, s.from, s.place, before.to)
			s.to = max(s.to, before.to)
		}
	}
}

// extend adds a record to the end of a run.
func (v *verifier) extend(i *instance, to *run, r *entry) {
	if r.Previous != to.lastHash {
		v.edited(i, to, r.Sequence, r.place)
	}
	to.last, to.lastHash, to.lastPlace = r.Sequence, r.hash, r.place
	i.run = to
	v.seen(i, to, r)
}

// edited says that the last record of a run is not the one that its successor names.
func (v *verifier) edited(i *instance, before *run, successor uint64, place logfile.Place) {
	v.report.find(at(Edited, before.lastPlace, "its successor %d at %v names another hash: the one or the other was edited", successor, place).
		about(i.id, before.last, 0))
}

// begin begins a run as the nth of an instance, and reports whether there may be one
// more.
func (v *verifier) begin(i *instance, n int, r *entry) bool {
	if v.runs == maxRuns {
		v.runs++
		v.report.find(at(Overflow, r.place, "records are missing in more than %d places; what comes behind is not verified", maxRuns))
	}
	if v.runs > maxRuns {
		return false
	}
	v.runs++
	i.run = &run{
		first: r.Sequence, last: r.Sequence, firstPrevious: r.Previous, lastHash: r.hash,
		firstPlace: r.place, lastPlace: r.place, firstTime: string(r.RawTime()),
	}
	i.runs = slices.Insert(i.runs, n, i.run)
	v.seen(i, i.run, r)
	return true
}

// join joins the current run with the one behind it, if nothing is missing between
// them.
func (v *verifier) join(i *instance) {
	n := slices.Index(i.runs, i.run)
	if n+1 == len(i.runs) || i.runs[n+1].first != i.run.last+1 {
		return
	}
	next := i.runs[n+1]
	if next.firstPrevious != i.run.lastHash {
		v.edited(i, i.run, next.first, next.firstPlace)
	}
	v.meet(i, i.run, next)
	i.run.last, i.run.lastHash, i.run.lastPlace, i.run.lastTime = next.last, next.lastHash, next.lastPlace, next.lastTime
	i.runs = slices.Delete(i.runs, n+1, n+2)
	v.runs--
}

// again is a record whose sequence number was there already.
func (v *verifier) again(i *instance, r *entry) {
	i.sum.Repeats++
	if s := i.shadow; s != nil && r.Sequence == s.last+1 && r.Previous == s.hash {
		s.last, s.hash = r.Sequence, r.hash
		return
	}
	v.endShadow(i)
	i.shadow = &shadow{first: r.Sequence, last: r.Sequence, hash: r.hash, place: r.place}
}

// endShadow has records that are there again compared with what they repeat: the last
// one, which stands for all.
func (v *verifier) endShadow(i *instance) {
	if s := i.shadow; s != nil {
		i.shadow = nil
		v.claim(claim{kind: claimRepeat, instance: i.id, sequence: s.last, hash: s.hash, place: s.place, first: s.first})
	}
}

// seen is what every record goes through that is not there again. Time and the
// records that say something of the log are looked at.
func (v *verifier) seen(i *instance, in *run, r *entry) {
	i.sum.Records++
	i.had.add(r.Sequence, r.place)
	if i.ringed {
		i.ring.add(r.Sequence, r.hash)
	}
	in.setLast(r.RawTime())
	v.special(i, in, r)
}

// setLast keeps the time of the last record, without making a string of each.
func (r *run) setLast(time []byte) {
	if r.lastTime != string(time) {
		r.lastTime = string(time)
	}
}
