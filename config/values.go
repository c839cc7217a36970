package config

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Limits of a DNS name, RFC 1035 section 2.3.4.
const (
	maxHostLength  = 253
	maxLabelLength = 63
)

// maxPort is the last TCP port.
const maxPort = 65535

// mismatch is the error of every UnmarshalText here. The decoder takes it
// apart, so that a fault can show the value and the expectation separately.
type mismatch struct {
	value    string
	expected string
}

func (m *mismatch) Error() string {
	return quote(m.value) + ": expected " + m.expected
}

// Host is a DNS name in lower case, without a port and without a final dot,
// such as "grafana.example.com". A name of one label is accepted, an IP
// address is not. International names are written in their ASCII form
// ("xn--…"), because that is what arrives in a Host header and in SNI.
//
// The zero value means that no host was given.
type Host string

// UnmarshalText accepts exactly the names that [Host] describes. It never
// changes what was written: a name in capitals is refused, not lowered, so
// that the file shows the very bytes that are compared later.
func (h *Host) UnmarshalText(text []byte) error {
	name := string(text)
	if expected := judgeHost(name); expected != "" {
		return &mismatch{value: name, expected: expected}
	}
	*h = Host(name)
	return nil
}

// judgeHost returns what was expected instead of name, or "" if name is a host.
func judgeHost(name string) string {
	const expected = "a DNS name such as grafana.example.com"
	switch {
	case name == "":
		return expected
	case strings.Contains(name, "://"):
		return expected + ", without a scheme"
	case isAddress(name):
		return expected + ", not an IP address"
	case strings.Contains(name, ":"):
		return expected + ", without a port"
	case strings.HasSuffix(name, "."):
		return expected + ", without the final dot"
	case strings.ContainsAny(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"):
		return expected + ", in lower case"
	case strings.HasPrefix(name, "*."):
		return expected + "; wildcards are not supported here"
	case len(name) > maxHostLength:
		return expected + ", of at most 253 characters"
	}
	for label := range strings.SplitSeq(name, ".") {
		if problem := judgeLabel(label); problem != "" {
			return expected + "; " + problem
		}
	}
	return ""
}

// judgeLabel says what is wrong with one label of a host, or "".
func judgeLabel(label string) string {
	switch {
	case label == "":
		return "a label is empty"
	case len(label) > maxLabelLength:
		return "a label has more than 63 characters"
	case label[0] == '-' || label[len(label)-1] == '-':
		return "a label begins or ends with a hyphen"
	}
	for _, c := range label {
		if c > '~' {
			return "international names are written in their ASCII form, xn--…"
		}
		if !isLabelByte(c) {
			return "labels are made of a-z, 0-9 and hyphens"
		}
	}
	return ""
}

func isLabelByte(c rune) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-'
}

// isAddress reports whether browsers or resolvers could take name for an IP
// address. Besides the plain spellings that is every name whose last label is
// a number, also in hexadecimal: the WHATWG URL standard reads "0x7f.1" as
// 127.0.0.1.
func isAddress(name string) bool {
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return true
	}
	last := strings.ToLower(name[strings.LastIndexByte(name, '.')+1:])
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// Duration is a span of time in whole milliseconds, never negative, that is
// written as Go writes it: "90s", "1h30m", "1.5s". Calls on the embedded
// [time.Duration] work as usual.
type Duration struct {
	time.Duration
}

var durationText = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`)

// UnmarshalText accepts the form that [Duration] describes.
func (d *Duration) UnmarshalText(text []byte) error {
	span, err := time.ParseDuration(string(text))
	if err != nil || !durationText.Match(text) || span%time.Millisecond != 0 {
		return &mismatch{value: string(text), expected: "a duration with its unit, h, m or s, such as 90s, 15m or 1h30m"}
	}
	d.Duration = span
	return nil
}

// MarshalText returns the shortest form that UnmarshalText reads back: "1h",
// not "1h0m0s".
func (d Duration) MarshalText() ([]byte, error) {
	return []byte(d.String()), nil
}

// String returns the text of MarshalText.
func (d Duration) String() string {
	text := d.Duration.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// Origin is where a server listens: scheme, host and port, and nothing else.
// The host may be a DNS name or an IP address, because it only says where to
// dial; whom to trust there is said by a name of its own.
//
// The zero value means that no origin was given.
type Origin struct {
	// Scheme is "http" or "https".
	Scheme string
	// Host is a DNS name or an IP address; an IPv6 address stands without brackets.
	Host string
	// Port is between 1 and 65535; it was written out or follows from the scheme.
	Port int
}

// originText leaves no room for a path, a query, a fragment or user
// information. They are refused because they would otherwise be dropped
// silently.
var originText = regexp.MustCompile(`^https?://[^/?#@\s]+/?$`)

// UnmarshalText accepts "https://host[:port]" and "http://host[:port]", with or
// without a final slash.
func (o *Origin) UnmarshalText(text []byte) error {
	wrong := &mismatch{
		value:    string(text),
		expected: "scheme://host[:port] with nothing behind it, such as https://grafana:8443",
	}
	parsed, err := url.Parse(string(text))
	if err != nil || !originText.Match(text) {
		return wrong
	}
	port := defaultPort(parsed.Scheme)
	if parsed.Host != parsed.Hostname() && !isBracketed(parsed.Host) {
		port, err = parsePort(parsed.Port())
	}
	if err != nil || !isDialable(parsed.Hostname()) {
		return wrong
	}
	*o = Origin{Scheme: parsed.Scheme, Host: parsed.Hostname(), Port: port}
	return nil
}

// isBracketed reports whether host is an IPv6 address without a port.
func isBracketed(host string) bool {
	return strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]")
}

// defaultPort returns the port of an origin that names none.
func defaultPort(scheme string) int {
	if scheme == "http" {
		return 80
	}
	return httpsPort
}

func isDialable(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return judgeHost(host) == ""
}

// MarshalText returns the text of String.
func (o Origin) MarshalText() ([]byte, error) {
	return []byte(o.String()), nil
}

// String returns "scheme://host:port" with the port always written out, or ""
// for the zero value.
func (o Origin) String() string {
	if o == (Origin{}) {
		return ""
	}
	return o.Scheme + "://" + o.Address()
}

// shortest is String without the port that the scheme has by itself, as browsers write an
// origin (RFC 6454 section 6.2).
func (o Origin) shortest() string {
	if o.Port == defaultPort(o.Scheme) {
		return strings.TrimSuffix(o.String(), ":"+strconv.Itoa(o.Port))
	}
	return o.String()
}

// Address returns "host:port" for a dialer.
func (o Origin) Address() string {
	return net.JoinHostPort(o.Host, strconv.Itoa(o.Port))
}

// URL returns the origin as a new URL, which the caller owns.
func (o Origin) URL() *url.URL {
	return &url.URL{Scheme: o.Scheme, Host: o.Address()}
}

// isLoopback reports whether host can only be reached from this machine (or
// this network namespace). "localhost" counts, as RFC 6761 section 6.3 demands
// that resolvers treat it so; a sidecar asks none for it.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// parsePort accepts 1 to 65535 in plain decimal digits.
func parsePort(text string) (int, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 || text[0] == '0' {
		return 0, &mismatch{value: text, expected: "a port between 1 and 65535"}
	}
	return int(port), nil
}
