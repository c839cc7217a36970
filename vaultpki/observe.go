package vaultpki

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Observation is one call to Vault, as a metric may tell of it: no path, no name and no
// words of Vault's.
type Observation struct {
	// Op is what was asked for, one of [ObservedOps].
	Op string
	// Result is how it ended, one of [ObservedResults].
	Result string
	// Took is until the whole answer was there, or it was clear that there is none.
	Took time.Duration
}

// ObservedOps and ObservedResults are all words that an Observation has.
var (
	ObservedOps = []string{
		"login", "renew", "lookup", "unwrap", "wrap", "read", "write", "list", "delete", "sign", "authorities", "revoke", "capabilities", "other",
	}
	ObservedResults = []string{
		"success", "denied", "absent", "sealed", "busy", "fault", "refused", "unreachable", "untrusted", "cancelled",
	}
)

// observer makes an Observation of each call, for a function of the caller's.
func observer(observe func(Observation)) func(wire.Call, time.Duration, error) {
	if observe == nil {
		return nil
	}
	return func(call wire.Call, took time.Duration, err error) {
		observe(Observation{Op: opOf(call), Result: resultOf(err), Took: took})
	}
}

// ops are the words for paths, of which the first that fits counts; none is for paths of
// KV, where the method says what is asked for.
var ops = []word{
	{"sys/wrapping/", "", "unwrap"},
	{"sys/capabilities-self", "", "capabilities"},
	{"auth/token/lookup-self", "", "lookup"},
	{"auth/token/renew-self", "", "renew"},
	{"auth/token/revoke-", "", "revoke"},
	{"sys/leases/renew", "", "renew"},
	{"auth/", "/login", "login"},
	{"auth/", "/role/", "wrap"},
	{"", "/data/", ""},
	{"", "/metadata/", ""},
	{"", "/sign/", "sign"},
	{"", "/revoke", "revoke"},
	{"", "/issuer", "authorities"},
	{"", "/cert/ca_chain", "authorities"},
}

// word is op for paths that begin with prefix and contain part.
type word struct{ prefix, part, op string }

// opOf is the word for a call.
func opOf(call wire.Call) string {
	for _, o := range ops {
		if !strings.HasPrefix(call.Path, o.prefix) || !strings.Contains(call.Path, o.part) {
			continue
		}
		if o.op == "" {
			return opOnKV(call)
		}
		return o.op
	}
	return "other"
}

// opOnKV is the word for a call to a secrets engine of version 2 of KV.
func opOnKV(call wire.Call) string {
	switch {
	case call.WrapTTL > 0:
		return "wrap"
	case call.Method == "LIST" || call.Query["list"] == "true":
		return "list"
	case call.Method == http.MethodGet:
		return "read"
	case call.Method == http.MethodDelete:
		return "delete"
	}
	return "write"
}

// resultOf is the word for how a call ended.
func resultOf(err error) string {
	status := wire.Status(err)
	switch {
	case err == nil:
		return "success"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case wire.Untrusted(err):
		return "untrusted"
	case status == 0:
		return "unreachable"
	case isSealed(err):
		return "sealed"
	case status == http.StatusForbidden:
		return "denied"
	case status == http.StatusNotFound:
		return "absent"
	case status == http.StatusTooManyRequests || status == http.StatusPreconditionFailed:
		return "busy"
	case wire.MaySucceedLater(err):
		return "fault"
	}
	return "refused"
}
