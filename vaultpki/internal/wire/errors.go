package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/vault/api"
)

// Bounds of what an error keeps of an answer.
const (
	maxMessages     = 4
	maxMessageBytes = 300
)

// StatusError is an answer with a status of 300 or more.
type StatusError struct {
	Status     int
	Messages   []string      // Vault's own, bounded and cleaned
	FromVault  bool          // the body was Vault's JSON, not some proxy's page
	RetryAfter time.Duration // from the header of the same name; 0 if absent
	Data       *api.Secret   // a 404 of KV may carry metadata; otherwise nil
}

// Error gives the status and Vault's messages.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("vault answered %d", e.Status)
	if e.Status < 400 {
		text += " (a redirect, which is not followed)"
	}
	if len(e.Messages) > 0 {
		text += ": " + strings.Join(e.Messages, "; ")
	}
	return text
}

// TransportError is a call without a whole answer.
type TransportError struct {
	// Sent is false if the request certainly never left: no connection was
	// made. Otherwise the other side may have received and acted on it.
	Sent bool
	// RetryAfter is how long not to try again; 0 leaves it to the caller.
	RetryAfter time.Duration
	Err        error
}

// Error gives the cause.
func (e *TransportError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *TransportError) Unwrap() error { return e.Err }

// Status returns the status of a [*StatusError] in err's chain, else 0.
func Status(err error) int {
	var status *StatusError
	if errors.As(err, &status) {
		return status.Status
	}
	return 0
}

// MaySucceedLater says whether the same call may succeed when it is sent again
// after a while: Vault is away, sealed, busy or a standby. A refusal, and a
// server that cannot prove to be Vault, do not pass by waiting.
func MaySucceedLater(err error) bool {
	if errors.Is(err, context.Canceled) || Untrusted(err) {
		return false
	}
	switch status := Status(err); status {
	case 0:
		var transport *TransportError
		return errors.As(err, &transport)
	case http.StatusTooManyRequests, http.StatusPreconditionFailed:
		return true
	case 472, 473: // standbys of Vault's replication
		return true
	default:
		return status >= 500 || status < 400
	}
}

// Untrusted says whether the server's certificate was refused.
func Untrusted(err error) bool {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &verification) || errors.As(err, &authority) ||
		errors.As(err, &hostname) || errors.As(err, &invalid)
}

// RetryAfter returns how long Vault is to be left alone, else 0.
func RetryAfter(err error) time.Duration {
	var asked time.Duration
	var status *StatusError
	if errors.As(err, &status) {
		asked = status.RetryAfter
	}
	var transport *TransportError
	if errors.As(err, &transport) {
		asked = max(asked, transport.RetryAfter)
	}
	return asked
}

func newStatusError(resp *http.Response, raw []byte, call Call) *StatusError {
	e := &StatusError{Status: resp.StatusCode}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = min(time.Duration(seconds)*time.Second, time.Minute)
	}
	var body struct {
		Errors *[]string `json:"errors"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return e // a proxy's page: nothing of it is worth repeating
	}
	if body.Errors != nil {
		e.FromVault = true
		for _, message := range (*body.Errors)[:min(len(*body.Errors), maxMessages)] {
			e.Messages = append(e.Messages, clean(message, call))
		}
	} else if secret, err := api.ParseSecret(strings.NewReader(string(raw))); err == nil {
		e.FromVault, e.Data = true, secret
	}
	return e
}

// clean makes a message of the other side fit for a log: the request's secrets
// are removed, should it echo them, and so is everything that is not printable.
func clean(message string, call Call) string {
	for _, secret := range append([]string{call.Token}, call.Secrets...) {
		if secret != "" {
			message = strings.ReplaceAll(message, secret, "[redacted]")
		}
	}
	message = strings.Join(strings.FieldsFunc(message, func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsPrint(r)
	}), " ")
	if len(message) > maxMessageBytes {
		message = strings.ToValidUTF8(message[:maxMessageBytes], "") + "..."
	}
	return message
}

// stripURL removes method and URL, which every caller's error names better.
func stripURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
