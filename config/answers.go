package config

import (
	"regexp"
	"slices"
	"strings"
)

// Answers is what becomes of a tool's answers on their way to the browser.
type Answers struct {
	// Frames says who may show the tool in a frame: "same_origin", unless the tool
	// says something else; "nobody"; or "tool", which leaves it to the tool. Default
	// "same_origin".
	Frames string `yaml:"frames"`
	// FrameOrigins are origins whose pages may, beside the tool's own. Default none.
	FrameOrigins []Origin `yaml:"frame_origins"`
	// SetHeaders are headers that replace the tool's. Default none.
	SetHeaders []HeaderLine `yaml:"set_headers"`
	// RemoveHeaders are headers that are taken away. Default none.
	RemoveHeaders []string `yaml:"remove_headers"`
	// RewriteLocation are origins that become the route's own where the tool sends a
	// browser to them. Default none: only the sidecar's address does.
	RewriteLocation []Origin `yaml:"rewrite_location"`
	// UnsafeCookieDomain lets the tool set cookies that all hosts of its domain get.
	// Default false: Domain is removed.
	UnsafeCookieDomain bool `yaml:"unsafe_cookie_domain"`
}

// HeaderLine is a header of an answer.
type HeaderLine struct {
	// Name is the header's name. Required.
	Name string `yaml:"name"`
	// Value is what it shall be. Required.
	Value string `yaml:"value"`
}

// framesSameOrigin, and who else may show a tool in a frame.
const framesSameOrigin = "same_origin"

var frames = [...]string{framesSameOrigin, "nobody", "tool"}

// headerValue is the pattern of a value. It counts so far that it would be a third of all
// that is in memory of a process that has done nothing yet: it is compiled where it is used.
const headerValue = `^[!-~]([ -~]{0,998}[!-~])?$`

var (
	headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")
	// reservedHeaders frame a message, or have rules of their own; the gateway refuses
	// the names of its own headers too.
	reservedHeaders = []string{
		"connection", "content-length", "transfer-encoding", "trailer", "upgrade", "keep-alive", "te", "content-encoding", "content-range",
		"date", "set-cookie", "location", "alt-svc", "clear-site-data", "via", "forwarded",
	}
	reservedBeginnings = []string{"x-forwarded-", "x-sallyport-", "x-accel-", "x-sendfile", "remote-", "proxy-"}
)

// judgeHeader returns what was expected in place of the name of a header, or "".
func judgeHeader(name string) string {
	lower := strings.ToLower(name)
	switch {
	case !headerName.MatchString(name):
		return "the name of a header, such as Permissions-Policy"
	case slices.Contains(reservedHeaders, lower), slices.ContainsFunc(reservedBeginnings, func(p string) bool { return strings.HasPrefix(lower, p) }):
		return "a header that the gateway does not set itself and that does not frame the message"
	}
	return ""
}

// answers checks what shall become of a tool's answers.
func (c *collector) answers(at string, a Answers) {
	c.oneOf(join(at, "frames"), a.Frames, frames[:])
	if len(a.FrameOrigins) > 0 && a.Frames != framesSameOrigin {
		c.refuse(join(at, "frame_origins"), "none beside frames: "+a.Frames)
	}
	c.texts(join(at, "remove_headers"), a.RemoveHeaders, judgeHeader)
	c.headerLines(at, a.SetHeaders)
	c.headersOnce(at, a)
}

// headerLines checks headers that are set.
func (c *collector) headerLines(at string, lines []HeaderLine) {
	if len(lines) == 0 {
		return
	}
	value := regexp.MustCompile(headerValue)
	for i, line := range lines {
		of := entry(join(at, "set_headers"), i)
		if expected := judgeHeader(line.Name); expected != "" {
			c.refuse(join(of, "name"), expected)
		}
		if !value.MatchString(line.Value) {
			c.refuse(join(of, "value"), "visible ASCII and inner blanks, at most 1000 bytes")
		}
	}
}

// headersOnce reports a header that two entries decide about.
func (c *collector) headersOnce(at string, a Answers) {
	owners := map[string]string{}
	for i, name := range a.RemoveHeaders {
		c.unique(entry(join(at, "remove_headers"), i), owners, strings.ToLower(name))
	}
	for i, line := range a.SetHeaders {
		c.unique(join(entry(join(at, "set_headers"), i), "name"), owners, strings.ToLower(line.Name))
	}
}
