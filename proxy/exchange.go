package proxy

import (
	"crypto/rand"
	"encoding/base32"

	"github.com/sallyport/sallyport/proxy/relay"
)

// exchange is one request on its way through the gateway.
type exchange = relay.Exchange

// spoken is the alphabet of request ids.
var spoken = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567")

// newRequestID returns 80 random bits as 16 lower-case letters and digits
// without 0, 1, 8 and 9: it is read aloud to a help desk.
func newRequestID() string {
	var raw [10]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	var id [16]byte
	spoken.Encode(id[:], raw[:])
	return string(id[:])
}
