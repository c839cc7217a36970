package config

import "time"

// Limits are how much a gateway serves at once, and how much it lets strangers ask for.
// docs/limits.md lists them with those that cannot be changed.
type Limits struct {
	// Connections is how many connections may be open at once; one too many is
	// closed. Default 20000.
	Connections int `yaml:"connections"`
	// ConnectionsPerAddress is how many of them one address may have (of IPv6 a
	// /64). Default 2000.
	ConnectionsPerAddress int `yaml:"connections_per_address"`
	// Requests is how many requests may be in hand at once. At three quarters of
	// it, whoever has not signed in is turned away. Default 20000.
	Requests int `yaml:"requests"`
	// RequestsPerPerson is how many of them one person may have, over all tools;
	// zero is a sixteenth of Requests, and 128 at least. Default 0.
	RequestsPerPerson int `yaml:"requests_per_person"`
	// MemoryMiB is how much memory may be in use after a garbage collection; zero
	// follows the limit that the process runs under, if there is one. Default 0.
	MemoryMiB int `yaml:"memory_mib"`
	// StrangersPerSecond is how often one address may ask for what needs no
	// session, over ten seconds. Default 100.
	StrangersPerSecond int `yaml:"strangers_per_second"`
	// URLBytes is the length of a request's target. Default 16384.
	URLBytes int `yaml:"url_bytes"`
	// HeaderNames is how many different headers a request may have. Default 100.
	HeaderNames int `yaml:"header_names"`
	// Stall is how long a client may make no progress in sending a request or
	// taking an answer. Default 30s.
	Stall Duration `yaml:"stall"`
}

// RouteLimits are how much may be asked of one tool. Zero leaves a limit at what the
// gateway has for all.
type RouteLimits struct {
	// Requests is how many requests may be under way to the tool at once. Default
	// 0: half of Limits.Requests.
	Requests int `yaml:"requests"`
	// BodyMiB is the size of a request's body. Default 0: none is too large.
	BodyMiB int `yaml:"body_mib"`
	// HeaderBytes is the size of all headers of a request. Default 0: 64 KiB.
	HeaderBytes int `yaml:"header_bytes"`
}

func defaultLimits() Limits {
	return Limits{
		Connections: 20000, ConnectionsPerAddress: 2000, Requests: 20000, StrangersPerSecond: 100,
		URLBytes: 16384, HeaderNames: 100, Stall: Duration{30 * time.Second},
	}
}

// Bounds of what an operator may write: beyond them, a limit is none.
const (
	maxCount       = 1_000_000
	maxRate        = 100_000
	maxMiB         = 1 << 20 // a tebibyte
	minURL, maxURL = 1024, 60 << 10
	minNames       = 40 // a browser sends 30
	maxNames       = 1000
	minHeader      = 4096
	maxHeader      = 64 << 10
	minStall       = 5 * time.Second
	maxStall       = 10 * time.Minute
)

func (c *collector) limits(at string, l Limits) {
	c.count(join(at, "connections"), l.Connections, 1, maxCount)
	c.count(join(at, "connections_per_address"), l.ConnectionsPerAddress, 1, maxCount)
	c.count(join(at, "requests"), l.Requests, 4, maxCount)
	c.count(join(at, "requests_per_person"), l.RequestsPerPerson, 0, maxCount)
	c.count(join(at, "memory_mib"), l.MemoryMiB, 0, maxMiB)
	c.count(join(at, "strangers_per_second"), l.StrangersPerSecond, 1, maxRate)
	c.count(join(at, "url_bytes"), l.URLBytes, minURL, maxURL)
	c.count(join(at, "header_names"), l.HeaderNames, minNames, maxNames)
	c.within(join(at, "stall"), l.Stall, minStall, maxStall)
}

func (c *collector) routeLimits(at string, l RouteLimits) {
	c.count(join(at, "requests"), l.Requests, 0, maxCount)
	c.count(join(at, "body_mib"), l.BodyMiB, 0, maxMiB)
	if l.HeaderBytes != 0 {
		c.count(join(at, "header_bytes"), l.HeaderBytes, minHeader, maxHeader)
	}
}
