package swarm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"time"
	"unicode"
)

// DefaultHost is where a container engine listens unless it was told otherwise.
const DefaultHost = "unix:///var/run/docker.sock"

const (
	engineTimeout   = 10 * time.Second
	maxEngineAnswer = 1 << 20
	maxEngineText   = 300
)

// secretName is what the engine accepts as the name of a secret.
var secretName = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9._-]{0,62}[a-zA-Z0-9])?$`)

// Engine is the API of a container engine, over its Unix socket. It is safe for
// concurrent use. Close ends it.
type Engine struct {
	socket string
	http   *http.Client
}

// Secret is a Docker secret without its value, which the engine tells nobody.
type Secret struct {
	ID     string
	Name   string
	Labels map[string]string
}

// NewEngine returns the engine at host: unix:///PATH, as DOCKER_HOST says it. No
// other kind of address is accepted: what is stored there is a credential, and the
// socket's permissions are its guard. It connects to nothing yet.
func NewEngine(host string) (*Engine, error) {
	socket, isUnix := strings.CutPrefix(host, "unix://")
	if !isUnix || !filepath.IsAbs(socket) {
		return nil, fmt.Errorf("container engine %q: expected a Unix socket such as %s", host, DefaultHost)
	}
	return &Engine{socket: socket, http: &http.Client{
		Timeout: engineTimeout,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			},
			MaxResponseHeaderBytes: 64 << 10,
		},
	}}, nil
}

// Close closes idle connections to the engine.
func (e *Engine) Close() { e.http.CloseIdleConnections() }

// CheckSecretName refuses what the engine would refuse.
func CheckSecretName(name string) error {
	if !secretName.MatchString(name) {
		return fmt.Errorf("name of the secret %q: expected 1 to 64 letters, digits, '.', '-' and '_'", name)
	}
	return nil
}

// Find returns the secret of that name, or nil if there is none. The error wraps
// ErrNoEngine or ErrNoManager where that is the cause.
func (e *Engine) Find(ctx context.Context, name string) (*Secret, error) {
	filter, err := json.Marshal(map[string][]string{"name": {name}})
	if err != nil {
		return nil, fmt.Errorf("encoding the filter: %w", err)
	}
	var list []struct {
		ID   string
		Spec struct {
			Name   string
			Labels map[string]string
		}
	}
	if err := e.call(ctx, http.MethodGet, "/secrets?filters="+url.QueryEscape(string(filter)), nil, &list); err != nil {
		return nil, fmt.Errorf("looking for the docker secret %s: %w", name, err)
	}
	for _, found := range list { // the filter takes a name's beginning for the name
		if found.Spec.Name == name {
			return &Secret{ID: found.ID, Name: name, Labels: found.Spec.Labels}, nil
		}
	}
	return nil, nil
}

// Create stores value under a name that no secret has, and returns the secret's
// ID. The error wraps ErrNameTaken, ErrNoEngine or ErrNoManager where that is the
// cause; it never holds the value.
func (e *Engine) Create(ctx context.Context, name string, labels map[string]string, value []byte) (string, error) {
	body := struct {
		Name   string
		Labels map[string]string
		Data   []byte // base64 on the wire
	}{name, labels, value}
	var created struct{ ID string }
	if err := e.call(ctx, http.MethodPost, "/secrets/create", body, &created); err != nil {
		return "", fmt.Errorf("creating the docker secret %s: %w", name, err)
	}
	if created.ID == "" {
		return "", fmt.Errorf("creating the docker secret %s: the engine answered without an ID", name)
	}
	return created.ID, nil
}

// Remove removes a secret that no service uses. The error wraps ErrInUse if one
// does.
func (e *Engine) Remove(ctx context.Context, s Secret) error {
	if err := e.call(ctx, http.MethodDelete, "/secrets/"+url.PathEscape(s.ID), nil, nil); err != nil {
		return fmt.Errorf("removing the docker secret %s: %w", s.Name, err)
	}
	return nil
}

// call does one request. The path has no version: each engine has its own least
// and greatest, and what is used here is the same in all.
func (e *Engine) call(ctx context.Context, method, path string, body, out any) error {
	var raw []byte
	var err error
	if body != nil {
		if raw, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := e.http.Do(req)
	if err != nil {
		return e.transportError(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxEngineAnswer+1))
	switch {
	case err != nil:
		return e.transportError(err)
	case res.StatusCode >= 300:
		return refusedByEngine(res.StatusCode, answer)
	case len(answer) > maxEngineAnswer:
		return fmt.Errorf("the engine's answer has more than %d bytes", maxEngineAnswer)
	case out == nil:
		return nil
	}
	if json.Unmarshal(answer, out) != nil {
		return errors.New("the engine's answer is not what its API describes")
	}
	return nil
}

// transportError tells an engine that is not there from one that went away.
func (e *Engine) transportError(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without the URL, which names no real host
	}
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" {
		return fmt.Errorf("%w on %s: %w", ErrNoEngine, e.socket, dial.Err)
	}
	return fmt.Errorf("asking the engine on %s: %w", e.socket, err)
}

// refusedByEngine explains a status; what the engine says is quoted, bounded.
func refusedByEngine(status int, answer []byte) error {
	var said struct{ Message string }
	_ = json.Unmarshal(answer, &said) // a message is all that is wanted of it
	message := strings.Join(strings.FieldsFunc(said.Message, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if len(message) > maxEngineText {
		message = strings.ToValidUTF8(message[:maxEngineText], "") + "..."
	}
	var kind error
	switch {
	case status == http.StatusServiceUnavailable && strings.Contains(message, "swarm"):
		return ErrNoManager // what the engine adds are commands for another case
	case strings.Contains(message, "in use by"):
		kind = ErrInUse
	case status == http.StatusConflict:
		kind = ErrNameTaken
	default:
		return fmt.Errorf("the engine answers %d: %s", status, message)
	}
	return fmt.Errorf("%w (the engine answers %d: %s)", kind, status, message)
}
