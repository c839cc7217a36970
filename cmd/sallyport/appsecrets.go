package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
	"github.com/sallyport/sallyport/proxy/sidecar/supervise"
	"github.com/sallyport/sallyport/vaultpki"
)

// appSecrets are what a sidecar renders for an application. A nil *appSecrets is nothing.
type appSecrets struct {
	*secrets.Secrets
	app atomic.Pointer[app] // nil until there is one, or if somebody else runs it
	ran atomic.Bool
}

// appSecretsError is a failure to render at the start.
type appSecretsError struct{ error }

// Unwrap returns the failure.
func (e *appSecretsError) Unwrap() error { return e.error }

// exitCode tells what Vault did from what is wrong with templates and files.
func (e *appSecretsError) exitCode() int {
	var call *secrets.CallError
	switch {
	case !errors.As(e.error, &call):
		return exitAppSecrets
	case call.Kind == secrets.Away:
		return exitUnreachable
	case call.Kind == secrets.Denied:
		return exitDenied
	case call.Kind == secrets.Absent:
		return exitBadSecret
	}
	return exitAppSecrets
}

// newAppSecrets renders everything once; nil if there is nothing to render. hasApp says
// that the application is the sidecar's child, which starts when this is done.
func newAppSecrets(ctx context.Context, cfg *config.Sidecar, client *vaultpki.Client, hasApp bool, log *slog.Logger) (*appSecrets, error) {
	if !cfg.Secrets.On() {
		return nil, nil
	}
	s := &appSecrets{}
	settings, err := s.settings(cfg, hasApp)
	if err != nil {
		return nil, err
	}
	settings.Vault, settings.Log = appVault{client}, log
	rendered, err := secrets.New(ctx, settings)
	if err != nil {
		return nil, &appSecretsError{fmt.Errorf("rendering the application's secrets: %w", err)}
	}
	s.Secrets = rendered
	return s, nil
}

// checkAppSecrets finds what would keep the application's secrets from being rendered
// whatever Vault says: a template, an owner, a folder.
func checkAppSecrets(cfg *config.Sidecar, hasApp bool) error {
	if !cfg.Secrets.On() {
		return nil
	}
	settings, err := (&appSecrets{}).settings(cfg, hasApp)
	if err != nil {
		return err
	}
	if err := secrets.Check(settings); err != nil {
		return &appSecretsError{fmt.Errorf("preparing the application's secrets: %w", err)}
	}
	return nil
}

// settings are those of the secrets, without Vault and log. It reads template files.
func (s *appSecrets) settings(cfg *config.Sidecar, hasApp bool) (secrets.Config, error) {
	settings := secrets.Config{
		Env: map[string]string{}, Variable: inheritedVariable(os.Environ()),
		Refresh: cfg.Refresh.Duration, Grace: exactly(cfg.Secrets.Grace), UnsafeDisk: cfg.Secrets.UnsafeDisk,
	}
	if hasApp {
		settings.App, settings.Exec = s, s.exec
	}
	if cfg.Secrets.HasStdin() {
		settings.Stdin = cfg.Secrets.Stdin
	}
	for _, variable := range cfg.Secrets.Env {
		settings.Env[variable.Name] = variable.Template
	}
	for i, file := range cfg.Secrets.Files {
		wanted, err := secretFile(i, file)
		if err != nil {
			return settings, &appSecretsError{err}
		}
		settings.Files = append(settings.Files, wanted)
	}
	return settings, nil
}

// exactly is a duration that may be none: 0 is package secrets' word for its default.
func exactly(d config.Duration) time.Duration {
	if d.Duration == 0 {
		return -1
	}
	return d.Duration
}

// secretFile translates one file of the configuration, and reads its template.
func secretFile(i int, file config.SecretFile) (secrets.File, error) {
	change := file.OnChange
	wanted := secrets.File{
		Path: file.Path, Template: file.Template, Name: fmt.Sprintf("secrets.files[%d].template", i),
		Owner: file.User(), Group: file.GroupName(), Mode: file.FileMode(), UnsafeOthers: file.UnsafeOthers,
		OnChange: secrets.Action{
			Verb: secrets.Verb(change.Action), Signal: appSignals[change.Signal], URL: change.URL, Command: change.Command,
			Timeout: change.Timeout.Duration, Debounce: exactly(change.Debounce), Jitter: change.Jitter.Duration,
		},
	}
	if file.TemplateFile == "" {
		return wanted, nil
	}
	text, err := readTemplate(file.TemplateFile)
	if err != nil {
		return wanted, fmt.Errorf("reading the template of %s: %w", file.Path, err)
	}
	wanted.Template, wanted.Name = text, file.TemplateFile
	return wanted, nil
}

// inheritedVariable looks up what an application inherits of an environment: what is
// Vault's or ours is not shown to templates either.
func inheritedVariable(environ []string) func(string) (string, bool) {
	known := map[string]string{}
	for _, entry := range supervise.Inherited(environ) {
		name, value, _ := strings.Cut(entry, "=")
		known[name] = value
	}
	return func(name string) (string, bool) {
		value, set := known[name]
		return value, set
	}
}

// editionOf tells two values apart in a message that must not show them.
func editionOf(value any) string {
	sum := sha256.Sum256(fmt.Append(nil, value))
	return "version " + hex.EncodeToString(sum[:4])
}

// forApp is what the application is started with.
func (s *appSecrets) forApp() (env []string, stdin []byte) {
	if s == nil {
		return nil, nil
	}
	return s.Environment(), s.Stdin()
}

// tells has a tell of changes.
func (s *appSecrets) tells(a *app) {
	if s != nil {
		s.app.Store(a)
	}
}

// Signal implements [secrets.App]. One that does not run reads its files when it starts.
func (s *appSecrets) Signal(signal os.Signal) error {
	if err := s.app.Load().child.Signal(signal); !errors.Is(err, supervise.ErrNotRunning) {
		return err
	}
	return nil
}

// Restart implements [secrets.App]. One that is being ended has what it has until then, and
// so have its last requests.
func (s *appSecrets) Restart(ctx context.Context, env []string, stdin []byte) error {
	err := s.app.Load().child.Restart(ctx, env, stdin)
	if errors.Is(err, supervise.ErrEnded) {
		<-ctx.Done()
	}
	return err
}

// actionFolder is where commands are run.
const actionFolder = "/"

// exec runs a command without an environment of ours, beside the application.
func (s *appSecrets) exec(ctx context.Context, argv []string, output *os.File) error {
	return supervise.Exec(ctx, s.app.Load().reaper, supervise.Program{
		Argv: argv, Env: supervise.Inherited(os.Environ()), Dir: actionFolder, Output: output,
	})
}

// run keeps them fresh until ctx ends, which must be after the end of the application.
func (s *appSecrets) run(ctx context.Context) error {
	if s == nil {
		return nil
	}
	s.ran.Store(true)
	return s.Run(ctx)
}

// wake has Vault asked for whatever may have changed.
func (s *appSecrets) wake() { s.Look() }

// close ends what was begun, if it never ran.
func (s *appSecrets) close(ctx context.Context) {
	if s != nil && !s.ran.Load() {
		s.Close(ctx)
	}
}

// part is the secrets' part in the answer about health. An absence of Vault alone makes
// nobody unready, who would be ended for it: the application may work on, with connections
// that are open, or with a user whom nobody but Vault would drop; whether it does is for
// its own check to say; and no other start could have more.
func (s *appSecrets) part() (ok bool, says string) {
	state := s.State()
	until := state.FreshUntil.UTC().Format(time.RFC3339)
	switch fresh := state.Fresh(time.Now()); {
	case !fresh && state.Away:
		return true, "stale since " + until + ": vault is away, and the app goes on with what it has"
	case !fresh && state.Excused:
		return true, "stale since " + until + ": there are others, and the app is about to be told"
	case !fresh:
		return false, "stale since " + until
	case state.FreshUntil.IsZero():
		return true, "rendered, and none of them ends"
	}
	return true, "rendered, and valid until " + until + " without Vault"
}

// artefacts are what the application lives from.
func (s *appSecrets) artefacts() []artefact {
	if s == nil {
		return nil
	}
	state := s.State()
	var all []artefact
	for _, held := range state.Held {
		all = append(all, artefact{
			Kind: kindAppSecret, Name: held.Path, Since: held.Since, Until: held.Until, Renews: true,
			Stops: "the application's credentials", Hard: true, Fault: held.Fault,
		})
	}
	return all
}

// appSecretsMetrics tell of rendered secrets. It is a prometheus.Collector.
type appSecretsMetrics struct{ rendered *appSecrets }

// Describe implements prometheus.Collector.
func (m *appSecretsMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *appSecretsMetrics) Collect(ch chan<- prometheus.Metric) {
	state := m.rendered.State()
	metric := func(name, help string, kind prometheus.ValueType, value float64, labels ...string) {
		var names, values []string
		for i := 0; i < len(labels); i += 2 {
			names, values = append(names, labels[i]), append(values, labels[i+1])
		}
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, value, values...)
	}
	if !state.FreshUntil.IsZero() {
		metric("sallyport_app_secrets_fresh_until_seconds", "Until when all secrets of the application are valid if Vault is not heard of again, in Unix seconds.", prometheus.GaugeValue, float64(state.FreshUntil.Unix()))
	}
	metric("sallyport_app_secrets_faults", "Secrets of the application that cannot be renewed or rendered now, and changes that it could not be told of.", prometheus.GaugeValue, float64(len(state.Faults)))
	metric("sallyport_app_secrets_leases", "Leases of the application, by whether they are in use or were replaced and live on for a while.", prometheus.GaugeValue, float64(state.Leases), "state", "in_use")
	metric("sallyport_app_secrets_leases", "Leases of the application, by whether they are in use or were replaced and live on for a while.", prometheus.GaugeValue, float64(state.Retired), "state", "replaced")
	metric("sallyport_app_secrets_renewals_total", "Leases of the application that were renewed.", prometheus.CounterValue, float64(state.Renewals))
	metric("sallyport_app_secrets_replacements_total", "Credentials of the application that were replaced.", prometheus.CounterValue, float64(state.Replacements))
	for verb, n := range state.Actions {
		failed := state.ActionFailures[verb]
		metric("sallyport_app_secrets_actions_total", "Times that the application was told of new secrets, by action and result.", prometheus.CounterValue, float64(n-failed), "action", string(verb), "result", "success")
		metric("sallyport_app_secrets_actions_total", "Times that the application was told of new secrets, by action and result.", prometheus.CounterValue, float64(failed), "action", string(verb), "result", "failure")
	}
	for target, n := range state.Renders {
		metric("sallyport_app_secrets_renders_total", "Renderings of secrets of the application, by target and result.", prometheus.CounterValue, float64(n), "target", target, "result", "success")
		metric("sallyport_app_secrets_renders_total", "Renderings of secrets of the application, by target and result.", prometheus.CounterValue, float64(state.RenderFailures[target]), "target", target, "result", "failure")
	}
}
