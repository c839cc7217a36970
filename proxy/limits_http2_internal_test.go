package proxy

import (
	"net"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/listen"
)

// Somebody always watches over connections that take nothing: the listener, or else
// net/http.
func TestWritesAreWatchedOnce(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	limits := listen.Limits{Closed: func(string) {}, Opened: func(int) {}}
	unwatched := listen.Limit(inner, limits)
	limits.Stall = time.Minute
	patient := listen.Limit(inner, limits)
	limits.Stall = DefaultStall
	for _, test := range []struct {
		name     string
		listener net.Listener
		want     time.Duration
	}{
		{"no limits", inner, DefaultStall},
		{"limits of other things", unwatched, DefaultStall},
		{"a listener that is more patient", patient, DefaultStall},
		{"a listener that watches", listen.Limit(inner, limits), 0},
		{"no listener", nil, DefaultStall},
	} {
		if got := http2Limits(ServerConfig{Listener: test.listener}).WriteByteTimeout; got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
