package config

import (
	"net"
	"strconv"
	"time"
)

// SidecarHeaders are the names under which the tool is told who asks, where it knows
// others than the gateway sends.
type SidecarHeaders struct {
	// Profiles are the sets of header names that are used at once; see
	// [Identity.Headers]. Default none: with neither Profiles nor Custom the tool gets
	// what the gateway has set, unless Assertion is on, which means "x-forwarded".
	Profiles []string `yaml:"profiles"`
	// Custom are names beside those of Profiles.
	Custom CustomHeaders `yaml:"custom"`
	// GroupSeparator, NonASCII and UnsafeUTF8 are as in [Identity].
	GroupSeparator string `yaml:"group_separator"`
	NonASCII       string `yaml:"non_ascii"`
	UnsafeUTF8     bool   `yaml:"unsafe_utf8"`
}

// On says whether the tool has a set of names of its own.
func (h SidecarHeaders) On() bool { return len(h.Profiles) > 0 || len(h.Custom.all()) > 0 }

// Identity returns h in the words of a gateway's route, that tells of every group.
func (h SidecarHeaders) Identity() Identity {
	return Identity{
		Headers: h.Profiles, Custom: h.Custom, GroupSeparator: h.GroupSeparator, NonASCII: h.NonASCII, UnsafeUTF8: h.UnsafeUTF8,
		ReleaseGroups: releaseAll,
	}
}

// SidecarAssertion is what the sidecar demands of the gateway's signed assertions.
type SidecarAssertion struct {
	// Routes are the names of the gateway's routes whose assertions are believed. Default
	// none, and assertions are not looked at.
	Routes []string `yaml:"routes"`
	// Issuer is the door's origin, such as "https://door.example.com". Required with
	// Routes; default "none".
	Issuer string `yaml:"issuer"`
	// Name is the one name in the certificates of the keys that sign, vault.assertion_name
	// of the gateway. Default "assertion.sallyport.internal".
	Name Host `yaml:"name"`
}

// On says whether assertions are demanded.
func (a SidecarAssertion) On() bool { return len(a.Routes) > 0 }

// SidecarTCP is what connections are held to in mode "tcp".
type SidecarTCP struct {
	// ConnectTimeout is how long the tool may take to accept a connection. Default 5s,
	// 10ms to 1m.
	ConnectTimeout Duration `yaml:"connect_timeout"`
	// IdleTimeout is how long a connection may carry nothing in either direction. Default
	// 1h, 1s to 24h.
	IdleTimeout Duration `yaml:"idle_timeout"`
	// Connections is how many there may be at once. Default 512, 1 to 65536.
	Connections int `yaml:"connections"`
}

// defaultAssertionName is in the certificates of a gateway's keys for assertions.
const defaultAssertionName = "assertion.sallyport.internal"

// Modes of a sidecar.
const (
	modeHTTP = "http"
	modeTCP  = "tcp"
)

// maxTCP bounds tcp.connections.
const maxTCP = 65536

var modes = [...]string{modeHTTP, modeTCP}

// TCP reports whether the sidecar guards something else than HTTP.
func (s *Sidecar) TCP() bool { return s.Mode == modeTCP }

// Health returns the path that the sidecar answers itself, "" for none.
func (s *Sidecar) Health() string {
	if s.HealthPath == none {
		return ""
	}
	return s.HealthPath
}

func defaultSidecarHeaders() SidecarHeaders {
	return SidecarHeaders{
		Custom:         CustomHeaders{User: none, Email: none, Name: none, Groups: none},
		GroupSeparator: separatorAuto, NonASCII: encodePercent,
	}
}

func defaultSidecarTCP() SidecarTCP {
	return SidecarTCP{ConnectTimeout: Duration{5 * time.Second}, IdleTimeout: Duration{time.Hour}, Connections: 512}
}

// guard reports what is wrong with how a sidecar guards its tool.
func (c *collector) guard(s *Sidecar) {
	c.oneOf("mode", s.Mode, modes[:])
	c.app(s)
	c.oneOf("app_protocol", s.AppProtocol, appProtocols[:])
	if s.HealthPath != none && (!healthPath.MatchString(s.HealthPath) || len(s.HealthPath) > maxTextLength) {
		c.refuse("health_path", `an absolute path such as /healthz, without a query, or "none"`)
	}
	c.sidecarHeaders("headers", s.Headers)
	c.sidecarAssertion("assertion", s.Assertion)
	c.within("tcp.connect_timeout", s.TCPLimits.ConnectTimeout, 10*time.Millisecond, time.Minute)
	c.within("tcp.idle_timeout", s.TCPLimits.IdleTimeout, time.Second, 24*time.Hour)
	c.count("tcp.connections", s.TCPLimits.Connections, 1, maxTCP)
	c.otherMode(s)
}

// otherMode reports keys that are set and mean nothing in the mode.
func (c *collector) otherMode(s *Sidecar) {
	for _, key := range []struct {
		name         string
		ofTCP, isSet bool
	}{
		{"app_protocol", false, s.AppProtocol != appHTTP1},
		{"health_path", false, s.HealthPath != none},
		{"headers", false, s.Headers.On()},
		{"assertion", false, s.Assertion.On()},
		{"tracing", false, s.Tracing.On()},
		{"tcp", true, s.TCPLimits != defaultSidecarTCP()},
	} {
		if key.isSet && key.ofTCP != s.TCP() {
			c.add(key.name, "a key that means nothing with mode: "+s.Mode, "its default, or the other mode")
		}
	}
}

// app reports an address that does not fit the mode, or that is the sidecar's own.
func (c *collector) app(s *Sidecar) {
	switch {
	case s.App == App{}:
		c.refuse("app", "http://127.0.0.1:port, tcp://127.0.0.1:port or unix:/path: on this machine alone, so that nobody reaches it past the sidecar")
	case s.TCP() && s.App.Scheme == schemeHTTP:
		c.refuse("app", "tcp://127.0.0.1:port or unix:/path beside mode: tcp")
	case !s.TCP() && s.App.Scheme == schemeTCP:
		c.refuse("app", "http://127.0.0.1:port or unix:/path; tcp: is for mode: tcp")
	}
	for _, of := range []struct{ key, address string }{{"listen", s.Listen}, {"admin", s.Admin}} {
		if _, port, err := net.SplitHostPort(of.address); err == nil && s.App.Port != 0 && port == strconv.Itoa(s.App.Port) {
			c.refuse("app", "another port than that of "+of.key+": what listens there could not be told from the tool")
		}
	}
}

func (c *collector) sidecarHeaders(at string, h SidecarHeaders) {
	for n, name := range h.Profiles {
		c.oneOf(entry(join(at, "profiles"), n), name, headerSets[:])
	}
	c.texts(join(at, "profiles"), h.Profiles, func(string) string { return "" })
	identity := h.Identity()
	c.customHeaders(join(at, "custom"), identity)
	c.oneOf(join(at, "group_separator"), h.GroupSeparator, separators[:])
	c.oneOf(join(at, "non_ascii"), h.NonASCII, nonASCII[:])
	if h.UnsafeUTF8 && identity.RefuseNonASCII() {
		c.add(join(at, "unsafe_utf8"), "true beside non_ascii: refuse", "one or the other")
	}
}

func (c *collector) sidecarAssertion(at string, a SidecarAssertion) {
	c.texts(join(at, "routes"), a.Routes, func(name string) string {
		if !routeName.MatchString(name) {
			return "the name of a route of the gateway"
		}
		return ""
	})
	var issuer Origin
	switch {
	case a.Issuer == none && a.On():
		c.refuse(join(at, "issuer"), "the door's origin, such as https://door.example.com, beside routes")
	case a.Issuer != none && (issuer.UnmarshalText([]byte(a.Issuer)) != nil || issuer.Scheme != "https" || a.Issuer != issuer.shortest()):
		c.refuse(join(at, "issuer"), "the door's origin, such as https://door.example.com, with nothing behind it")
	case a.Issuer != none && !a.On():
		c.refuse(join(at, "routes"), "the names of the gateway's routes that lead here: with none no assertion is looked at")
	}
	if a.Name == "" {
		c.refuse(join(at, "name"), "the name in the certificates of the door's keys, such as "+defaultAssertionName)
	}
}
