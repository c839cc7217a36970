package config

import (
	"net"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// Child is how a sidecar runs the application that stands behind `--` on its command
// line. Without one it says nothing.
type Child struct {
	// Restart is when it is started again after it has ended: "never", "on-failure" or
	// "always". Default "never".
	Restart string `yaml:"restart"`
	// Backoff is how long to wait before that.
	Backoff ChildBackoff `yaml:"backoff"`
	// Limit is how often it is started again in ten minutes at most. Default 5, 1 to 1000.
	Limit int `yaml:"limit"`
	// Stop is how it is ended.
	Stop ChildStop `yaml:"stop"`
	// Forward are the signals to the sidecar that are handed on to it. Default USR1, USR2
	// and WINCH.
	Forward []string `yaml:"forward"`
	// Output is what becomes of what it writes: "pass", "prefix" or "json". Default
	// "pass".
	Output string `yaml:"output"`
	// Check is how it is asked whether it answers.
	Check ChildCheck `yaml:"check"`
}

// ChildBackoff is First, and twice as long after each further end, up to Most.
type ChildBackoff struct {
	// First is 100ms to 10m. Default 1s.
	First Duration `yaml:"first"`
	// Most is 100ms to 10m, and not less than First. Default 1m.
	Most Duration `yaml:"most"`
}

// ChildStop is how an application is ended.
type ChildStop struct {
	// Signal asks it to end. Default TERM.
	Signal string `yaml:"signal"`
	// After is how long it may take before it is killed, with all that it has started.
	// Default 10s, 100ms to 10m.
	After Duration `yaml:"after"`
}

// ChildCheck asks an application whether it answers, by one of HTTP, TCP and Command.
type ChildCheck struct {
	// HTTP is a URL on loopback, answered with a status below 400. Default "none".
	HTTP string `yaml:"http"`
	// TCP is an address on loopback, or unix:PATH, that accepts a connection. Default
	// "none".
	TCP string `yaml:"tcp"`
	// Command is a program and its arguments that ends with exit code 0. Default none.
	Command []string `yaml:"command"`
	// Every is how often. Default 10s, 1s to 10m.
	Every Duration `yaml:"every"`
	// Timeout is how long an answer may take. Default 2s, 100ms to 1m.
	Timeout Duration `yaml:"timeout"`
	// Failures is how many in a row are too many. Default 3, 1 to 100.
	Failures int `yaml:"failures"`
	// Start is how long it may take until the first passes. Default 1m, 1s to 1h.
	Start Duration `yaml:"start"`
}

// On says whether there is a check.
func (k ChildCheck) On() bool { return k.HTTP != none || k.TCP != none || len(k.Command) > 0 }

// Words of a Child.
var (
	childRestarts = [...]string{"never", "on-failure", "always"}
	childOutputs  = [...]string{"pass", "prefix", "json"}
	// childStops are signals that ask a program to end, by its own convention.
	childStops = [...]string{"TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH", "KILL"}
	// childForwards are signals that mean nothing to a sidecar, and HUP: it means both.
	childForwards = [...]string{"HUP", "QUIT", "USR1", "USR2", "WINCH", "TTIN", "TTOU"}
)

const (
	maxRestarts      = 1000
	maxCheckFailures = 100
)

func defaultChild() Child {
	return Child{
		Restart: childRestarts[0], Backoff: ChildBackoff{Duration{time.Second}, Duration{time.Minute}}, Limit: 5,
		Stop:    ChildStop{Signal: "TERM", After: Duration{10 * time.Second}},
		Forward: []string{"USR1", "USR2", "WINCH"}, Output: childOutputs[0],
		Check: ChildCheck{
			HTTP: none, TCP: none, Every: Duration{10 * time.Second}, Timeout: Duration{2 * time.Second}, Failures: 3, Start: Duration{time.Minute},
		},
	}
}

// child reports what is wrong with how an application is run.
func (c *collector) child(at string, k Child) {
	c.oneOf(join(at, "restart"), k.Restart, childRestarts[:])
	c.within(at+".backoff.first", k.Backoff.First, 100*time.Millisecond, 10*time.Minute)
	c.within(at+".backoff.most", k.Backoff.Most, 100*time.Millisecond, 10*time.Minute)
	if k.Backoff.Most.Duration < k.Backoff.First.Duration {
		c.refuse(at+".backoff.most", "not less than first")
	}
	c.count(join(at, "limit"), k.Limit, 1, maxRestarts)
	c.oneOf(at+".stop.signal", k.Stop.Signal, childStops[:])
	c.within(at+".stop.after", k.Stop.After, 100*time.Millisecond, 10*time.Minute)
	c.texts(join(at, "forward"), k.Forward, func(name string) string {
		if !slices.Contains(childForwards[:], name) {
			return "one of " + strings.Join(childForwards[:], ", ")
		}
		return ""
	})
	c.oneOf(join(at, "output"), k.Output, childOutputs[:])
	c.childCheck(join(at, "check"), k.Check)
}

// childCheck reports what is wrong with how an application is asked.
func (c *collector) childCheck(at string, k ChildCheck) {
	kinds := 0
	for _, given := range []bool{k.HTTP != none, k.TCP != none, len(k.Command) > 0} {
		if given {
			kinds++
		}
	}
	if kinds > 1 {
		c.add(at, "more than one way to ask", "one of http, tcp and command")
	}
	if u, err := url.Parse(k.HTTP); k.HTTP != none && (err != nil || u.Scheme != "http" || u.User != nil || u.Fragment != "" || !isLoopback(u.Hostname())) {
		c.refuse(join(at, "http"), `a URL on loopback, such as http://127.0.0.1:3000/health, or "none"`)
	}
	if k.TCP != none && !isLocalAddress(k.TCP) {
		c.refuse(join(at, "tcp"), `host:port on loopback, unix: and an absolute path, or "none"`)
	}
	for i, word := range k.Command {
		if strings.ContainsRune(word, 0) {
			c.refuse(entry(join(at, "command"), i), "text without a zero byte")
		}
	}
	c.within(join(at, "every"), k.Every, time.Second, 10*time.Minute)
	c.within(join(at, "timeout"), k.Timeout, 100*time.Millisecond, time.Minute)
	c.count(join(at, "failures"), k.Failures, 1, maxCheckFailures)
	c.within(join(at, "start"), k.Start, time.Second, time.Hour)
}

// isLocalAddress reports whether address is host:port on loopback or unix:PATH.
func isLocalAddress(address string) bool {
	if name, ok := strings.CutPrefix(address, "unix:"); ok {
		return path.IsAbs(name) && isPrintable(name)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	_, err = parsePort(port)
	return err == nil && isLoopback(host)
}
