package vaultpki

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Server says where Vault is and how to know it, and us.
type Server struct {
	// Address is Vault's base URL, such as "https://vault.internal:8200", or
	// those of several nodes of one Vault, separated by commas. One that gives
	// no service is passed over; a one-time call is never sent to a second node
	// after a first may have received it. Only https is accepted, unless
	// UnsafeHTTP is set and the host is a literal loopback address.
	Address string
	// CAFile is a PEM file with the only certificate authorities that are
	// trusted for Vault's own certificate. The system's roots are not used.
	// Required for https.
	CAFile string
	// CertFile and KeyFile are our own client certificate, for a Vault that
	// wants one. They are read again for every connection, so that whoever
	// renews them need not tell. Default none.
	CertFile, KeyFile string
	// Namespace is sent with every call; default none.
	Namespace string
	// UnsafeHTTP permits plain http to a loopback address.
	UnsafeHTTP bool
	// Wrap, if not nil, is given the transports of the calls and returns what stands in
	// their place. It must neither repeat nor keep a call.
	Wrap func(http.RoundTripper) http.RoundTripper
}

// OnRevocation says what the end of a token before its time means.
type OnRevocation int

// What to do when an operator revokes the token.
const (
	// Serve goes on with what is held and logs in again.
	Serve OnRevocation = iota
	// Stop ends Run, so that the process ends: revocation is a kill switch.
	Stop
)

// Config says where Vault is and how this process proves itself to it. It must
// not be modified after Login.
type Config struct {
	// Server is where Vault is.
	Server
	// Method is how to log in: one of [AppRole], [JWT], [Cert] and [TokenFile].
	Method Method

	// OnRevocation is what a revoked token means; default Serve.
	OnRevocation OnRevocation
	// UnsafeRootToken accepts a token that may do everything.
	UnsafeRootToken bool

	// Wait is how long an unreachable or sealed Vault is waited for, per call;
	// default 2 minutes.
	Wait time.Duration

	// Observe is told of each call that was sent to Vault, concurrently; nil tells
	// nobody.
	Observe func(Observation)

	// Log receives one line per step; nil discards. Now is the clock that
	// creation times are compared with; nil means time.Now. Both are used
	// concurrently.
	Log *slog.Logger
	Now func() time.Time
}

const defaultWait = 2 * time.Minute

// withDefaults returns the Config with its defaults filled in, and every fault
// in it joined into one error.
func (cfg Config) withDefaults() (Config, error) {
	if cfg.Wait == 0 {
		cfg.Wait = defaultWait
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	var faults []error
	if cfg.Method == nil {
		faults = append(faults, errors.New("method: none given"))
	} else {
		var err error
		if cfg.Method, err = cfg.Method.check(cfg.Server); err != nil {
			faults = append(faults, err)
		}
	}
	if cfg.OnRevocation != Serve && cfg.OnRevocation != Stop {
		faults = append(faults, fmt.Errorf("on revocation %d: expected Serve or Stop", cfg.OnRevocation))
	}
	if cfg.Wait < 0 {
		faults = append(faults, fmt.Errorf("wait %s: expected more than 0", cfg.Wait))
	}
	return cfg, errors.Join(faults...)
}

// Dial checks what it is told and reads the files that it names; it connects to
// nothing yet. What it returns is for the packages below this one.
func (s Server) Dial() (*wire.Client, error) {
	return wire.New(wire.Config{
		Address: s.Address, CAFile: s.CAFile, UnsafeHTTP: s.UnsafeHTTP,
		Namespace: s.Namespace, CertFile: s.CertFile, KeyFile: s.KeyFile, Wrap: s.Wrap,
	})
}
