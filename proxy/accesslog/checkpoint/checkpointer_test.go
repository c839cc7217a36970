package checkpoint_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/verify"
	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

const signerName = "transit/transit/log"

// fakeVault signs and has a board, unless it is away.
type fakeVault struct {
	mu      sync.Mutex
	key     ed25519.PrivateKey
	version int
	away    bool
	slow    time.Duration
	board   map[string][]version // all that was written at a name
	gets    int
}

// version is something that was written on the board.
type version struct {
	fields  map[string]string
	written time.Time
}

func (v version) entry() checkpoint.Entry {
	return checkpoint.Entry{Field: func(name string) string { return v.fields[name] }, Written: v.written}
}

func newVault() *fakeVault {
	_, key, _ := ed25519.GenerateKey(nil)
	return &fakeVault{key: key, version: 1, board: map[string][]version{}}
}

var errAway = errors.New("vault is away")

func (v *fakeVault) call(ctx context.Context) error {
	v.mu.Lock()
	slow, away := v.slow, v.away
	v.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(slow):
	}
	if away {
		return errAway
	}
	return nil
}

func (v *fakeVault) Sign(ctx context.Context, message func(string) []byte) (string, []byte, error) {
	if err := v.call(ctx); err != nil {
		return "", nil, err
	}
	id := checkpoint.KeyID("transit", "log", v.version)
	return id, ed25519.Sign(v.key, message(id)), nil
}

func (v *fakeVault) Put(ctx context.Context, name string, fields map[string]string) (taken bool, err error) {
	if err := v.call(ctx); err != nil {
		return false, err
	}
	v.put(name, fields)
	return false, nil
}

// put writes whatever somebody likes.
func (v *fakeVault) put(name string, fields map[string]string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.board[name] = append(v.board[name], version{fields, time.Now()})
}

func (v *fakeVault) Names(ctx context.Context) ([]string, error) {
	if err := v.call(ctx); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Sorted(maps.Keys(v.board)), nil
}

func (v *fakeVault) Get(ctx context.Context, name string) (checkpoint.Entry, error) {
	all, err := v.Versions(ctx, name)
	if err != nil {
		return checkpoint.Entry{}, err
	}
	return all[len(all)-1], nil
}

func (v *fakeVault) Versions(ctx context.Context, name string) (all []checkpoint.Entry, err error) {
	if err := v.call(ctx); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.gets++
	for _, version := range v.board[name] {
		all = append(all, version.entry())
	}
	if len(all) == 0 {
		return nil, errors.New("no such secret")
	}
	return all, nil
}

func (v *fakeVault) publicKeys(ctx context.Context) (checkpoint.Keys, error) {
	return v.keys(), v.call(ctx)
}

func (v *fakeVault) set(away bool, slow time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.away, v.slow = away, slow
}

func (v *fakeVault) keys() checkpoint.Keys {
	return checkpoint.Keys{signerName + "/v1": v.key.Public()}
}

// pass lets time pass, within synctest, and what is to happen then happen.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// heads is an access log as a Checkpointer sees it.
type heads struct{ *accesslog.Log }

func (h heads) Head() (checkpoint.Head, bool) {
	head := h.Log.Head()
	parsed, err := checkpoint.HeadOf(head.Instance, head.Sequence, head.Hash)
	return parsed, err == nil
}

// replica is a log that has its checkpoints made.
type replica struct {
	out   output
	maker *checkpoint.Checkpointer
	log   heads
	vault checkpoint.Vault
	stop  func()
}

func start(t *testing.T, v *fakeVault, cfg checkpoint.Config) *replica {
	t.Helper()
	return startWith(t, v, cfg, v.publicKeys)
}

func startWith(t *testing.T, v *fakeVault, cfg checkpoint.Config, keys func(context.Context) (checkpoint.Keys, error)) *replica {
	t.Helper()
	cfg.SignerName = signerName
	maker, err := checkpoint.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{maker: maker, vault: checkpoint.Vault{Signer: v, Board: v, Keys: keys}}
	r.log = heads{accesslog.Prepare(accesslog.Config{
		Service: "gateway", Sinks: []accesslog.Sink{accesslog.NewOutput("output", &r.out)}, Start: maker.AppendStart,
	})}
	r.log.Begin()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := maker.Run(ctx, r.vault, r.log); err != nil {
			t.Error(err)
		}
	}()
	r.stop = func() {
		cancel()
		<-done
	}
	return r
}

// end ends a replica in good order.
func (r *replica) end(t *testing.T) {
	t.Helper()
	r.stop()
	if err := r.log.Close(t.Context()); err != nil {
		t.Error(err)
	}
	r.maker.Final(t.Context(), r.vault, r.log)
}

func (r *replica) write(n int) {
	for range n {
		_ = r.log.Write(&accesslog.Record{Time: time.Now(), Action: accesslog.ActionAccess}) // verified later
	}
	synctest.Wait()
}

// output is what a log has written, which others read meanwhile.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// Bytes is a copy of all of it.
func (o *output) Bytes() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.text.Bytes())
}

// set puts something else in its place.
func (o *output) set(text []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Reset()
	o.text.Write(text)
}

// checkpoints are those in a log: who signed, and about which record.
func (r *replica) checkpoints(t *testing.T) (all []*checkpoint.Checkpoint) {
	t.Helper()
	for line := range strings.Lines(string(r.out.Bytes())) {
		record, kind := logfile.Parse([]byte(strings.TrimSuffix(line, "\n")))
		if object := record.Member(checkpoint.Member); kind == logfile.Sealed && object != nil {
			c, err := checkpoint.Parse(object)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, c)
		}
	}
	return all
}

func verified(t *testing.T, v *fakeVault, replicas ...*replica) *verify.Report {
	t.Helper()
	var text bytes.Buffer
	for _, r := range replicas {
		text.Write(r.out.Bytes())
	}
	published, faults, err := checkpoint.Published(t.Context(), v)
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	report, err := verify.Verify(t.Context(), verify.Config{Files: []string{"-"}, Input: &text, Keys: v.keys(), Published: published})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestCheckpointsComeAsPromised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault()
		r := start(t, v, checkpoint.Config{Every: time.Minute, Records: 100})
		pass(2 * time.Second)
		if got := r.checkpoints(t); len(got) != 1 || got[0].Sequence != 1 {
			t.Fatalf("at the start: %v", got)
		}
		pass(time.Hour)
		if got := r.checkpoints(t); len(got) != 1 {
			t.Errorf("while nothing happens: %d checkpoints", len(got))
		}
		r.write(1)
		pass(time.Minute - 5*time.Second)
		if got := r.checkpoints(t); len(got) != 1 {
			t.Errorf("before it is time: %d checkpoints", len(got))
		}
		pass(10 * time.Second)
		if got := r.checkpoints(t); len(got) != 2 || got[1].Sequence != 3 {
			t.Errorf("after a minute: %v", got)
		}
		r.write(100)
		pass(2 * time.Second)
		if got := r.checkpoints(t); len(got) != 3 {
			t.Errorf("after many records: %d checkpoints", len(got))
		}
		if s := r.maker.Status(); s.Vault != 3 || s.Own != 0 || s.Covered != 104 || s.Err != nil {
			t.Errorf("status: %+v", s)
		}
		r.end(t)
		report := verified(t, v, r)
		if !report.Whole() || report.Instances[0].Uncovered != 0 || !report.Instances[0].Ended {
			t.Errorf("report: %+v", report)
		}
	})
}

func TestTheInstanceSignsWhileVaultIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault()
		r := start(t, v, checkpoint.Config{})
		pass(2 * time.Second)
		for name, set := range map[string]func(){"refuses": func() { v.set(true, 0) }, "does not answer": func() { v.set(false, time.Hour) }} {
			v.set(false, 0)
			before := len(r.checkpoints(t))
			set()
			r.write(10)
			pass(2 * time.Minute)
			got := r.checkpoints(t)[before:]
			if len(got) != 1 || got[0].Key != checkpoint.InstanceKey {
				t.Fatalf("vault %s: %v", name, got)
			}
			if s := r.maker.Status(); s.Err == nil || s.Failures == 0 {
				t.Errorf("vault %s: status %+v", name, s)
			}
			v.set(false, 0)
			pass(2 * time.Minute)
			if got := r.checkpoints(t)[before:]; len(got) != 2 || got[1].Key != signerName+"/v1" || got[1].Sequence <= got[0].Sequence {
				t.Errorf("when it is back, without another record: %v", got)
			}
		}
		r.end(t)
		if report := verified(t, v, r); !report.Whole() || report.Instances[0].OwnCheckpoints != 2 {
			t.Errorf("report: %+v", report)
		}
	})
}

func TestReplicasVouchForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault()
		a, b := start(t, v, checkpoint.Config{}), start(t, v, checkpoint.Config{})
		for range 5 {
			a.write(3)
			b.write(3)
			pass(2 * time.Minute)
		}
		a.end(t)
		b.write(1)
		pass(2 * time.Minute)
		b.write(1)
		pass(2 * time.Minute)
		v.mu.Lock()
		before := v.gets
		v.mu.Unlock()
		b.write(1)
		pass(2 * time.Minute)
		v.mu.Lock()
		if v.gets != before {
			t.Error("an instance that has ended is looked at again and again")
		}
		v.mu.Unlock()
		b.end(t)
		if report := verified(t, v, a, b); !report.Whole() {
			t.Errorf("both: %v", report.Findings)
		}
		for _, c := range b.checkpoints(t)[2:] {
			if len(c.Others) != 1 || c.Others[0].Instance != a.checkpoints(t)[0].Instance {
				t.Errorf("b's checkpoint names %v", c.Others)
			}
		}
		// a's log is cut behind its second record.
		lines := bytes.SplitAfter(a.out.Bytes(), []byte("\n"))
		a.out.set(bytes.Join(lines[:2], nil))
		v.board = map[string][]version{} // and what was published is gone
		if report := verified(t, v, a, b); report.FindingCount != 1 || report.Findings[0].Kind != verify.Truncated {
			t.Errorf("cut: %v", report.Findings)
		}
		if report := verified(t, v, b); report.FindingCount != 1 || report.Findings[0].Kind != verify.MissingInstance {
			t.Errorf("gone: %v", report.Findings)
		}
	})
}

func TestTheBoardHasWhateverSomebodyWroteThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault()
		v.put("abc", map[string]string{"checkpoint": "{}"})
		v.put("aaaaaaaaaaaaaaaaaaaaaaaaaa", map[string]string{})
		r := start(t, v, checkpoint.Config{})
		pass(2 * time.Second)
		r.write(1)
		pass(2 * time.Minute)
		if got := r.checkpoints(t); len(got) != 2 || len(got[1].Others) != 0 {
			t.Errorf("checkpoints: %v", got)
		}
		r.end(t)
		all, faults, err := checkpoint.Published(t.Context(), v)
		if err != nil || len(all) != 3 || len(faults) != 2 {
			t.Errorf("published: %v, %v, %v", all, faults, err)
		}
	})
}

// publish puts a checkpoint of another instance on the board, signed by whom one likes.
func (v *fakeVault) publish(t *testing.T, n int, sequence uint64, key ed25519.PrivateKey, ended bool) {
	t.Helper()
	head, err := checkpoint.HeadOf(instanceOf(n), sequence, strings.Repeat("A", 43))
	if err != nil {
		t.Fatal(err)
	}
	c := &checkpoint.Checkpoint{Head: head, Time: time.Now().UTC().Truncate(time.Microsecond), Key: signerName + "/v1"}
	c.Signature = ed25519.Sign(key, c.Message())
	if _, err := checkpoint.Publish(t.Context(), v, c, ended); err != nil {
		t.Fatal(err)
	}
}

// named are the others that the latest checkpoint names.
func (r *replica) named(t *testing.T) (names []string) {
	t.Helper()
	all := r.checkpoints(t)
	for _, other := range all[len(all)-1].Others {
		names = append(names, other.Instance.String())
	}
	return names
}

// TestNobodyIsCrowdedOut: of many that run, those that are known for longest are named, and
// those that have ended come last.
func TestNobodyIsCrowdedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault()
		const running = 40
		for n := range running {
			v.publish(t, n, 1, v.key, false)
		}
		r := start(t, v, checkpoint.Config{})
		pass(2 * time.Second)
		for n := range 300 { // newer ones
			v.publish(t, running+n, 1, v.key, n%3 == 0)
		}
		for range 4 {
			r.write(1)
			pass(2 * time.Minute)
		}
		names := r.named(t)
		if len(names) != checkpoint.MaxOthers {
			t.Fatalf("%d others are named", len(names))
		}
		for n := range running {
			if !slices.Contains(names, instanceOf(n)) {
				t.Errorf("instance %d, which was there first, is not named", n)
			}
		}
		r.end(t)
	})
}

// TestInventedInstancesAreNotNamed: what nobody has signed with a key of Vault's counts for
// nothing, and is told of.
func TestInventedInstancesAreNotNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault()
		var told bytes.Buffer
		r := start(t, v, checkpoint.Config{Log: slog.New(slog.NewTextHandler(&told, nil))})
		_, mallory, _ := ed25519.GenerateKey(nil)
		for n := range checkpoint.MaxOthers {
			v.publish(t, n, 1, mallory, false)
		}
		v.publish(t, 99, 1, v.key, false)
		for range 2 {
			r.write(1)
			pass(2 * time.Minute)
		}
		r.end(t)
		if names := r.named(t); !slices.Equal(names, []string{instanceOf(99)}) {
			t.Errorf("named: %v", names)
		}
		if n := strings.Count(told.String(), "event=checkpoint_forged"); n != 10 {
			t.Errorf("told %d times:\n%s", n, &told)
		}
	})
}

// TestACheckpointIsNotReplacedByAnOlderOne: neither for the others, nor for who verifies.
func TestACheckpointIsNotReplacedByAnOlderOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault()
		r := start(t, v, checkpoint.Config{})
		pass(2 * time.Second)
		v.publish(t, 1, 5, v.key, false)
		old := v.board[instanceOf(1)][0]
		pass(time.Hour)
		v.publish(t, 1, 9, v.key, false)
		r.write(1)
		pass(2 * time.Minute)
		v.put(instanceOf(1), old.fields)
		for range 2 {
			r.write(1)
			pass(2 * time.Minute)
		}
		all := r.checkpoints(t)
		if others := all[len(all)-1].Others; len(others) != 1 || others[0].Sequence != 9 {
			t.Errorf("named: %v", others)
		}
		r.end(t)
		published, faults, err := checkpoint.Published(t.Context(), v)
		if err != nil || len(faults) != 1 || !errors.Is(faults[0], checkpoint.ErrReplaced) || len(published) < 3 {
			t.Errorf("published: %d, %v, %v", len(published), faults, err)
		}
		v.board[instanceOf(1)] = v.board[instanceOf(1)][2:] // what was before is not kept
		if _, faults, _ := checkpoint.Published(t.Context(), v); len(faults) != 1 || !errors.Is(faults[0], checkpoint.ErrReplaced) {
			t.Errorf("an old one by itself: %v", faults)
		}
	})
}

// TestWithoutKeysNobodyIsNamed, until they can be read.
func TestWithoutKeysNobodyIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault()
		v.publish(t, 1, 1, v.key, false)
		var told bytes.Buffer
		denied := true
		r := startWith(t, v, checkpoint.Config{Log: slog.New(slog.NewTextHandler(&told, nil))}, func(ctx context.Context) (checkpoint.Keys, error) {
			if denied {
				return nil, errAway
			}
			return v.keys(), v.call(ctx)
		})
		look := func() []string {
			for range 2 {
				r.write(1)
				pass(2 * time.Minute)
			}
			return r.named(t)
		}
		if names := look(); len(names) > 0 {
			t.Errorf("named: %v", names)
		}
		denied = false
		if names := look(); len(names) != 1 {
			t.Errorf("named once there are keys: %v", names)
		}
		r.end(t)
		if n := strings.Count(told.String(), "public keys of checkpoints cannot be read"); n != 1 {
			t.Errorf("told %d times:\n%s", n, &told)
		}
	})
}

// instanceOf is the nth of some ids.
func instanceOf(n int) string {
	id := []byte(strings.Repeat("a", 26))
	for at := range 4 {
		id[at] = 'a' + byte(n%26)
		n /= 26
	}
	return string(id)
}

func TestACheckpointerNeedsAKeyAndTime(t *testing.T) {
	for _, cfg := range []checkpoint.Config{{}, {SignerName: `a"b`}, {SignerName: signerName, Every: time.Millisecond}, {SignerName: signerName, Every: -time.Hour}} {
		if _, err := checkpoint.New(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}
