// Package report sums up the access log for recertification: of each tool who may
// open it, who has, how often and by which rule, and who may and has not for long. A
// reviewer reads it, decides, and signs.
//
// Hostile input: the log, whose names, paths and reasons a stranger or whoever could
// write to it may have chosen. They are shown as text, with what would act made
// visible, in HTML escaped, in CSV no formula.
//
// Output: a [Report], as one page of HTML that needs nothing else and runs nothing,
// or as CSV.
package report

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/audit"
	"github.com/sallyport/sallyport/proxy/policy"
)

// Log is what a report is made from; package index has one.
type Log interface {
	// Count counts entries by the values of fields together.
	Count(ctx context.Context, f audit.Filter, by ...audit.Field) ([]audit.Group, error)
	// Newest returns the newest entry that is asked for, and false if there is none.
	Newest(ctx context.Context, f audit.Filter) (audit.Entry, bool, error)
}

// Config says what a report is about.
type Config struct {
	// Tools are those of the configuration, in its order. Tools that the log alone has
	// come behind them.
	Tools []Tool
	// Since and Until bound the time. Until is not part of it, and not the zero time.
	Since, Until time.Time
	// Pseudonyms says that the log calls people by pseudonyms: users whom the
	// configuration names cannot be told among them.
	Pseudonyms bool
	// Idle is after how long without use somebody is named who may open a tool. It is
	// counted back from Until.
	Idle time.Duration
}

// Tool is a route, and who may open it as the configuration says.
type Tool struct {
	// Name is the route's.
	Name, Title, Host string
	// Parts are the route's own rules in order, and last, with no name, what holds for the
	// rest.
	Parts []Part
	// StepUp says that the route demands more than a sign-on.
	StepUp bool
}

// Part is a part of a route with its own rule.
type Part struct {
	Name         string
	Users        []string
	Groups       []string
	Anyone       bool
	DenyUsers    []string
	DenyGroups   []string
	Methods      []string
	Paths, Exact []string
}

// Nobody reports whether the part lets nobody in.
func (p Part) Nobody() bool { return !p.Anyone && len(p.Users)+len(p.Groups) == 0 }

// rule is the part as the gateway decides by it.
func (p Part) rule() policy.PathRule {
	return policy.PathRule{Name: p.Name, Allow: policy.NewRule(p.Users, p.Groups, p.Anyone), Deny: policy.NewRule(p.DenyUsers, p.DenyGroups, false)}
}

// Report is what was found out.
type Report struct {
	Since, Until, Made time.Time
	// IdleDays are Config.Idle, and Pseudonyms is Config.Pseudonyms.
	IdleDays   int
	Pseudonyms bool
	// Requests, Denied and People sum up all tools.
	Requests, Denied int64
	People           int
	Tools            []ToolUse
	// Days are every day of the time, of all tools together.
	Days []Day
	// Reasons are why people were turned away, the most frequent first.
	Reasons []Reason
}

// ToolUse is what became of one tool.
type ToolUse struct {
	Tool
	// Configured is false for a tool that the log alone has.
	Configured bool
	// Allowed and Denied are requests.
	Allowed, Denied int64
	// People have opened it or tried to, those who have most often first.
	People []Person
	// Idle are people who may open it by what they were last, and have not for as long as
	// Report.IdleDays, by name. Those who never have within the time have no Last.
	Idle []Person
	// Unused are users and groups of the configuration by which nobody was let in.
	Unused []Grant
	Days   []Day
}

// Person is one of those who were there.
type Person struct {
	Name string
	// Groups are those that they had last, in any tool.
	Groups []string
	// May says by what they may open the tool now, "" if by nothing.
	May string
	// Allowed counts requests, between First and Last, by Rules.
	Allowed     int64
	First, Last time.Time
	Rules       []string
	// Denied counts those that were turned away, last at LastDenied.
	Denied     int64
	LastDenied time.Time
	// IsIdle says that they have not opened it for as long as Report.IdleDays.
	IsIdle bool
}

// Grant is a user or group whom the configuration lets in.
type Grant struct {
	// Part is the route's own rule, "" for what holds for the rest.
	Part string
	// Kind is "user" or "group".
	Kind, Name string
}

// Day is one day's requests.
type Day struct {
	Date            string // 2026-11-23
	Allowed, Denied int64
}

// Reason is why people were turned away, and how often.
type Reason struct {
	Code  string
	Count int64
}

// maker makes one report.
type maker struct {
	cfg    Config
	log    Log
	report *Report
	tools  map[string]*ToolUse
	people map[string]map[string]*Person // by tool and name
	groups map[string][]string           // by person
}

// Make makes a report from log.
func Make(ctx context.Context, log Log, cfg Config) (*Report, error) {
	m := &maker{
		cfg: cfg, log: log, tools: make(map[string]*ToolUse), people: make(map[string]map[string]*Person), groups: make(map[string][]string),
		report: &Report{Since: cfg.Since, Until: cfg.Until, Made: cfg.Until, IdleDays: int(cfg.Idle / (24 * time.Hour)), Pseudonyms: cfg.Pseudonyms},
	}
	for _, step := range []func(context.Context) error{m.allowed, m.denied, m.days, m.members} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	m.finish()
	return m.report, nil
}

// filter asks for requests for tools in the time of the report.
func (m *maker) filter(decision string) audit.Filter {
	return audit.Filter{Since: m.cfg.Since, Until: m.cfg.Until, Action: string(accesslog.ActionAccess), Decision: decision}
}

// tool returns a tool by name.
func (m *maker) tool(name string) *ToolUse {
	if m.tools[name] == nil {
		t := &ToolUse{Tool: Tool{Name: name, Title: name}}
		if i := slices.IndexFunc(m.cfg.Tools, func(t Tool) bool { return t.Name == name }); i >= 0 {
			t.Tool, t.Configured = m.cfg.Tools[i], true
		}
		m.tools[name], m.people[name] = t, make(map[string]*Person)
	}
	return m.tools[name]
}

// person returns somebody at a tool.
func (m *maker) person(tool, name string) *Person {
	m.tool(tool)
	if m.people[tool][name] == nil {
		m.people[tool][name] = &Person{Name: name}
	}
	return m.people[tool][name]
}

// allowed counts who has opened which tool, by which rule.
func (m *maker) allowed(ctx context.Context) error {
	groups, err := m.log.Count(ctx, m.filter(accesslog.DecisionAllow), audit.Route, audit.User, audit.Rule)
	if err != nil {
		return err
	}
	for _, g := range groups {
		route, user, rule := g.Values[0], g.Values[1], g.Values[2]
		if route == "" || user == "" {
			continue
		}
		p := m.person(route, user)
		m.tools[route].Allowed += g.Count
		p.Allowed += g.Count
		if p.First.IsZero() || g.First.Before(p.First) {
			p.First = g.First
		}
		if g.Last.After(p.Last) {
			p.Last = g.Last
		}
		if rule != "" {
			p.Rules = append(p.Rules, rule)
		}
	}
	return nil
}

// denied counts who was turned away, and why.
func (m *maker) denied(ctx context.Context) error {
	groups, err := m.log.Count(ctx, m.filter(accesslog.DecisionDeny), audit.Route, audit.User, audit.Reason)
	if err != nil {
		return err
	}
	reasons := make(map[string]int64)
	for _, g := range groups {
		route, user, reason := g.Values[0], g.Values[1], g.Values[2]
		if route == "" {
			continue
		}
		m.tool(route).Denied += g.Count
		reasons[reason] += g.Count
		if user == "" {
			continue
		}
		p := m.person(route, user)
		p.Denied += g.Count
		if g.Last.After(p.LastDenied) {
			p.LastDenied = g.Last
		}
	}
	for code, count := range reasons {
		m.report.Reasons = append(m.report.Reasons, Reason{code, count})
	}
	slices.SortFunc(m.report.Reasons, func(a, b Reason) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Code, b.Code)) })
	return nil
}

// days counts the requests of each day.
func (m *maker) days(ctx context.Context) error {
	groups, err := m.log.Count(ctx, m.filter(""), audit.Route, audit.Day, audit.Decision)
	if err != nil {
		return err
	}
	for _, tool := range m.cfg.Tools {
		m.tool(tool.Name).Days = m.emptyDays()
	}
	m.report.Days = m.emptyDays()
	for _, g := range groups {
		route, date, decision := g.Values[0], g.Values[1], g.Values[2]
		if route == "" {
			continue
		}
		t := m.tool(route)
		if t.Days == nil {
			t.Days = m.emptyDays()
		}
		for _, days := range [][]Day{t.Days, m.report.Days} {
			i, found := slices.BinarySearchFunc(days, date, func(d Day, date string) int { return cmp.Compare(d.Date, date) })
			switch {
			case !found:
			case decision == accesslog.DecisionAllow:
				days[i].Allowed += g.Count
			case decision == accesslog.DecisionDeny:
				days[i].Denied += g.Count
			}
		}
	}
	return nil
}

// maxDays bounds how many days are shown one by one.
const maxDays = 3660

// emptyDays are all days of the time.
func (m *maker) emptyDays() []Day {
	var days []Day
	for t := m.cfg.Since.UTC().Truncate(24 * time.Hour); t.Before(m.cfg.Until) && len(days) < maxDays; t = t.Add(24 * time.Hour) {
		days = append(days, Day{Date: t.Format(time.DateOnly)})
	}
	return days
}

// members finds out which groups people have, by their last request.
func (m *maker) members(ctx context.Context) error {
	people, err := m.log.Count(ctx, audit.Filter{Since: m.cfg.Since, Until: m.cfg.Until}, audit.User)
	if err != nil {
		return err
	}
	for _, g := range people {
		name := g.Values[0]
		if name == "" {
			continue
		}
		// A name that ends in * would be taken for a beginning: the entry tells.
		entry, found, err := m.log.Newest(ctx, audit.Filter{Since: m.cfg.Since, Until: m.cfg.Until, User: name, Action: string(accesslog.ActionAccess)})
		if err != nil {
			return err
		}
		m.groups[name] = nil
		if found && entry.Value(audit.User) == name {
			m.groups[name] = entry.Groups
		}
	}
	m.report.People = len(m.groups)
	return nil
}

// finish puts together what was counted.
func (m *maker) finish() {
	for _, tool := range m.cfg.Tools {
		m.report.Tools = append(m.report.Tools, *m.finishTool(tool.Name))
	}
	var others []string
	for name, t := range m.tools {
		if !t.Configured {
			others = append(others, name)
		}
	}
	slices.Sort(others)
	for _, name := range others {
		m.report.Tools = append(m.report.Tools, *m.finishTool(name))
	}
	for _, t := range m.report.Tools {
		m.report.Requests += t.Allowed
		m.report.Denied += t.Denied
	}
}

func (m *maker) finishTool(name string) *ToolUse {
	t := m.tool(name)
	idleSince := m.cfg.Until.Add(-m.cfg.Idle)
	for _, p := range m.people[name] {
		p.Groups, p.May = m.groups[p.Name], t.may(p.Name, m.groups[p.Name])
		if p.May == "" && m.cfg.Pseudonyms {
			p.May = userRule(p.Rules)
		}
		p.IsIdle = p.May != "" && p.Last.Before(idleSince)
		slices.Sort(p.Rules)
		t.People = append(t.People, *p)
	}
	slices.SortFunc(t.People, func(a, b Person) int {
		return cmp.Or(cmp.Compare(b.Allowed, a.Allowed), cmp.Compare(b.Denied, a.Denied), cmp.Compare(a.Name, b.Name))
	})
	t.Idle = m.idle(t)
	t.Unused = m.unused(t)
	return t
}

// idle are all who may open a tool and have not for long: people whom the log knows,
// and users whom the configuration names.
func (m *maker) idle(t *ToolUse) []Person {
	var idle []Person
	names := make(map[string]bool)
	for name := range m.groups {
		names[name] = true
	}
	for _, part := range t.Parts {
		for _, name := range part.Users {
			if !m.cfg.Pseudonyms {
				names[name] = true
			}
		}
	}
	for name := range names {
		p := m.people[t.Name][name]
		if p == nil {
			p = &Person{Name: name, Groups: m.groups[name], May: t.may(name, m.groups[name]), IsIdle: true}
		}
		if p.IsIdle && p.May != "" {
			idle = append(idle, *p)
		}
	}
	slices.SortFunc(idle, func(a, b Person) int { return cmp.Compare(a.Name, b.Name) })
	return idle
}

// may says by what somebody may open a tool or a part of it, "" if by nothing.
func (t *ToolUse) may(user string, groups []string) string {
	for _, part := range t.Parts {
		rule := part.rule()
		decision := rule.Decide(user, groups)
		if decision.Verdict == policy.Allow {
			if part.Name == "" {
				decision = rule.Allow.Decide(user, groups) // as the log has it: no name before it
			}
			return decision.Rule
		}
	}
	return ""
}

// userRule returns a rule of somebody's that names a user: where people have
// pseudonyms, nobody knows better whom it means.
func userRule(rules []string) string {
	for _, rule := range rules {
		if _, last, found := strings.Cut("/"+rule, "/user:"); found && last != "" {
			return rule
		}
	}
	return ""
}

// unused are the grants of a tool by which nobody was let in.
func (m *maker) unused(t *ToolUse) []Grant {
	used := make(map[string]bool)
	for _, p := range t.People {
		for _, rule := range p.Rules {
			used[rule] = true
		}
	}
	var unused []Grant
	for _, part := range t.Parts {
		prefix := part.Name
		if prefix != "" {
			prefix += "/"
		}
		for _, user := range part.Users {
			if !used[prefix+"user:"+user] && !m.cfg.Pseudonyms {
				unused = append(unused, Grant{part.Name, "user", user})
			}
		}
		for _, group := range part.Groups {
			if !used[prefix+"group:"+group] {
				unused = append(unused, Grant{part.Name, "group", group})
			}
		}
	}
	return unused
}
