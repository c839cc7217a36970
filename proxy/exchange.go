package proxy

import (
	"crypto/rand"
	"encoding/base32"
	"strings"

	"github.com/sallyport/sallyport/proxy/relay"
)

// exchange is one request on its way through the gateway.
type exchange = relay.Exchange

// newRequestID returns 80 random bits as 16 lower-case letters and digits
// without 0, 1, 8 and 9: it is read aloud to a help desk.
func newRequestID() string {
	var raw [10]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	return strings.ToLower(base32.StdEncoding.EncodeToString(raw[:]))
}
