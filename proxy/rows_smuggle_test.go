package proxy_test

import (
	"crypto/tls"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
)

// FuzzNoBytesSmuggle sends any bytes behind the first lines of a request of alice: what
// reaches the application are requests that the gateway has let in one by one, under the
// same method and path, and every one says of alice what the gateway knows.
func FuzzNoBytesSmuggle(f *testing.F) {
	s := newStand(f, nil)
	for _, a := range framing {
		if rest, ok := strings.CutPrefix(a.send, "POST / HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n"); ok {
			f.Add(rest)
			f.Add(strings.ReplaceAll(rest, smuggled, get("/smuggled", "X-Forwarded-User: root")))
		}
	}
	f.Add("Content-Length: 5\r\n\r\nhello" + get("/%Fc") + get("/"+strings.Repeat("a", 3000)))
	f.Add("Content-Length: 5\r\n\r\nhello" + get("/b%2Fc", "Connection: Content-Length") + "GET http://{other}/ HTTP/1.1\r\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 {
			return
		}
		seen := len(s.log.text())
		request := "POST / HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\n" + text
		speak(t, s.addr, &tls.Config{RootCAs: s.ca.pool, ServerName: headersHost}, s.fill(request), 0)
		for _, got := range s.tool.next() {
			if strings.HasPrefix(got, brokenOff) {
				continue
			}
			line, _, _ := strings.Cut(got, "\r\n")
			if !s.letIn(got, seen) {
				t.Errorf("nobody has let in %q", line)
			}
			if short := s.beyond(headersHost, got); !strings.HasPrefix(short, line) {
				t.Error(short)
			}
		}
	})
}

// mayBeLate is how much of the log is looked at before what was there when bytes were sent: a
// request may reach the application when whoever has sent it has gone.
const mayBeLate = 64 << 10

// letIn waits for a line of the log, behind so many bytes of others, that lets in the very
// request which the application has got.
func (s *stand) letIn(got string, seen int) bool {
	first, _, _ := strings.Cut(got, "\r\n")
	method, rest, _ := strings.Cut(first, " ")
	target, _, _ := strings.Cut(rest, " ")
	at, err := url.ParseRequestURI(target)
	if err != nil {
		return false
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-time.After(time.Millisecond) {
		for text := range strings.Lines(s.log.text()[max(0, seen-mayBeLate):]) {
			var line map[string]any
			if json.Unmarshal([]byte(text), &line) != nil || line["sallyport.decision"] != "allow" {
				continue
			}
			id, _ := line["http.request.id"].(string)
			if id != "" && strings.Contains(got, "\r\nX-Request-Id: "+id+"\r\n") {
				return saysOf(line["http.request.method"], method) && saysOfPath(line["url.path"], at.Path)
			}
		}
	}
	return false
}

// saysOf reports whether what a line of the log has is this value: bytes that are no UTF-8 are
// U+FFFD there, and what is too long is cut.
func saysOf(logged any, value string) bool {
	text, _ := logged.(string)
	if begin, cut := strings.CutSuffix(text, "…"); cut && len(value) > len(text) {
		return strings.HasPrefix(string([]rune(value)), begin)
	}
	return text == string([]rune(value))
}

// saysOfPath does so of a path, in which bytes that are no UTF-8, and percent signs, are
// percent-encoded.
func saysOfPath(logged any, path string) bool {
	text, _ := logged.(string)
	begin, cut := strings.CutSuffix(text, "…")
	if at := strings.LastIndexByte(begin, '%'); cut && at > len(begin)-len("%xx") {
		begin = begin[:at]
	}
	back, err := url.PathUnescape(begin)
	if err != nil {
		return false
	}
	if cut && len(path) > len(back) {
		return strings.HasPrefix(path, back)
	}
	back, err = url.PathUnescape(text)
	return err == nil && back == path
}
