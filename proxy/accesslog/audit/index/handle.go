package index

import (
	"os"
	"sync/atomic"
)

// handle is an open file that is closed when nobody needs it any more. It begins with
// one that does. A nil handle is no file.
type handle struct {
	*os.File
	users atomic.Int64
}

func newHandle(f *os.File) *handle {
	h := &handle{File: f}
	h.users.Store(1)
	return h
}

func (h *handle) acquire() {
	if h != nil {
		h.users.Add(1)
	}
}

func (h *handle) release() {
	if h != nil && h.users.Add(-1) == 0 {
		_ = h.Close() // was only read from
	}
}
