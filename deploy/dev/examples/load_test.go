package examples

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// clients is how many people write and read at a time.
const clients = 4

// load is people who use the notes, each with pauses, until they are stopped.
type load struct {
	stop    context.CancelFunc
	ended   sync.WaitGroup
	mu      sync.Mutex
	written int      // notes that were accepted
	read    int      // pages that were shown
	failed  []string // everything that was not as it should be
}

// apply begins it.
func apply(t *testing.T, s *sidecar) *load {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &load{stop: stop}
	client := s.gateway(t)
	for i := range clients {
		user := fmt.Sprintf("user-%d@example.com", i)
		l.ended.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				l.exchange(t, client, "https://"+s.address, user, n)
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
	t.Cleanup(func() { l.end() })
	return l
}

// end lets everybody finish, and says what came of it.
func (l *load) end() (written, read int, failed []string) {
	l.stop()
	l.ended.Wait()
	return l.written, l.read, l.failed
}

// exchange writes a note, or reads the page. A request that has begun is not cut off.
func (l *load) exchange(t *testing.T, client *http.Client, base, user string, n int) {
	ctx := context.WithoutCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/", nil)
	want := http.StatusOK
	if n%2 == 0 {
		form := url.Values{"text": {fmt.Sprintf("note %d", n)}}
		req, err = http.NewRequestWithContext(ctx, http.MethodPost, base+"/notes", strings.NewReader(form.Encode()))
		want = http.StatusSeeOther
	}
	if err != nil {
		l.note(false, err.Error())
		return
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("X-Forwarded-User", user)
	res, err := client.Do(req)
	if err != nil {
		l.note(false, err.Error())
		return
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != want {
		l.note(false, fmt.Sprintf("%s %s: status %d, %v: %.200q", req.Method, req.URL.Path, res.StatusCode, err, body))
		return
	}
	l.note(req.Method == http.MethodPost, "")
}

func (l *load) note(written bool, fault string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case fault != "":
		l.failed = append(l.failed, time.Now().Format(time.StampMilli)+" "+fault)
	case written:
		l.written++
	default:
		l.read++
	}
}
