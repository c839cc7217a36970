package accesslog

import (
	"errors"
	"time"
)

// ActionCheckpoint is of a record with a signature over the records before it; package
// checkpoint makes them.
const ActionCheckpoint Action = "checkpoint"

// WriteCheckpoint puts a checkpoint, which is one JSON object, among the lines to be
// written, and returns the sequence number that it will have. It is written like the
// record of somebody who was let in; see [Log.Write]. That it is written late is no error:
// it has its place.
func (l *Log) WriteCheckpoint(object []byte) (sequence uint64, err error) {
	e := encoder{buf: make([]byte, 0, 512+len(object))}
	e.begin(time.Now(), ActionCheckpoint, l.cfg.Service)
	e.key("sallyport.log.checkpoint")
	e.buf = append(e.buf, object...)
	if sequence, err = l.put(append(e.buf, "}\n"...), l.own()); errors.Is(err, ErrLate) {
		err = nil
	}
	return sequence, err
}
