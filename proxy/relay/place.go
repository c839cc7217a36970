package relay

import (
	"net/http"
	"sync/atomic"
	"time"
)

// place is what an exchange takes up while it is under way.
type place struct {
	inHand   *atomic.Int64 // where it counts; nil once it does not
	leave    func()        // gives back one of few; nil for none
	letIn    bool
	patience time.Duration // with whoever was not let in, after the end; zero for any
}

// CountIn counts ex in n until it ends; or, unless it was let in, until it is answered:
// whoever is refused, and does not take what is said, is in nobody's way. He has patience
// to take the rest of it after the end: in HTTP/2, net/http waits for that, for as long as
// a client likes that grants no room for it, and no [Watch] sees it any more.
func (ex *Exchange) CountIn(n *atomic.Int64, patience time.Duration) {
	n.Add(1)
	ex.place.inHand, ex.place.patience = n, patience
}

// LetIn says that what is answered comes from behind the door. Call it before that.
func (ex *Exchange) LetIn() { ex.place.letIn = true }

// Leave has leave called once: when the answer begins, when ex ends without one, or when
// ex takes another place, with its own leave. It is for a place among few, which nobody
// shall keep by not taking what is said.
func (ex *Exchange) Leave(leave func()) {
	ex.place.giveBack()
	ex.place.leave = leave
}

// answered is for the moment before the answer's first byte.
func (p *place) answered() {
	p.giveBack()
	if !p.letIn {
		p.countOut()
	}
}

// endPlace gives back whatever is left.
func (ex *Exchange) endPlace() {
	p := &ex.place
	p.giveBack()
	p.countOut()
	if p.patience > 0 && !p.letIn && ex.Record.Protocol == "2" {
		_ = http.NewResponseController(ex.ResponseWriter).SetWriteDeadline(time.Now().Add(p.patience)) // a connection that cannot goes without
	}
}

func (p *place) giveBack() {
	if p.leave != nil {
		p.leave()
		p.leave = nil
	}
}

func (p *place) countOut() {
	if p.inHand != nil {
		p.inHand.Add(-1)
		p.inHand = nil
	}
}
