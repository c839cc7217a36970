package upstream

import "net/http"

// WithStandIns has each upstream answered by a function: time does not pass by
// itself in a test while a socket is open.
func WithStandIns(p *Pool, answer func(address string, r *http.Request) (*http.Response, error)) {
	for _, s := range p.slots {
		var t transport = standIn{s.address, answer}
		s.conns.Store(&t)
	}
}

type standIn struct {
	address string
	answer  func(string, *http.Request) (*http.Response, error)
}

func (s standIn) RoundTrip(r *http.Request) (*http.Response, error) { return s.answer(s.address, r) }
func (standIn) CloseIdleConnections()                               {}

// Refused is a connection that was not made.
func Refused(address string, cause error) error { return &connectError{address, cause} }
