package swarm

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/vaultpki"
)

// engineOf returns an engine that answers by the handler. A real one, with real
// secrets, is asked by the tests in deploy/dev/swarm; here are the answers that it
// cannot be made to give.
func engineOf(t *testing.T, handler http.HandlerFunc) *Engine {
	t.Helper()
	path := filepath.Join(t.TempDir(), "d.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	engine, err := NewEngine("unix://" + path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(engine.Close)
	return engine
}

func TestEngineIsAUnixSocket(t *testing.T) {
	for _, host := range []string{"", "tcp://10.0.0.1:2375", "ssh://manager", "unix://docker.sock", "/var/run/docker.sock", "npipe:////./pipe/docker"} {
		if _, err := NewEngine(host); err == nil || !strings.Contains(err.Error(), "expected a Unix socket such as unix:///var/run/docker.sock") {
			t.Errorf("%q: %v", host, err)
		}
	}
	engine, err := NewEngine("unix://" + filepath.Join(t.TempDir(), "nobody"))
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	if _, err := engine.Find(t.Context(), "a"); !errors.Is(err, ErrNoEngine) || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("nobody there: %v", err)
	}
}

func TestAnswersOfAnEngineAreToldApart(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		want   error // nil for none of the known ones
		says   string
	}{
		"no manager":            {503, `{"message":"This node is not a swarm manager. Use \"docker swarm init\""}`, ErrNoManager, ""},
		"a name that is taken":  {409, `{"message":"rpc error: code = AlreadyExists desc = secret a already exists"}`, ErrNameTaken, "already exists"},
		"in use":                {400, `{"message":"rpc error: code = InvalidArgument desc = secret 'a' is in use by the following service: b"}`, ErrInUse, "service: b"},
		"not allowed":           {403, `{"message":"authorization denied by plugin"}`, nil, "the engine answers 403: authorization denied by plugin"},
		"something unprintable": {500, `{"message":"a\u001b[31m\nb` + strings.Repeat(" long", 200) + `"}`, nil, "the engine answers 500: a [31m b long"},
		"not an engine":         {502, `<html>`, nil, "the engine answers 502"},
		"not its API":           {201, `<html>`, nil, "not what its API describes"},
		"no ID":                 {201, `{}`, nil, "answered without an ID"},
		"too much":              {201, `{"ID":"` + strings.Repeat("x", maxEngineAnswer) + `"}`, nil, "more than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			engine := engineOf(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			})
			_, err := engine.Create(t.Context(), "a", nil, []byte("c4nary"))
			if err == nil || (test.want != nil && !errors.Is(err, test.want)) || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("error %v, expected %v with %q", err, test.want, test.says)
			}
			if strings.Contains(err.Error(), "c4nary") || len(err.Error()) > 500 || !isLine(err.Error()) {
				t.Errorf("error %q", err)
			}
		})
	}
}

func TestEngineThatHangsUpIsTold(t *testing.T) {
	engine := engineOf(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if _, err := engine.Create(t.Context(), "a", nil, nil); err == nil || errors.Is(err, ErrNoEngine) || !strings.Contains(err.Error(), "asking the engine on ") {
		t.Errorf("error %v", err)
	}
}

// swarmOf is an engine with secrets, as far as Storage needs one.
func swarmOf(t *testing.T, secrets map[string]map[string]string) (engine *Engine, calls *[]string) {
	t.Helper()
	calls = &[]string{}
	return engineOf(t, func(w http.ResponseWriter, r *http.Request) {
		*calls = append(*calls, r.Method+" "+r.URL.Path)
		switch r.Method {
		case http.MethodGet:
			list := []map[string]any{}
			for name, labels := range secrets {
				list = append(list, map[string]any{"ID": "id-" + name, "Spec": map[string]any{"Name": name, "Labels": labels}})
			}
			_ = json.NewEncoder(w).Encode(list)
		case http.MethodPost:
			var body struct {
				Name   string
				Labels map[string]string
				Data   []byte
			}
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil || string(body.Data) != "hvs.token" {
				t.Errorf("body %+v (%v)", body, err)
			}
			secrets[body.Name] = body.Labels
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `{"ID":"new"}`)
		case http.MethodDelete:
			delete(secrets, strings.TrimPrefix(r.URL.Path, "/secrets/id-"))
			w.WriteHeader(http.StatusNoContent)
		}
	}), calls
}

func TestIntroductionIsStoredUnderAFreeName(t *testing.T) {
	earlier := map[string]string{LabelRole: "app", labelAccessor: "0123456789ab"}
	for name, test := range map[string]struct {
		secret  string
		there   map[string]map[string]string
		replace bool
		fault   string
		calls   []string
	}{
		"a free name":                    {"a", map[string]map[string]string{"ab": earlier}, false, "", []string{"GET /secrets", "POST /secrets/create"}},
		"a free name to be replaced":     {"a", map[string]map[string]string{}, true, "", []string{"GET /secrets", "POST /secrets/create"}},
		"an earlier introduction":        {"a", map[string]map[string]string{"a": earlier}, true, "", []string{"GET /secrets", "DELETE /secrets/id-a", "POST /secrets/create"}},
		"a name that is taken":           {"a", map[string]map[string]string{"a": earlier}, false, "of that name already", []string{"GET /secrets"}},
		"an introduction of another":     {"a", map[string]map[string]string{"a": {LabelRole: "other", labelAccessor: "x"}}, true, "no introduction of role app", []string{"GET /secrets"}},
		"somebody's secret with a label": {"a", map[string]map[string]string{"a": {LabelRole: "app"}}, true, "no introduction of role app", []string{"GET /secrets"}},
		"a name that no secret has":      {"../a", nil, false, `name of the secret "../a"`, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			engine, calls := swarmOf(t, test.there)
			storage := &Storage{Engine: engine, Name: test.secret, Replace: test.replace}
			err := storage.Prepare(t.Context(), "app")
			if err == nil {
				_, err = storage.Store(t.Context(), "app", vaultpki.Wrapped{Token: "hvs.token", Accessor: "acc", TTL: time.Minute})
			}
			if (err == nil) != (test.fault == "") || (err != nil && !strings.Contains(err.Error(), test.fault)) {
				t.Errorf("error %v, expected %q", err, test.fault)
			}
			if diff := cmp.Diff(test.calls, *calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if err == nil {
				labels := test.there[test.secret]
				if ends, parseErr := time.Parse(time.RFC3339, labels[labelEnds]); parseErr != nil || time.Until(ends) > time.Minute || labels[LabelRole] != "app" || labels[labelAccessor] == "acc" {
					t.Errorf("labels %v", labels)
				}
			}
		})
	}
}
