package swarm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/vaultpki"
)

// Vault is what a driver asks of Vault; *vaultpki.Client is one.
type Vault interface {
	Mint(ctx context.Context, m vaultpki.Minting) (vaultpki.Wrapped, error)
	ReadKV(ctx context.Context, mount, path string) (vaultpki.KV, error)
	WrapKV(ctx context.Context, mount, path string, ttl time.Duration) (vaultpki.Wrapped, error)
}

// DriverConfig says what a Driver hands to whom. It must not be modified after
// NewDriver.
type DriverConfig struct {
	// Vault is whom to ask. Required.
	Vault Vault
	// Roles and KV are the allow-list; with both empty nobody gets anything.
	Roles []RoleGrant
	KV    []KVGrant
	// Observe is told how each request ended: what was ordered ("introduction",
	// "wrapped_secret", "field" or "") and the reason of the refusal, or "issued"
	// or "repeated". nil for nobody; called concurrently.
	Observe func(kind, result string)
	// Log gets one line per request; nil discards.
	Log *slog.Logger
}

const (
	// requestTimeout bounds a request: the engine waits half a minute, and holds
	// back whatever else it has to tell the node meanwhile.
	requestTimeout = 20 * time.Second
	// attemptTimeout bounds each call within; another is made while there is time.
	attemptTimeout = 6 * time.Second
	retryDelay     = 500 * time.Millisecond
	// maxRemembered tokens are remembered at once, and maxOfService of one service.
	maxRemembered = 4096
	maxOfService  = maxRemembered / 8

	mediaType = "application/vnd.docker.plugins.v1.1+json"
)

// Driver is a secret provider of a Docker Swarm. Safe for concurrent use.
type Driver struct {
	cfg    DriverConfig
	allow  atomic.Pointer[allowList] // never nil
	memory *memory
}

// NewDriver checks the configuration; it starts nothing.
func NewDriver(cfg DriverConfig) (*Driver, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Observe == nil {
		cfg.Observe = func(string, string) {}
	}
	if cfg.Vault == nil {
		return nil, errors.New("configuring the secret driver: no Vault given")
	}
	d := &Driver{cfg: cfg, memory: newMemory(maxRemembered, maxOfService)}
	return d, d.Allow(cfg.Roles, cfg.KV)
}

// Allow puts another allow-list in use, as a whole; if it has faults, the one
// before stays. Who had a token keeps it. The lists must not be modified
// afterwards.
func (d *Driver) Allow(roles []RoleGrant, kv []KVGrant) error {
	next := &allowList{roles: slices.Clone(roles), kv: slices.Clone(kv)}
	if err := next.check(); err != nil {
		return fmt.Errorf("configuring the secret driver: %w", err)
	}
	d.allow.Store(next)
	return nil
}

// Remembered returns how many tokens are remembered for their tasks.
func (d *Driver) Remembered() int { return d.memory.size() }

// answer is what the engine hears. DoNotReuse makes it ask for each task anew.
type answer struct {
	Value      []byte `json:",omitempty"`
	Err        string `json:",omitempty"`
	DoNotReuse bool
}

// Handler answers the engine. It is for a socket that nobody else can reach.
func (d *Driver) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /Plugin.Activate", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusOK, map[string][]string{"Implements": {"secretprovider"}})
	})
	mux.HandleFunc("POST /SecretProvider.GetSecret", d.getSecret)
	return mux
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // an engine that went away asks again
}

// getSecret is the one question.
func (d *Driver) getSecret(w http.ResponseWriter, hr *http.Request) {
	// An engine that hangs up asks again: what was made for it then is remembered.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(hr.Context()), requestTimeout)
	defer cancel()
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(requestTimeout)) // not all can
	r, err := readRequest(http.MaxBytesReader(w, hr.Body, maxRequestBytes+1))
	if err != nil {
		d.refused(w, request{}, order{}, refuse(reasonRequest, "the request is not acceptable", "%w", err))
		return
	}
	o, err := d.allow.Load().decide(r)
	if err != nil {
		d.refused(w, r, order{}, err)
		return
	}
	value, repeated, err := d.serve(ctx, r, o)
	if err != nil {
		d.refused(w, r, o, err)
		return
	}
	result := "issued"
	if repeated {
		result = "repeated"
	}
	d.cfg.Observe(o.kind(), result)
	d.log(r).Info("secret handed out", "kind", o.kind(), "what", o.what(), "result", result)
	write(w, http.StatusOK, answer{Value: []byte(value), DoNotReuse: true})
}

// log names the request in each line.
func (d *Driver) log(r request) *slog.Logger {
	return d.cfg.Log.With("secret", r.SecretName, "swarm_service", r.ServiceName, "task", r.TaskName, "task_id", r.TaskID)
}

// refused tells the engine little and the log everything.
func (d *Driver) refused(w http.ResponseWriter, r request, o order, err error) {
	var why *refusal
	if !errors.As(err, &why) {
		why = &refusal{Reason: reasonVault, Public: "vault did not give it", Err: err}
	}
	d.cfg.Observe(o.kind(), why.Reason)
	d.log(r).Warn("secret refused", "reason", why.Reason, "cause", why.Err.Error())
	write(w, http.StatusInternalServerError, answer{Err: "sallyport: " + why.Public, DoNotReuse: true})
}

// serve gets what was ordered. Tokens are remembered for their task, because the
// engine asks twice for each and the task sees its first answer; a plain field is
// the same whenever it is read, and is not kept.
func (d *Driver) serve(ctx context.Context, r request, o order) (value string, repeated bool, err error) {
	if o.kind() == kindField {
		value, err = d.readField(ctx, o.kv)
		return value, false, err
	}
	k := key{service: r.ServiceName, task: r.TaskID, secret: r.SecretName, order: o.kind() + " " + o.what()}
	value, repeated, err = d.memory.get(ctx, k, func() (token, error) { return d.issue(ctx, r, o) })
	if errors.Is(err, errBusy) {
		return "", false, refuse(reasonBusy, "busy, try again", "%w", err)
	}
	return value, repeated, err
}

// readField reads one field of a KV secret.
func (d *Driver) readField(ctx context.Context, o kvOrder) (string, error) {
	kv, err := d.cfg.Vault.ReadKV(ctx, o.mount, o.path)
	if err != nil {
		return "", err
	}
	return kv.Field(o.field)
}

// issue has Vault make a token. A call whose answer was lost may have made one
// that nobody knows: it is made anew, and the lost one ends by itself.
func (d *Driver) issue(ctx context.Context, r request, o order) (token, error) {
	for attempt := 1; ; attempt++ {
		asked := time.Now()
		wrapped, err := d.issueOnce(ctx, o)
		if err == nil {
			d.log(r).Info("token made", "kind", o.kind(), "what", o.what(), "accessor_hash", wrapped.AccessorHash(), "wrap_ttl", wrapped.TTL, "attempt", attempt)
			return token{value: wrapped.Token, ends: asked.Add(wrapped.TTL)}, nil
		}
		if vaultpki.ReasonOf(err) != vaultpki.ReasonUnreachable || !sleep(ctx, retryDelay*time.Duration(attempt)) {
			return token{}, err
		}
		d.log(r).Warn("making a token did not succeed", "cause", err.Error(), "attempt", attempt)
	}
}

func (d *Driver) issueOnce(ctx context.Context, o order) (vaultpki.Wrapped, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	if o.mint.Role != "" {
		return d.cfg.Vault.Mint(ctx, o.mint)
	}
	return d.cfg.Vault.WrapKV(ctx, o.kv.mount, o.kv.path, o.kv.wrapTTL)
}

// sleep waits for d and returns true, or false as soon as ctx ends.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
