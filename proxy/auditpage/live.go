package auditpage

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// liveRows is how many records the live page begins with, and how many it is sent at
// once: of more, the latest, and how many others there were.
const liveRows = 30

const (
	// liveEvery is how often a page is told of new records at most, and liveBeat how often
	// it hears that there are none.
	liveEvery = 250 * time.Millisecond
	liveBeat  = 15 * time.Second
	// livePerPerson and liveInAll are how many pages may be told at once.
	livePerPerson = 4
	liveInAll     = 64
)

// live is the page that shows records as they are written.
type live struct {
	Form    form
	Chips   []chip
	Rows    []row
	Events  string // where the page is told of others
	Extent  Extent
	Refresh int // after how many seconds a browser without scripts looks again
	Most    int // rows that stay on the page
}

// liveRefresh is after how many seconds a browser without scripts looks again.
const liveRefresh = 10

// live fills that page. Visits of auditors are no news there, unless they are asked for:
// a page that looks again by itself would have itself to tell of.
func (v *visit) live(ctx context.Context) (title string, data any, err error) {
	out := live{Form: v.form(ctx), Chips: v.chips(), Refresh: liveRefresh, Most: 200}
	if out.Extent, err = v.page.cfg.Recent.Extent(ctx); err != nil {
		return "", nil, err
	}
	if len(v.asked.faults) > 0 {
		return "Live", out, nil
	}
	newest, _ := v.page.cfg.Recent.Newest()
	out.Events = v.page.address(pathEvents, v.asked.with(paramAfter, strconv.FormatUint(newest, 10)))
	found, _, err := v.page.cfg.Recent.Find(ctx, v.newsOnly(), strconv.FormatUint(newest+1, 10), liveRows)
	for i := range found {
		out.Rows = append(out.Rows, v.row(&found[i]))
	}
	return "Live", out, err
}

// newsOnly is the search without the visits of auditors, if they were not asked for. The
// range of time that was chosen means nothing to it: what comes is new.
func (v *visit) newsOnly() *Search {
	s := v.asked.Search
	s.Since, s.Until = time.Time{}, time.Time{}
	s.quiet = s.Action == ""
	return &s
}

// watchers are those who are told of new records, or who search: so many in all, and each
// person so often.
type watchers struct {
	most, each int

	mu  sync.Mutex
	all int            // guarded by mu
	of  map[string]int // by person; guarded by mu
}

// enter takes a place for a person if there is one, and reports whether there was one at
// all, and for that person.
func (w *watchers) enter(person string) (all, mine bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if all, mine = w.all < w.most, w.of[person] < w.each; !all || !mine {
		return all, mine
	}
	w.all++
	w.of[person]++
	return true, true
}

func (w *watchers) leave(person string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all--
	if w.of[person]--; w.of[person] == 0 {
		delete(w.of, person)
	}
}

// stream tells a page of new records, as server-sent events (HTML section 9.2), until ctx
// ends. A reader that is slow is told of fewer: it holds nobody up.
func (v *visit) stream(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	if len(v.asked.faults) > 0 {
		http.Error(w, "This address is not complete.", http.StatusBadRequest)
		return ErrQuery
	}
	if all, mine := v.page.watchers.enter(v.who.User); !all || !mine {
		w.Header().Set("Retry-After", strconv.Itoa(liveRefresh))
		http.Error(w, "Too many pages are told of new records.", http.StatusServiceUnavailable)
		return ErrBusy
	}
	defer v.page.watchers.leave(v.who.User)
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	if v.head {
		return nil
	}
	s := stream{visit: v, w: w, flush: http.NewResponseController(w).Flush, search: v.newsOnly(), at: v.begin(r)}
	return s.run(ctx)
}

// begin is the position after which records are news: where the page, or the stream that
// broke off, has ended.
func (v *visit) begin(r *http.Request) uint64 {
	newest, _ := v.page.cfg.Recent.Newest()
	at := v.asked.after
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		if last, err := strconv.ParseUint(id, 10, 64); err == nil {
			at = last
		}
	}
	if at == 0 || at > newest { // of a process that was here before
		return newest
	}
	return at
}

// stream is one that is under way.
type stream struct {
	*visit
	w      http.ResponseWriter
	flush  func() error
	search *Search
	at     uint64
}

// run tells of what is new until ctx ends or the page has gone away.
func (s *stream) run(ctx context.Context) error {
	beat := time.NewTicker(liveBeat)
	defer beat.Stop()
	if err := s.send(": records come as they are written\n\n"); err != nil {
		return err
	}
	for {
		_, grown := s.page.cfg.Recent.Newest() // before looking, so that nothing comes between
		if err := s.tell(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			_ = s.send("event: end\ndata: {}\n\n") // the page may have gone away before
			return nil
		case <-beat.C:
			if err := s.send(": nothing new\n\n"); err != nil {
				return err
			}
		case <-grown:
			wait(ctx, liveEvery) // and what comes meanwhile is told with it
		}
	}
}

// wait returns after d, or with ctx.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// news is what a page is told of one record: what its row shows.
type news struct {
	At       string `json:"at"`
	Day      string `json:"day"`
	Clock    string `json:"clock"`
	Person   string `json:"person"`
	Tool     string `json:"tool"`
	Action   string `json:"action"`
	Method   string `json:"method"`
	Target   string `json:"target"`
	Code     string `json:"code"`
	Decision string `json:"decision"`
	Reason   string `json:"reason"`
	Rule     string `json:"rule"`
	Address  string `json:"address"`
	Request  string `json:"request"`
	// Where the whole record is, and all of the person's and the tool's.
	Record    string `json:"record"`
	PersonURL string `json:"person_url"`
	ToolURL   string `json:"tool_url"`
}

// tell sends what is new, and how many others there were.
func (s *stream) tell(ctx context.Context) error {
	found, others, next, err := s.page.cfg.Recent.After(ctx, s.search, s.at, liveRows)
	s.at = next
	if err != nil || len(found) == 0 {
		return err
	}
	var b bytes.Buffer
	if others > 0 {
		fmt.Fprintf(&b, "event: skipped\ndata: %d\n\n", others)
	}
	for i := range found {
		text, err := json.Marshal(s.news(&found[i])) // one line, whatever is in it
		if err != nil {
			return fmt.Errorf("encoding a record for the live page: %w", err)
		}
		fmt.Fprintf(&b, "id: %d\ndata: %s\n\n", found[i].Position, text)
	}
	return s.send(b.String())
}

func (s *stream) news(r *Record) news {
	only, row := asked{values: url.Values{}}, rowOf(&r.Entry)
	leads := func(param, value string) string { return s.page.address(pathSearch, only.with(param, value)) }
	return news{
		At: row.At, Day: row.Day, Clock: row.Clock, Person: row.Person, Tool: row.Tool, Action: row.Action, Method: row.Method, Target: row.Target,
		Code: row.Code, Decision: row.Decision, Reason: row.Reason, Rule: row.Rule, Address: row.Address, Request: row.Request,
		Record: leads(paramRequest, row.Request), PersonURL: leads(paramPerson, row.Person), ToolURL: leads(paramTool, row.Tool),
	}
}

func (s *stream) send(text string) error {
	if _, err := s.w.Write([]byte(text)); err != nil {
		return fmt.Errorf("telling the live page: %w", err)
	}
	if err := s.flush(); err != nil {
		return fmt.Errorf("telling the live page: %w", err)
	}
	return nil
}
