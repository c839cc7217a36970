package accesslog

import (
	"sync"
	"time"
)

// headway is the head of what is written.
type headway struct {
	mu   sync.Mutex
	head Head // without a sequence number before the first record; guarded by mu, as is hash
	hash [hashLength]byte
}

// reach notes that a batch is written.
func (w *headway) reach(c *chain) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.head.Instance, w.head.Sequence, w.hash = c.instance, c.sequence, c.previous
}

// Head returns the last record that is written, and false if there is none yet. It
// still does after Close.
func (l *Log) Head() (Head, bool) {
	l.written.mu.Lock()
	defer l.written.mu.Unlock()
	head := l.written.head
	head.Hash = string(l.written.hash[:])
	return head, head.Sequence > 0
}

// ActionCheckpoint is of a record with a signature over the records before it; package
// checkpoint makes them.
const ActionCheckpoint Action = "checkpoint"

// WriteCheckpoint puts a checkpoint, which is one JSON object, among the lines to be
// written. It is written like the record of somebody who was let in; see [Log.Write].
func (l *Log) WriteCheckpoint(object []byte) error {
	e := encoder{buf: make([]byte, 0, 512+len(object))}
	e.begin(time.Now(), ActionCheckpoint, l.cfg.Service)
	e.key("sallyport.log.checkpoint")
	e.buf = append(e.buf, object...)
	return l.put(append(e.buf, "}\n"...), true)
}
