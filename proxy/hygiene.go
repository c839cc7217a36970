package proxy

import (
	"net/http"

	"github.com/sallyport/sallyport/proxy/relay"
)

// clean refuses what no honest client sends before anything else looks at it.
// net/http has refused malformed framing and header bytes by now.
func clean(r *http.Request) *refusal {
	switch {
	case !relay.ValidMethod(r.Method):
		return &refusal{
			status: http.StatusMethodNotAllowed, reason: "method",
			title: "That cannot be done here", message: "This kind of request is not served here.",
		}
	case !relay.ValidTarget(r):
		return &refusal{
			status: http.StatusBadRequest, reason: "path",
			title: "That address is not valid", message: "The address of this request is not one that a browser sends.",
		}
	}
	return nil
}
