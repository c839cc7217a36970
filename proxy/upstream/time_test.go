package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/upstream"
)

var errDown = errors.New("connection refused")

// stage is a Pool whose upstreams answer as a test says, and what it logs.
type stage struct {
	*upstream.Pool
	mu   sync.Mutex
	down map[string]error // by address; nil answers
	bad  map[string]int   // status, and a fault of the sidecar if it is 502
	came []string         // upstreams that were asked
	log  bytes.Buffer
	cfg  upstream.Config
}

func newStage(t *testing.T, o upstream.Options, addresses ...string) *stage {
	t.Helper()
	s := &stage{down: map[string]error{}, bad: map[string]int{}}
	s.cfg = upstream.Config{
		Route: "tool", Host: "tool.example.test", TLS: newAuthority(t).dial(), Options: o, Session: sessionOf,
		Log: slog.New(slog.NewTextHandler(&s.log, nil)),
	}
	for _, address := range addresses {
		s.cfg.Upstreams = append(s.cfg.Upstreams, &url.URL{Scheme: "https", Host: address})
	}
	s.Pool = s.again(t, nil)
	upstream.WithStandIns(s.Pool, s.answer)
	return s
}

// again makes a Pool of the same configuration.
func (s *stage) again(t *testing.T, change func(*upstream.Config)) *upstream.Pool {
	t.Helper()
	cfg := s.cfg
	if change != nil {
		change(&cfg)
	}
	p, err := upstream.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (s *stage) answer(address string, r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.came = append(s.came, address)
	if err := s.down[address]; err != nil {
		return nil, upstream.Refused(address, err)
	}
	res := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(address)), Request: r}
	if status := s.bad[address]; status != 0 {
		res.StatusCode = status
		if status == http.StatusBadGateway {
			res.Header.Set("X-Sallyport-Fault", "app_unreachable")
		}
	}
	return res, nil
}

func (s *stage) set(address string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down[address] = err
}

func (s *stage) spoil(address string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bad[address] = status
}

// asked are the upstreams that were asked since the last call.
func (s *stage) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	came := s.came
	s.came = nil
	return came
}

func count(all []string, address string) (n int) {
	for _, one := range all {
		if one == address {
			n++
		}
	}
	return n
}

func (s *stage) get(t *testing.T) (string, error) {
	t.Helper()
	_, body, err := ask(s.Pool, request(t.Context(), http.MethodGet, ""))
	return body, err
}

func TestPausesGrowAndOneRequestTriesWhenTheyAreOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, upstream.Options{}, "one:1", "two:1")
		s.set("one:1", errDown)
		var tries []time.Duration // when one was asked
		begin := time.Now()
		for time.Since(begin) < 4*time.Minute {
			for range 4 { // many at once: one of them at most goes to see
				if body, err := s.get(t); err != nil || body != "two:1" {
					t.Fatalf("answer %q, %v", body, err)
				}
			}
			switch n := count(s.asked(), "one:1"); n {
			case 0:
			case 1:
				tries = append(tries, time.Since(begin))
			default:
				t.Fatalf("%d of four requests went to see", n)
			}
			time.Sleep(100 * time.Millisecond) //nolint:forbidigo // the bubble's time
		}
		for i, want := range []float64{1, 2, 4, 8, 16, 30, 30, 30} {
			if got := tries[i+1] - tries[i]; got.Round(time.Second).Seconds() != want {
				t.Errorf("pause %d is %s, want %gs", i+1, got, want)
			}
		}
		s.set("one:1", nil)
		time.Sleep(31 * time.Second) //nolint:forbidigo // the bubble's time
		for range 10 {
			if _, err := s.get(t); err != nil {
				t.Fatal(err)
			}
		}
		if n := count(s.asked(), "one:1"); n != 5 {
			t.Errorf("back again it has %d of 10 requests, want 5", n)
		}
		if got := lines(&s.log); len(got) != 2 || !strings.Contains(got[0], "put aside") || !strings.Contains(got[1], "answers again") || !strings.Contains(got[0], errDown.Error()) {
			t.Errorf("an outage is two lines, got %q", got)
		}
	})
}

func lines(b *bytes.Buffer) []string {
	text := strings.TrimSpace(b.String())
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func TestLastUpstreamIsAskedWhateverIsThoughtOfIt(t *testing.T) {
	for _, addresses := range [][]string{{"one:1"}, {"one:1", "two:1"}} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, upstream.Options{}, addresses...)
			for _, address := range addresses {
				s.set(address, errDown)
			}
			for range 20 {
				if _, err := s.get(t); !errors.Is(err, errDown) {
					t.Fatalf("error %v, want that of an attempt", err)
				}
			}
			if n := len(s.asked()); n != 20*len(addresses) {
				t.Errorf("20 requests were sent %d times over %d upstreams", n, len(addresses))
			}
			s.set("one:1", nil)
			if body, err := s.get(t); err != nil || body != "one:1" {
				t.Errorf("the first answer: %q, %v", body, err)
			}
			if !s.Status()[0].Healthy {
				t.Errorf("%+v after an answer", s.Status()[0])
			}
		})
	}
}

// One request that makes an application fall over is not an outage; three in a row
// are.
func TestFaultsInARowPutAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, upstream.Options{}, "one:1", "two:1")
		healthy := func() bool { return s.Status()[0].Healthy }
		post := func() {
			_, _, _ = ask(s.Pool, request(t.Context(), http.MethodPost, "x"))
		}
		s.spoil("one:1", http.StatusBadGateway)
		for count(s.asked(), "one:1") == 0 {
			post()
		}
		if !healthy() {
			t.Error("put aside after one fault")
		}
		s.spoil("one:1", 0)
		for count(s.asked(), "one:1") == 0 {
			post()
		}
		s.spoil("one:1", http.StatusBadGateway)
		for range 4 {
			post()
		}
		if n := count(s.asked(), "one:1"); n != 2 || !healthy() {
			t.Errorf("after an answer and %d faults it is healthy: %t", n, healthy())
		}
		for range 2 {
			post()
		}
		if healthy() {
			t.Error("not put aside after three faults in a row")
		}
		s.spoil("one:1", http.StatusInternalServerError) // the application's own error is an answer
		time.Sleep(2 * time.Second)                      //nolint:forbidigo // the bubble's time
		post()
		post()
		if !healthy() {
			t.Error("an answer of the application does not count")
		}
	})
}

func TestProbesLeaveOutAndTakeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, upstream.Options{
			Health: upstream.Health{Path: "/healthz", Interval: 10 * time.Second, Timeout: 2 * time.Second, Unhealthy: 3, Healthy: 2},
		}, "one:1", "two:1")
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { s.Run(ctx); close(ended) }()
		step := func(rounds int) {
			time.Sleep(time.Duration(rounds) * 10 * time.Second) //nolint:forbidigo // the bubble's time
			synctest.Wait()
		}
		synctest.Wait()
		if diff := cmp.Diff(2, len(s.asked())); diff != "" {
			t.Errorf("probes at the start (-want +got):\n%s", diff)
		}
		for _, test := range []struct {
			name    string
			status  int
			err     error
			rounds  int
			healthy bool
		}{
			{"answers below 500", http.StatusNotFound, nil, 5, true},
			{"two failures", http.StatusServiceUnavailable, nil, 2, true},
			{"a third", http.StatusServiceUnavailable, nil, 1, false},
			{"one success", 0, nil, 1, false},
			{"a failure in between", http.StatusInternalServerError, nil, 1, false},
			{"one success again", 0, nil, 1, false},
			{"two", 0, nil, 1, true},
			{"faults of the sidecar", http.StatusBadGateway, nil, 3, false},
			{"answers again", 0, nil, 2, true},
			{"nobody there", 0, errDown, 3, false},
			{"somebody there", 0, nil, 2, true},
		} {
			s.spoil("one:1", test.status)
			s.set("one:1", test.err)
			step(test.rounds)
			if got := s.Status()[0].Healthy; got != test.healthy {
				t.Errorf("%s: healthy is %t", test.name, got)
			}
			s.asked()
			for range 10 {
				if body, err := s.get(t); err != nil || !test.healthy && body != "two:1" {
					t.Errorf("%s: answer %q, %v", test.name, body, err)
				}
			}
			if n := count(s.asked(), "one:1"); (n > 0) != test.healthy {
				t.Errorf("%s: it has %d of 10 requests", test.name, n)
			}
		}
		stop()
		<-ended
		if got := len(lines(&s.log)); got != 6 {
			t.Errorf("three outages are six lines, got %d:\n%s", got, s.log.String())
		}
	})
}

// What is known of an upstream outlives a change of the configuration that does
// not concern it; nothing is probed anew at once.
func TestPoolThatTakesOverKnowsWhatWasKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		health := upstream.Health{Path: "/", Interval: 10 * time.Second, Timeout: time.Second, Unhealthy: 1, Healthy: 1}
		s := newStage(t, upstream.Options{Health: health}, "one:1", "two:1")
		s.set("one:1", errDown)
		ctx, stop := context.WithCancel(t.Context())
		go s.Run(ctx)
		synctest.Wait()
		stop()
		synctest.Wait()
		s.asked()
		next := s.again(t, func(c *upstream.Config) {
			c.Upstreams = append(c.Upstreams[1:2:2], c.Upstreams[0])
			c.Sticky, c.Host = true, "other.example.test"
		})
		next.TakeOver(s.Pool)
		s.Retire()
		if status := next.Status(); !status[0].Healthy || status[1].Healthy {
			t.Errorf("after taking over: %+v", status)
		}
		ctx, stop = context.WithCancel(t.Context())
		go next.Run(ctx)
		synctest.Wait()
		if came := s.asked(); len(came) != 0 {
			t.Errorf("probed again at once: %v", came)
		}
		time.Sleep(10 * time.Second) //nolint:forbidigo // the bubble's time
		synctest.Wait()
		if came := s.asked(); len(came) != 2 {
			t.Errorf("probes after an interval: %v", came)
		}
		stop()
		synctest.Wait()
		// Without probes, their verdict does not hold either.
		off := s.again(t, func(c *upstream.Config) { c.Health = upstream.Health{} })
		off.TakeOver(next)
		off.Run(t.Context()) // ends by itself
		if status := off.Status(); !status[0].Healthy {
			t.Errorf("left out by probes that are off: %+v", status)
		}
		// Another way is another member.
		other := s.again(t, func(c *upstream.Config) { c.Protocol = upstream.HTTP2 })
		other.TakeOver(next)
		if status := other.Status(); !status[0].Healthy || status[0].Faults != 0 {
			t.Errorf("taken over although it is reached otherwise: %+v", status)
		}
	})
}
