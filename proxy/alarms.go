package proxy

import (
	"sync"
	"time"
)

// alarmEvery is how often one and the same warning is given that requests cause:
// whoever repeats the request must not fill the log.
const alarmEvery = time.Minute

// alarms remembers when each such warning was given last. Safe for concurrent use.
type alarms struct {
	mu   sync.Mutex
	last map[string]time.Time // by event; guarded by mu
}

// due reports whether the warning may be given now, and takes it as given.
func (a *alarms) due(event string, now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last, given := a.last[event]; given && now.Sub(last) < alarmEvery {
		return false
	}
	a.last[event] = now
	return true
}
