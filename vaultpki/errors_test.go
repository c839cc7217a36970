package vaultpki

import (
	"crypto/x509"
	"errors"
	"fmt"
	"testing"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

func TestEveryReasonHasAName(t *testing.T) {
	seen := map[string]bool{}
	for r := ReasonUnknown; r <= ReasonTokenLost; r++ {
		name := r.String()
		if name == "" || seen[name] {
			t.Errorf("reason %d is called %q", int(r), name)
		}
		seen[name] = true
	}
	if got := Reason(99).String(); got != "reason(99)" {
		t.Errorf("Reason(99) is called %q", got)
	}
}

func TestErrorReadsAsAPath(t *testing.T) {
	cause := errors.New("permission denied")
	for want, err := range map[string]*Error{
		"reading the secret secret/app: permission denied": {Op: "reading the secret", Where: "secret/app", Err: cause},
		"logging in: permission denied":                    {Op: "logging in", Err: cause},
		"reading the secret secret/app":                    {Op: "reading the secret", Where: "secret/app"},
	} {
		if got := err.Error(); got != want {
			t.Errorf("error %q, expected %q", got, want)
		}
	}
	wrapped := fmt.Errorf("starting: %w", &Error{Reason: ReasonDenied, Op: "x", Err: cause})
	if ReasonOf(wrapped) != ReasonDenied || !errors.Is(wrapped, cause) {
		t.Errorf("reason %s of %v", ReasonOf(wrapped), wrapped)
	}
	if ReasonOf(cause) != ReasonUnknown || ReasonOf(nil) != ReasonUnknown {
		t.Error("a foreign error has a reason")
	}
}

func TestFailuresAreClassified(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want Reason
	}{
		"away":           {away, ReasonUnreachable},
		"sealed":         {&wire.StatusError{Status: 503, Messages: []string{"Vault is sealed"}, FromVault: true}, ReasonSealed},
		"a proxy's 503":  {&wire.StatusError{Status: 503}, ReasonUnreachable},
		"lost":           {tokenLost(errors.New("revoked")), ReasonTokenLost},
		"busy":           {&wire.StatusError{Status: 429}, ReasonUnreachable},
		"standby":        {&wire.StatusError{Status: 473}, ReasonUnreachable},
		"not yet synced": {&wire.StatusError{Status: 412}, ReasonUnreachable},
		"redirected":     {&wire.StatusError{Status: 307}, ReasonUnreachable},
		"untrusted":      {&wire.TransportError{Err: x509.UnknownAuthorityError{}}, ReasonUnreachable},
		"denied":         {denied, ReasonDenied},
		"no such token":  {revoked, ReasonDenied},
		"bad request":    {&wire.StatusError{Status: 400}, ReasonConfig},
		"absent":         {&wire.StatusError{Status: 404}, ReasonConfig},
	} {
		t.Run(name, func(t *testing.T) {
			got := Classify("doing", "there", test.err)
			if got.Reason != test.want || got.Hint == "" || !errors.Is(got, test.err) {
				t.Errorf("classified as %s with hint %q, expected %s", got.Reason, got.Hint, test.want)
			}
		})
	}
}
