package http1

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

// upload sends the body of one request, in a goroutine of its own: the backend may
// answer before it has seen the end, and may wait for it if nobody reads.
type upload struct {
	c      *conn
	body   io.ReadCloser
	length int64 // or unknownLength
	// asked gets true when the backend wants the body, false when it has answered
	// without it; nil does not wait for that.
	asked chan bool

	done chan struct{} // closed at the end
	// What it ended with, to be read after done: err of reading the body, which is
	// whoever sends it to blame for, or of writing it.
	readErr, writeErr error

	// The deadline of the head begins when the body was sent, unless the head came
	// before.
	mu       sync.Mutex
	answered bool // guarded by mu
}

// copySize is how much of a body is sent at once.
const copySize = 32 << 10

// chunkRoom stands before and after the bytes of a chunk: its size and the ends of
// two lines.
const chunkRoom = 8

var copies = sync.Pool{New: func() any { return new([chunkRoom + copySize + 2]byte) }}

// upload prepares to send the body of req, of that length.
func (c *conn) upload(req *http.Request, length int64) *upload {
	u := &upload{c: c, body: req.Body, length: length, done: make(chan struct{})}
	if c.t.cfg.ContinueTimeout > 0 && expects(req) {
		u.asked = make(chan bool, 1)
	}
	return u
}

// run sends the body and closes it.
func (u *upload) run() {
	if u.wanted() {
		u.send()
	} else {
		u.writeErr = errUnwanted
	}
	_ = u.body.Close() // whoever made it has seen, or will see
	close(u.done)
	switch {
	case u.readErr != nil: // nothing else tells the backend that this was not the end
		u.c.close()
	case u.writeErr != nil: // and it may have said why
		u.limitHead(lastWords)
	default:
		u.limitHead(u.c.t.cfg.HeaderTimeout)
	}
}

var errUnwanted = errors.New("backend has answered without the body")

// wanted waits until the backend asks for the body, or for long enough.
func (u *upload) wanted() bool {
	if u.asked == nil {
		return true
	}
	timer := time.NewTimer(u.c.t.cfg.ContinueTimeout)
	defer timer.Stop()
	select {
	case wanted := <-u.asked:
		return wanted
	case <-timer.C:
		return true
	}
}

// answer tells the uploading goroutine that the backend wants the body, or has
// answered without it.
func (u *upload) answer(wanted bool) {
	if u == nil || u.asked == nil {
		return
	}
	select {
	case u.asked <- wanted:
	default: // it knows
	}
}

// send copies the body, each piece with one write, and sets what it ended with.
func (u *upload) send() {
	buf := copies.Get().(*[chunkRoom + copySize + 2]byte) //nolint:forcetypeassert // nothing else is put there
	defer copies.Put(buf)
	left := u.length
	for {
		n, err := u.body.Read(buf[chunkRoom : chunkRoom+copySize])
		if left >= 0 {
			if left -= int64(n); left < 0 {
				u.readErr = errTooLong
				return
			}
		}
		if n > 0 {
			if u.writeErr = u.write(buf, n); u.writeErr != nil {
				return
			}
		}
		if err != nil {
			u.finish(left, err)
			return
		}
	}
}

// finish ends a body of which left bytes are missing, after reading it ended with err.
func (u *upload) finish(left int64, err error) {
	switch {
	case !errors.Is(err, io.EOF):
		u.readErr = err
	case left > 0:
		u.readErr = errTooShort
	case left < 0:
		_, u.writeErr = io.WriteString(u.c.stream, "0\r\n\r\n")
	}
}

// write sends n bytes of buf, which has room for what makes them a chunk.
func (u *upload) write(buf *[chunkRoom + copySize + 2]byte, n int) error {
	from, to := chunkRoom, chunkRoom+n
	if u.length == unknownLength {
		var size [chunkRoom]byte
		line := append(strconv.AppendInt(size[:0], int64(n), 16), '\r', '\n')
		from -= len(line)
		copy(buf[from:], line)
		to += copy(buf[to:], "\r\n")
	}
	_, err := u.c.stream.Write(buf[from:to])
	return err //nolint:wrapcheck // the caller says what was tried
}

// heard ends the deadline of the head, which is there.
func (u *upload) heard() {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.answered = true
	_ = u.c.stream.SetReadDeadline(time.Time{}) // reading will say
}

// limitHead bounds how long the head may take from now on, unless it is there, or
// limit is zero.
func (u *upload) limitHead(limit time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.answered && limit > 0 {
		_ = u.c.stream.SetReadDeadline(time.Now().Add(limit)) // reading will say
	}
}

// lastWords is how long an answer may take that a backend has sent before it would
// not read any more.
const lastWords = time.Second

// ended reports whether all of the body was sent, after waiting a moment for it.
func (u *upload) ended() bool {
	if u == nil {
		return true
	}
	u.answer(false)
	timer := time.NewTimer(endPatience)
	defer timer.Stop()
	select {
	case <-u.done:
		return u.readErr == nil && u.writeErr == nil
	case <-timer.C:
		return false
	}
}

// endPatience is how long the end of an answer waits for the end of its request.
const endPatience = 50 * time.Millisecond

// failure is why the body could not be read, if that is known by now.
func (u *upload) failure() error {
	if u == nil {
		return nil
	}
	select {
	case <-u.done:
		return u.readErr
	default:
		return nil
	}
}

// expects reports whether req asks the backend to say whether it wants the body
// (RFC 9110 section 10.1.1).
func expects(req *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(req.Header["Expect"], "100-continue")
}
