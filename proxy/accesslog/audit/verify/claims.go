package verify

import (
	"fmt"

	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// claimKind is who says it.
type claimKind uint8

const (
	claimVault       claimKind = iota // a checkpoint of the instance's, signed by Vault
	claimOwn                          // one that it signed itself
	claimOther                        // a checkpoint of another instance names it
	claimPredecessor                  // the first record of its successor names it
	claimPublished                    // it is published in Vault
	claimRepeat                       // a record that is there again
)

// claim is that a record has a hash.
type claim struct {
	kind     claimKind
	instance logfile.Instance
	sequence uint64
	hash     logfile.Hash
	place    logfile.Place // where it is said; none for what is published
	first    uint64        // of claimRepeat: the first that is there again
	key      string        // of checkpoints: who signed
}

// says begins what is told of a claim that does not hold.
func (c *claim) says() string {
	switch c.kind {
	case claimVault, claimOwn:
		return fmt.Sprintf("the checkpoint at %v, signed by %s,", c.place, c.key)
	case claimOther:
		return fmt.Sprintf("the checkpoint of another instance at %v", c.place)
	case claimPredecessor:
		return fmt.Sprintf("the first record of its successor at %v", c.place)
	case claimPublished:
		return fmt.Sprintf("its checkpoint in Vault, signed by %s,", c.key)
	case claimRepeat:
	}
	return fmt.Sprintf("the line %v", c.place)
}

// maxClaims bounds the claims that wait for a second look.
const maxClaims = 1 << 18

// claims are what is said about records, and waits to be compared with them.
type claims struct {
	waiting map[logfile.Instance]map[uint64][]claim
	count   int
	heads   map[checkpoint.Head]bool    // named by others, once each
	absent  map[logfile.Instance]*claim // that a claim is about, the farthest one
	full    bool
}

func newClaims() claims {
	return claims{waiting: map[logfile.Instance]map[uint64][]claim{}, heads: map[checkpoint.Head]bool{}, absent: map[logfile.Instance]*claim{}}
}

// claim compares a claim with the record that it is about, now if that is at hand.
func (v *verifier) claim(c claim) {
	if c.kind == claimOther {
		head := checkpoint.Head{Instance: c.instance, Sequence: c.sequence, Hash: c.hash}
		if v.claims.heads[head] {
			return
		}
		if len(v.claims.heads) < maxClaims {
			v.claims.heads[head] = true
		}
	}
	if i := v.instances[c.instance]; i != nil {
		if hash, ok := i.ring.get(c.sequence); ok {
			v.settle(i, &c, hash)
			return
		}
		if hash, ok := i.life.good[c.sequence]; ok {
			v.settle(i, &c, hash)
			return
		}
	}
	if v.claims.count == maxClaims {
		v.claims.count++
		v.report.find(Finding{Kind: Overflow, Detail: fmt.Sprintf("more than %d checkpoints and repeats that stand far from their records; the others are not verified", maxClaims)})
	}
	if v.claims.count > maxClaims {
		return
	}
	v.claims.count++
	of := v.claims.waiting[c.instance]
	if of == nil {
		of = map[uint64][]claim{}
		v.claims.waiting[c.instance] = of
	}
	of[c.sequence] = append(of[c.sequence], c)
}

// settle compares a claim with the hash of the record that it is about.
func (v *verifier) settle(i *instance, c *claim, hash logfile.Hash) {
	if c.kind == claimRepeat {
		v.settleRepeat(i, c, hash == c.hash)
		return
	}
	if hash != c.hash {
		place := c.place
		f := at(Rewritten, place, "%s names another hash of record %d: what was signed or seen is not what is here, somewhere behind record %d",
			c.says(), c.sequence, i.sum.Covered).about(i.id, c.sequence, 0)
		if c.kind == claimPublished {
			f.Place, f.Offset = "", 0
		}
		v.report.find(f)
		return
	}
	switch c.kind {
	case claimVault:
		i.sum.Checkpoints++
		i.sum.Covered = max(i.sum.Covered, c.sequence)
	case claimPublished:
		i.sum.Covered = max(i.sum.Covered, c.sequence)
	case claimOwn:
		i.sum.OwnCheckpoints++
		i.sum.OwnCovered = max(i.sum.OwnCovered, c.sequence)
	case claimOther, claimPredecessor, claimRepeat:
	}
	i.life.know(c)
}

func (v *verifier) settleRepeat(i *instance, c *claim, same bool) {
	switch {
	case !same:
		v.report.find(at(Inserted, c.place, "there is another record of the same number, and only one was written").about(i.id, c.first, c.sequence))
	case !v.cfg.Copy:
		v.report.find(at(Repeated, c.place, "%d that are there already", c.sequence-c.first+1).about(i.id, c.first, c.sequence))
	}
}

// published takes what is published in Vault into account.
func (v *verifier) published() {
	for _, err := range v.cfg.PublishedFaults {
		v.report.find(Finding{Kind: kindOf(err), Detail: "published in Vault: " + err.Error()})
	}
	for _, c := range v.cfg.Published {
		if err := v.cfg.Keys.Verify(c); err != nil && !v.cfg.ChainOnly {
			v.report.find(Finding{Kind: kindOf(err), Detail: "published in Vault: " + err.Error()}.about(c.Instance, c.Sequence, 0))
			continue
		}
		v.claim(claim{kind: claimPublished, instance: c.Instance, sequence: c.Sequence, hash: c.Hash, key: c.Key})
	}
}

// judgeClaims judges the claims that wait, as far as that needs no second look, and
// reports whether some do.
func (v *verifier) judgeClaims() bool {
	for id, of := range v.claims.waiting {
		i := v.instances[id]
		for sequence, list := range of {
			if i != nil && i.holds(sequence) && !v.settled(i, sequence, &list) {
				of[sequence] = list
				continue
			}
			if i == nil {
				v.absent(&list[0])
			} else if n := len(i.runs); n > 0 && sequence > i.runs[n-1].last {
				i.life.beyond(&list[0])
			}
			delete(of, sequence) // between others, or before them: what is missing is told anyway
		}
		if len(of) == 0 {
			delete(v.claims.waiting, id)
		}
	}
	return len(v.claims.waiting) > 0
}

// settled settles those claims of a record that agree with what is known of it, and
// reports whether none is left.
func (v *verifier) settled(i *instance, sequence uint64, list *[]claim) bool {
	hash, known := i.life.good[sequence]
	if !known {
		return false
	}
	for n := range *list {
		v.settle(i, &(*list)[n], hash)
	}
	return true
}

// holds reports whether a record is there.
func (i *instance) holds(sequence uint64) bool {
	for _, r := range i.runs {
		if sequence >= r.first && sequence <= r.last {
			return true
		}
	}
	return false
}

// line returns what judges a line at the second look.
func (c *claims) line(v *verifier) func(logfile.Line) bool {
	return func(line logfile.Line) bool {
		record, kind := logfile.Parse(line.Text)
		if kind != logfile.Sealed && kind != logfile.Prefixed {
			return true
		}
		of := c.waiting[record.Instance]
		if of == nil {
			return true
		}
		list, ok := of[record.Sequence]
		if !ok {
			return true
		}
		hash := record.Hash()
		for n := range list {
			v.settle(v.instances[record.Instance], &list[n], hash)
		}
		delete(of, record.Sequence)
		if len(of) == 0 {
			delete(c.waiting, record.Instance)
		}
		return len(c.waiting) > 0
	}
}
