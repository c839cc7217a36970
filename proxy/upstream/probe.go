package upstream

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Run probes the upstreams until ctx ends, if that is configured; else it returns
// at once. A Pool that takes over goes on where this one stopped.
func (p *Pool) Run(ctx context.Context) {
	if !p.cfg.Health.on() {
		return
	}
	var probing sync.WaitGroup
	for _, s := range p.slots {
		if !s.draining {
			probing.Go(func() { p.watch(ctx, s.member) })
		}
	}
	probing.Wait()
}

// watch probes one upstream, at once or when the time since the last probe is over.
func (p *Pool) watch(ctx context.Context, m *member) {
	m.mu.Lock()
	wait := max(0, time.Until(m.probedAt.Add(p.cfg.Health.Interval)))
	m.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		m.mu.Lock()
		m.probedAt = time.Now()
		m.mu.Unlock()
		err := p.probe(ctx, m)
		if ctx.Err() != nil {
			return
		}
		p.probed(m, err)
		timer.Reset(p.cfg.Health.Interval)
	}
}

// probe asks m for an answer; the error says why that does not count as one.
func (p *Pool) probe(ctx context.Context, m *member) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Health.Timeout)
	defer cancel()
	target := url.URL{Scheme: m.origin.Scheme, Host: m.address, Path: p.cfg.Health.Path}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return fmt.Errorf("making a probe: %w", err)
	}
	r.Host = p.cfg.Host
	r.Header.Set("User-Agent", "sallyport")
	res, err := (*m.conns.Load()).RoundTrip(r)
	if err != nil {
		return err
	}
	defer discard(res)
	if err := faultOf(res); err != nil {
		return err
	}
	if res.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("answers %s with status %d", p.cfg.Health.Path, res.StatusCode)
	}
	return nil
}

// probed notes the result and says to the log what became of it.
func (p *Pool) probed(m *member, err error) {
	passive, active := m.probe(err, p.cfg.Health)
	p.tell(m, passive, nil)
	switch active {
	case worse:
		p.log.Warn("backend fails its probes and is left out", "backend", m.address, "cause", err.Error(), "only_one", len(p.slots) == 1)
	case better:
		p.log.Info("backend passes its probes again", "backend", m.address)
	}
}
