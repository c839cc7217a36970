package proxy

// Withdraw is what Live does a minute after a replacement.
var Withdraw = (*Gateway).withdraw

// AddTrace remembers a message that the client at that address brought.
func AddTrace(ts *Traces, t Traced, from string) {
	t.from = networkOf(from)
	ts.add(t)
}
