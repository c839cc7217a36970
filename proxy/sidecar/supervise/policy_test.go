package supervise

import (
	"testing"
	"time"
)

// TestBackoff doubles up to the most, and spreads.
func TestBackoff(t *testing.T) {
	b := Backoff{First: time.Second, Most: 10 * time.Second}
	for before, seconds := range []int{1, 2, 4, 8, 10, 10, 10} {
		most := time.Duration(seconds) * time.Second
		least := most / 2
		seen := map[time.Duration]bool{}
		for range 100 {
			wait := b.wait(before)
			if wait < least || wait > most {
				t.Errorf("after %d ends: %s, expected %s to %s", before, wait, least, most)
			}
			seen[wait] = true
		}
		if len(seen) < 10 {
			t.Errorf("after %d ends it is always the same", before)
		}
	}
	if wait := b.wait(1 << 20); wait > b.Most {
		t.Errorf("after very many ends: %s", wait)
	}
	if got, want := (Backoff{}).complete(), (Backoff{time.Second, time.Minute}); got != want {
		t.Errorf("default %v", got)
	}
	if got := (Backoff{First: time.Hour}).complete(); got.Most != time.Hour {
		t.Errorf("the most is %s", got.Most)
	}
}

// TestStartsAreForgotten counts those of the window alone.
func TestStartsAreForgotten(t *testing.T) {
	var h history
	began := time.Unix(1000, 0)
	for i := range 5 {
		h.note(began.Add(time.Duration(i) * time.Minute))
	}
	for after, want := range map[time.Duration]int{5 * time.Minute: 5, LimitWindow: 4, LimitWindow + 3*time.Minute: 1, time.Hour: 0} {
		copied := history{starts: h.starts}
		if got := copied.recent(began.Add(after)); got != want {
			t.Errorf("%d starts are counted after %s, expected %d", got, after, want)
		}
	}
}
