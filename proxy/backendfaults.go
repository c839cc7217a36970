package proxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"

	"golang.org/x/net/http/httpguts"

	"github.com/sallyport/sallyport/proxy/relay"
	"github.com/sallyport/sallyport/proxy/upstream"
)

// What went wrong with a backend that has given no answer.
const (
	codeBackendUnreachable = "backend_unreachable"
	codeBackendBusy        = "backend_busy"
	codeBackendTimeout     = "backend_timeout"
	codeBackendBrokeOff    = "backend_broke_off"
	codeBackendNonsense    = "backend_nonsense"
	codeAppUnreachable     = "app_unreachable"
	codeSidecarRefused     = "sidecar_refused"
)

// errNonsense is wrapped by whatever finds an answer that is none.
var errNonsense = errors.New("backend answers nonsense")

// senseless finds what net/http lets through and a client could read as something
// else: an upgrade that nobody asked for, and bytes that stand in no header.
func senseless(res *http.Response) error {
	if res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
		return fmt.Errorf("%w: status %d", errNonsense, res.StatusCode)
	}
	if res.StatusCode == http.StatusSwitchingProtocols && relay.Upgrade(res.Request) != relay.WebSocket {
		return fmt.Errorf("%w: an upgrade that nobody asked for", errNonsense)
	}
	for name, values := range res.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("%w: a header named %.40q", errNonsense, name)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("%w: a control byte in header %.40q", errNonsense, name)
			}
		}
	}
	return nil
}

// backendFault says what went wrong with a backend that has given no answer: the
// status for the person, and the reason for the log.
func backendFault(err error) (status int, reason string) {
	var fault sidecarFault
	var timeout net.Error
	switch {
	case errors.Is(err, upstream.ErrBusy):
		return http.StatusServiceUnavailable, codeBackendBusy
	case errors.As(err, &fault):
		if fault == codeAppUnreachable {
			return http.StatusBadGateway, codeAppUnreachable
		}
		return http.StatusBadGateway, codeSidecarRefused
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return http.StatusGatewayTimeout, codeBackendTimeout
	case errors.Is(err, errNonsense):
		return http.StatusBadGateway, codeBackendNonsense
	case unreached(err):
		return http.StatusBadGateway, codeBackendUnreachable
	case brokeOff(err):
		return http.StatusBadGateway, codeBackendBrokeOff
	}
	// What is left of a transport's errors is about the bytes of an answer.
	return http.StatusBadGateway, codeBackendNonsense
}

// unreached reports whether no connection came about, or none that is trusted.
func unreached(err error) bool {
	var (
		operation   *net.OpError
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		alert       tls.AlertError
		record      tls.RecordHeaderError
		authority   x509.UnknownAuthorityError
		name        x509.HostnameError
		invalid     x509.CertificateInvalidError
	)
	if upstream.Unsent(err) {
		return true
	}
	if errors.As(err, &operation) {
		return operation.Op == "dial" || operation.Op == "remote error" || operation.Op == "local error"
	}
	return errors.As(err, &dns) || errors.As(err, &certificate) || errors.As(err, &alert) || errors.As(err, &record) ||
		errors.As(err, &authority) || errors.As(err, &name) || errors.As(err, &invalid) || errors.Is(err, syscall.ECONNREFUSED)
}

// brokeOff reports whether a connection ended before there was an answer.
func brokeOff(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// backendBody is the body of a backend's answer. That it broke off stands in the
// record: the client only sees that it did.
type backendBody struct {
	io.ReadCloser
	exchange *exchange
}

func (b *backendBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.fail(err)
	}
	return n, err
}

// fail notes a cause that is the backend's own: one that was hung up on is not to blame.
func (b *backendBody) fail(err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, http.ErrBodyReadAfterClose) {
		return
	}
	b.exchange.Record.Reason = "backend_cut"
	b.exchange.Fail(fmt.Errorf("answer of the backend broke off: %w", err))
}
