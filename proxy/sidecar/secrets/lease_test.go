package secrets_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
)

// engine stands in for a Vault with a database engine, whose leases live by the clock of a
// test: minutes pass at once.
type engine struct {
	mu       sync.Mutex
	ttl, max time.Duration
	away     error         // what every call fails with
	slow     time.Duration // how long credentials take, of which a caller may tire
	denied   map[string]bool
	refused  map[string]string // what Vault says with a 400, by path
	session  secrets.Session

	serial int
	leases map[string]*granted
	calls  []string
}

// granted is one lease of the engine.
type granted struct{ issued, expires time.Time }

func newEngine(ttl, most time.Duration) *engine {
	return &engine{
		ttl: ttl, max: most, leases: map[string]*granted{}, denied: map[string]bool{},
		session: secrets.Session{Since: time.Now(), Turned: make(chan struct{})},
	}
}

func (e *engine) Session() secrets.Session {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.session
}

// set changes the engine.
func (e *engine) set(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
}

func refusal(kind secrets.Kind, text string) error {
	return &secrets.CallError{Kind: kind, Err: errors.New(text)}
}

// Do answers late, if it is slow: it has done then what was asked for, whether or not
// somebody still waits.
func (e *engine) Do(ctx context.Context, call secrets.Call) (*secrets.Answer, error) {
	answer, err := e.do(call)
	e.mu.Lock()
	slow := e.slow
	e.mu.Unlock()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return answer, err
}

func (e *engine) do(call secrets.Call) (*secrets.Answer, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.calls = append(e.calls, call.Path)
	now := time.Now()
	switch {
	case e.away != nil:
		return nil, e.away
	case e.denied[call.Path]:
		return nil, refusal(secrets.Denied, "permission denied")
	case e.refused[call.Path] != "":
		return nil, refusal(secrets.Refused, "vault answered 400: "+e.refused[call.Path])
	case strings.HasPrefix(call.Path, "sys/internal/ui/mounts/"):
		return &secrets.Answer{Data: map[string]any{"path": "database/", "type": "database"}}, nil
	case call.Path == "sys/leases/renew":
		id := call.Body["lease_id"].(string)
		l := e.leases[id]
		if l == nil || !now.Before(l.expires) {
			return nil, refusal(secrets.Refused, "lease not found")
		}
		ttl := min(e.ttl, l.issued.Add(e.max).Sub(now))
		l.expires = now.Add(ttl)
		return &secrets.Answer{LeaseID: id, Lease: ttl, Renewable: true}, nil
	case call.Path == "sys/leases/revoke":
		delete(e.leases, call.Body["lease_id"].(string))
		return nil, nil
	case call.Method == http.MethodGet && strings.HasPrefix(call.Path, "database/creds/"):
		e.serial++
		id := fmt.Sprintf("%s/%d", call.Path, e.serial)
		e.leases[id] = &granted{now, now.Add(min(e.ttl, e.max))}
		return &secrets.Answer{
			LeaseID: id, Lease: min(e.ttl, e.max), Renewable: true,
			Data: map[string]any{"username": fmt.Sprintf("user-%d", e.serial), "password": fmt.Sprintf("password-%d", e.serial), "n": json.Number("1")},
		}, nil
	}
	if call.Path == "auth/approle/role/notes/secret-id" { // has an end, and no lease
		e.serial++
		return &secrets.Answer{Data: map[string]any{
			"secret_id": fmt.Sprintf("id-%d", e.serial), "secret_id_ttl": json.Number(fmt.Sprint(e.ttl.Seconds())),
		}}, nil
	}
	return nil, refusal(secrets.Absent, "nothing")
}

// alive are the users whose leases live.
func (e *engine) alive() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	users := []string{}
	for id, l := range e.leases {
		if time.Now().Before(l.expires) {
			users = append(users, "user-"+filepath.Base(id))
		}
	}
	slices.Sort(users)
	return users
}

func (e *engine) called(path string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, call := range e.calls {
		if call == path {
			n++
		}
	}
	return n
}

// database is what two files have of the same credentials.
const database = `{{ with secret "database/creds/notes" }}{{ .Data.username }}{{ end }}`

// bubble renders two files with a fake engine within a synctest bubble.
type bubble struct {
	engine *engine
	app    *app
	file   string
	log    *journal
	s      *secrets.Secrets
	stop   func()
}

func newBubble(t *testing.T, e *engine, change secrets.Action) *bubble {
	t.Helper()
	return newBubbleOf(t, e, change, database)
}

func newBubbleOf(t *testing.T, e *engine, change secrets.Action, template string) *bubble {
	t.Helper()
	dir := memory(t)
	b := &bubble{engine: e, app: &app{}, file: filepath.Join(dir, "a"), log: &journal{}}
	s, err := secrets.New(t.Context(), secrets.Config{
		Vault: e, App: b.app, Log: b.log.logger(), Grace: 10 * time.Second,
		Files: []secrets.File{
			{Path: b.file, Template: template, OnChange: change},
			{Path: filepath.Join(dir, "b"), Template: template + "!", OnChange: change},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.s, b.stop = s, begin(t, s)
	return b
}

// begin runs s until the returned function is called, which has to be before the end of the
// bubble.
func begin(t *testing.T, s *secrets.Secrets) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// pass lets time pass, and everything happen that is due by then.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // in a bubble of synctest
	synctest.Wait()
}

var hup = secrets.Action{Verb: secrets.Signal, Signal: syscall.SIGHUP}

// TestALeaseIsRenewedWhileItCanBe: the application sees nothing of it.
func TestALeaseIsRenewedWhileItCanBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, newEngine(time.Hour, 1000*time.Hour), hup)
		defer b.stop()
		pass(100 * time.Hour)
		if n := b.engine.called("sys/leases/renew"); n < 150 || n > 200 {
			t.Errorf("%d renewals in 100 hours of a lease of one, expected one every half hour to 40 minutes", n)
		}
		if diff := cmp.Diff([]string{"user-1"}, b.engine.alive()); diff != "" {
			t.Error(diff)
		}
		if told := b.app.heard(); len(told) > 0 {
			t.Errorf("the application was told %v", told)
		}
	})
}

// TestALeaseAtItsMaximumIsReplacedBeforeItEnds, and the old credentials live until the
// application has moved, and a grace after that.
func TestALeaseAtItsMaximumIsReplacedBeforeItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, newEngine(time.Minute, 90*time.Second), hup)
		defer b.stop()
		moments := 0
		for range 600 { // at every second of ten minutes
			pass(time.Second)
			user := strings.TrimSuffix(content(t, b.file), "!")
			if !slices.Contains(b.engine.alive(), user) {
				t.Fatalf("the file has %s, and alive are %v", user, b.engine.alive())
			}
			if alive := b.engine.alive(); len(alive) > 2 {
				t.Fatalf("alive are %v", alive)
			} else if len(alive) == 2 {
				moments++
			}
		}
		signals := b.app.count("hangup")
		if signals < 7 || signals > 16 {
			t.Errorf("%d signals in ten minutes, expected one for each lease of at most 90 seconds", signals)
		}
		// Two seconds of debounce and ten of grace.
		if moments < 11*signals || moments > 15*signals {
			t.Errorf("old credentials lived beside the new ones for %d s with %d changes", moments, signals)
		}
		if n := b.engine.called("sys/leases/revoke"); n != signals && n != signals-1 { // the last may still have its grace
			t.Errorf("%d revocations for %d changes", n, signals)
		}
	})
}

// TestOldCredentialsLiveUntilTheApplicationWasTold: what cannot be told is tried again.
func TestOldCredentialsLiveUntilTheApplicationWasTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(time.Hour, 90*time.Minute)
		b := newBubble(t, e, hup)
		defer b.stop()
		b.app.mu.Lock()
		b.app.fail = errors.New("no such process")
		b.app.mu.Unlock()
		for len(e.alive()) < 2 {
			pass(time.Minute)
		}
		pass(10 * time.Minute)
		if diff := cmp.Diff([]string{"user-1", "user-2"}, e.alive()); diff != "" {
			t.Fatal(diff)
		}
		state := b.s.State()
		if state.Pending != 1 || len(state.Faults) != 1 || !strings.Contains(state.Faults[0], "no such process") {
			t.Errorf("state %+v", state)
		}
		if until := time.Until(state.FreshUntil); until > 50*time.Minute {
			t.Errorf("fresh for %s, expected until the end of the credentials that the application has", until)
		}
		b.app.mu.Lock()
		b.app.fail = nil
		b.app.mu.Unlock()
		pass(2 * time.Minute) // the longest delay, its jitter and the grace
		if diff := cmp.Diff([]string{"user-2"}, e.alive()); diff != "" {
			t.Error(diff)
		}
		if faults := b.s.State().Faults; len(faults) > 0 {
			t.Errorf("faults %v", faults)
		}
	})
}

// TestEverythingSurvivesTheAbsenceOfVault as long as leases live, and says until when.
func TestEverythingSurvivesTheAbsenceOfVault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(time.Hour, 100*time.Hour)
		b := newBubble(t, e, hup)
		defer b.stop()
		end := time.Now().Add(time.Hour)
		e.set(func() { e.away = refusal(secrets.Away, "connection refused") })
		pass(59 * time.Minute)
		if state := b.s.State(); !state.Fresh(time.Now()) || !state.FreshUntil.Equal(end) || len(state.Faults) != 1 {
			t.Errorf("state %+v, expected fresh until %s", state, end)
		}
		if n := e.called("sys/leases/renew"); n < 10 || n > 100 {
			t.Errorf("%d attempts in half an hour", n)
		}
		if !strings.Contains(b.log.String(), `"fresh_until":"`+end.UTC().Format(time.RFC3339)) {
			t.Error("the log does not say until when")
		}
		e.set(func() { e.away = nil })
		pass(2 * time.Minute)
		if state := b.s.State(); !state.Fresh(time.Now()) || len(state.Faults) > 0 || len(b.app.heard()) > 0 {
			t.Errorf("after its return: state %+v, told %v", state, b.app.heard())
		}

		e.set(func() { e.away = refusal(secrets.Away, "connection refused") })
		pass(2 * time.Hour)
		if b.s.State().Fresh(time.Now()) {
			t.Error("fresh after the end of the lease")
		}
		e.set(func() { e.away = nil })
		pass(3 * time.Minute)
		if diff := cmp.Diff([]string{"hangup"}, b.app.heard()); diff != "" {
			t.Error(diff)
		}
		if state := b.s.State(); !state.Fresh(time.Now()) || content(t, b.file) != "user-2" {
			t.Errorf("state %+v, file %q", state, content(t, b.file))
		}
	})
}

// TestARevokedLeaseIsReplacedAtOnce when its renewal finds it gone.
func TestARevokedLeaseIsReplacedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(time.Minute, time.Hour)
		b := newBubble(t, e, hup)
		defer b.stop()
		e.set(func() { clear(e.leases) })
		pass(45 * time.Second)
		if diff := cmp.Diff([]string{"hangup"}, b.app.heard()); diff != "" {
			t.Error(diff)
		}
		if content(t, b.file) != "user-2" || e.called("sys/leases/revoke") > 0 {
			t.Errorf("file %q, %d revocations of what is gone", content(t, b.file), e.called("sys/leases/revoke"))
		}
	})
}

// TestAnotherTokenBringsOtherCredentials, as those of the one before end with it.
func TestAnotherTokenBringsOtherCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(time.Hour, 100*time.Hour)
		turned := make(chan struct{})
		e.session = secrets.Session{Since: time.Now(), Expires: time.Now().Add(20 * time.Minute), Turned: turned}
		b := newBubble(t, e, hup)
		defer b.stop()
		pass(time.Minute)
		if until := time.Until(b.s.State().FreshUntil); until != 19*time.Minute {
			t.Errorf("fresh for %s, expected as long as the token lives", until)
		}
		e.set(func() { e.session = secrets.Session{Since: time.Now(), Expires: time.Now().Add(24 * time.Hour)} })
		close(turned)
		pass(5 * time.Second)
		if diff := cmp.Diff([]string{"hangup"}, b.app.heard()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"user-1", "user-2"}, e.alive()); diff != "" {
			t.Error(diff)
		}
		pass(15 * time.Second)
		if diff := cmp.Diff([]string{"user-2"}, e.alive()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestAPolicyWithoutRenewal has credentials replaced before they end.
func TestAPolicyWithoutRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(time.Hour, 100*time.Hour)
		e.denied["sys/leases/renew"], e.denied["sys/leases/revoke"] = true, true
		b := newBubble(t, e, hup)
		defer b.stop()
		pass(50 * time.Minute)
		if diff := cmp.Diff([]string{"hangup"}, b.app.heard()); diff != "" {
			t.Error(diff)
		}
		if !strings.Contains(b.log.String(), `path \"sys/leases/renew\" { capabilities = [\"update\"] }`) {
			t.Error("the log does not say what to grant")
		}
	})
}

// TestWhoIsNotToldKeepsWhatItHas: with the action none nobody knows when the application
// reads its file, so that the old credentials live as long as they can.
func TestWhoIsNotToldKeepsWhatItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(time.Hour, 90*time.Minute)
		b := newBubble(t, e, secrets.Action{})
		defer b.stop()
		for len(e.alive()) < 2 {
			pass(time.Minute)
		}
		pass(5 * time.Minute)
		if diff := cmp.Diff([]string{"user-1", "user-2"}, e.alive()); diff != "" {
			t.Error(diff)
		}
		if !b.s.State().Fresh(time.Now()) {
			t.Error("not fresh")
		}
	})
}

// TestTheEndRevokesEverything and leaves no file; without an application of ours it leaves
// both to whoever goes on.
func TestTheEndRevokesEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(time.Hour, 90*time.Minute)
		b := newBubble(t, e, secrets.Action{})
		for len(e.alive()) < 2 {
			pass(time.Minute)
		}
		b.stop()
		if alive := e.alive(); len(alive) > 0 {
			t.Errorf("alive are %v", alive)
		}
		if _, err := os.Stat(b.file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a file is left, or %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		e, file := newEngine(time.Hour, time.Hour), filepath.Join(memory(t), "a")
		s, err := secrets.New(t.Context(), secrets.Config{Vault: e, Files: []secrets.File{{Path: file, Template: database}}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
		if content(t, file) != "user-1" || len(e.alive()) != 1 {
			t.Errorf("alive are %v", e.alive())
		}
	})
}

// TestTheEndRevokesWhatIsJustGranted: credentials that Vault is about to give when the
// application has ended are not left to live.
func TestTheEndRevokesWhatIsJustGranted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(time.Hour, 90*time.Minute)
		b := newBubble(t, e, hup)
		e.set(func() { e.slow = time.Second })
		for len(e.alive()) < 2 { // the second is granted, and the answer on its way
			pass(100 * time.Millisecond)
		}
		if content(t, b.file) != "user-1" {
			t.Fatal("the answer is there already")
		}
		b.stop()
		if alive := e.alive(); len(alive) > 0 {
			t.Errorf("alive are %v", alive)
		}
	})
}

// TestAStartThatFailsLeavesNothing: no lease and no file, whatever was read before.
func TestAStartThatFailsLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, dir := newEngine(time.Hour, time.Hour), memory(t)
		full := filepath.Join(dir, "folder")
		if err := os.Mkdir(full, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, second := range map[string]secrets.File{
			"a template that fails":     {Path: filepath.Join(dir, "b"), Template: `{{ secret "database/nothing" }}`},
			"a place that is no file's": {Path: full, Template: "x"},
		} {
			_, err := secrets.New(t.Context(), secrets.Config{Vault: e, App: &app{}, Files: []secrets.File{{Path: filepath.Join(dir, "a"), Template: database}, second}})
			if err == nil {
				t.Fatalf("%s: no error", name)
			}
			if alive := e.alive(); len(alive) > 0 {
				t.Errorf("%s: alive are %v", name, alive)
			}
			if _, err := os.Stat(filepath.Join(dir, "a")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s: a file is left, or %v", name, err)
			}
		}
	})
}

// TestAStartWaitsForVault, and not for ever.
func TestAStartWaitsForVault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, file := newEngine(time.Hour, time.Hour), filepath.Join(memory(t), "a")
		e.away = refusal(secrets.Away, "connection refused")
		cfg := secrets.Config{Vault: e, App: &app{}, Files: []secrets.File{{Path: file, Template: database}}, Wait: time.Minute}
		begun := time.Now()
		if _, err := secrets.New(t.Context(), cfg); err == nil || time.Since(begun) != time.Minute {
			t.Errorf("error %v after %s", err, time.Since(begun))
		}
		time.AfterFunc(30*time.Second, func() { e.set(func() { e.away = nil }) })
		s, err := secrets.New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"user-1"}, e.alive()); diff != "" {
			t.Error(diff)
		}
		s.Close(t.Context())
	})
}

// TestAStartThatIsStoppedSaysSo: that Vault was away is not what ended it.
func TestAStartThatIsStoppedSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(time.Hour, time.Hour)
		e.away = refusal(secrets.Away, "connection refused")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(30*time.Second, cancel)
		_, err := secrets.New(ctx, secrets.Config{Vault: e, Files: []secrets.File{{Path: filepath.Join(memory(t), "a"), Template: database}}})
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("error %v, expected both", err)
		}
	})
}

// TestARestartTellsOfEverything that changed with it: no signal follows.
func TestARestartTellsOfEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, dir, told := newEngine(time.Hour, 90*time.Minute), memory(t), &app{}
		s, err := secrets.New(t.Context(), secrets.Config{
			Vault: e, App: told, Env: map[string]string{"DB_USER": database},
			Files: []secrets.File{
				{Path: filepath.Join(dir, "a"), Template: database, OnChange: hup},
				{Path: filepath.Join(dir, "b"), Template: database},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = s.Run(ctx) }()
		for len(e.alive()) < 2 {
			pass(time.Second)
		}
		pass(time.Minute)
		if diff := cmp.Diff([]string{"restart "}, told.heard()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"DB_USER=user-2"}, told.env); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"user-2"}, e.alive()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(map[secrets.Verb]int{secrets.Restart: 1}, maps.Clone(s.State().Actions)); diff != "" {
			t.Error(diff)
		}
	})
}

// TestATokenThatIsReplacedMeanwhileIsNoticed: Vault may be slow to answer, and the session have
// another token before it does.
func TestATokenThatIsReplacedMeanwhileIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(time.Hour, 100*time.Hour)
		turned := make(chan struct{})
		e.session.Turned = turned
		dir := memory(t)
		var replaced atomic.Bool
		vault := oracle{session: e.Session, do: func(ctx context.Context, call secrets.Call) (*secrets.Answer, error) {
			answer, err := e.Do(ctx, call)
			if call.Path == "sys/leases/renew" && !replaced.Swap(true) {
				e.set(func() { e.session = secrets.Session{Since: time.Now(), Turned: make(chan struct{})} })
				close(turned)
			}
			return answer, err
		}}
		s, err := secrets.New(t.Context(), secrets.Config{Vault: vault, App: &app{}, Files: []secrets.File{{Path: filepath.Join(dir, "a"), Template: database}}})
		if err != nil {
			t.Fatal(err)
		}
		stop := begin(t, s)
		defer stop()
		for !replaced.Load() {
			pass(time.Second)
		}
		pass(time.Second)
		if diff := cmp.Diff("user-2", content(t, filepath.Join(dir, "a"))); diff != "" {
			t.Error(diff)
		}
	})
}

// TestARevocationThatHangsHoldsUpNoRenewal: a database that does not answer has Vault wait for
// it, once for each of its leases.
func TestARevocationThatHangsHoldsUpNoRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, dir := newEngine(10*time.Minute, 15*time.Minute), memory(t)
		vault := oracle{session: e.Session, do: func(ctx context.Context, call secrets.Call) (*secrets.Answer, error) {
			if call.Path == "sys/leases/revoke" {
				<-ctx.Done()
				return nil, refusal(secrets.Away, "no answer")
			}
			return e.Do(ctx, call)
		}}
		cfg := secrets.Config{Vault: vault, App: &app{}, Grace: time.Second}
		for n := range 30 {
			template := fmt.Sprintf(`{{ with secret "database/creds/%d" }}{{ .Data.username }}{{ end }}`, n)
			cfg.Files = append(cfg.Files, secrets.File{Path: filepath.Join(dir, strconv.Itoa(n)), Template: template, OnChange: hup})
		}
		s, err := secrets.New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		stop := begin(t, s)
		defer stop()
		for range 180 { // at every ten seconds of half an hour
			pass(10 * time.Second)
			for _, file := range cfg.Files {
				if user := content(t, file.Path); !slices.Contains(e.alive(), user) {
					t.Fatalf("the file has %s, and alive are %v", user, e.alive())
				}
			}
		}
	})
}

// TestASecretThatComesWithALeaseNowHasItKept, though it is the same as before.
func TestASecretThatComesWithALeaseNowHasItKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(time.Hour, 100*time.Hour)
		var leased atomic.Bool
		vault := oracle{session: e.Session, do: func(ctx context.Context, call secrets.Call) (*secrets.Answer, error) {
			answer, err := e.Do(ctx, call)
			if strings.HasPrefix(call.Path, "database/creds/") {
				answer.Data = map[string]any{"username": "user"}
				if !leased.Swap(true) {
					answer.LeaseID = ""
				}
			}
			return answer, err
		}}
		s, err := secrets.New(t.Context(), secrets.Config{Vault: vault, App: &app{}, Files: []secrets.File{{Path: filepath.Join(memory(t), "a"), Template: database}}})
		if err != nil {
			t.Fatal(err)
		}
		stop := begin(t, s)
		defer stop()
		pass(2 * time.Minute)
		if leases := s.State().Leases; leases != 1 {
			t.Errorf("%d leases are kept", leases)
		}
	})
}
