package accesslog

import (
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// What one value of a record may be long, in bytes as it stands in the line: what a
// stranger sends may be six times as long there. What is longer is cut, between two
// characters as they are written, and ends with an ellipsis.
const (
	maxValue  = 2048
	maxMethod = 64
	maxHost   = 512
	maxAgent  = 1024
	// maxList is what all entries of a list may be together.
	maxList = 4096
)

// What a whole record may be long. Values that come once it has so many bytes are cut
// to maxLate; a stranger has less, since anybody may be one, as often as they like.
const (
	mostOfStranger = 4 << 10
	mostOfPerson   = 16 << 10
	maxLate        = 256
)

// timeFormat has a fixed width, so that lines sort.
const timeFormat = "2006-01-02T15:04:05.000000Z"

// AppendJSON appends r as one line, newline included, to dst.
func (r *Record) AppendJSON(dst []byte, service string) []byte {
	e := encoder{buf: append(dst, `{"@timestamp":"`...), late: len(dst) + mostOfPerson}
	e.buf = r.Time.UTC().AppendFormat(e.buf, timeFormat)
	if r.Event != nil {
		r.Event.encode(&e, r.Action, service)
		return append(e.buf, "}\n"...)
	}
	if r.User == "" {
		e.late = len(dst) + mostOfStranger
	}
	e.buf = append(e.buf, `","ecs.version":"8.17.0","event.kind":"event"`...)
	k := kindOf(r.Action)
	e.raw("event.category", k.category)
	e.raw("event.type", k.typeOf(r.Stream))
	e.text("event.action", string(r.Action))
	e.text("event.outcome", outcome(r.Decision, r.Status))
	e.text("service.name", service)
	e.text("http.request.id", r.RequestID)
	e.optional("trace.id", r.TraceID)
	e.optional("span.id", r.SpanID)
	r.who(&e)
	r.what(&e)
	r.result(&e)
	return append(e.buf, "}\n"...)
}

func (r *Record) who(e *encoder) {
	e.text("sallyport.decision", r.Decision)
	e.optional("event.reason", r.Reason)
	e.optional("rule.name", r.Rule)
	e.optional("user.name", r.User)
	e.list("user.roles", r.Groups)
	e.optional("sallyport.session.id", r.SessionID)
	e.optional("sallyport.subject.id", r.SubjectID)
	e.optional("sallyport.assertion.id", r.Assertion)
	e.optional("sallyport.step_up", r.StepUp)
	e.optional("sallyport.idp", r.IdP)
	e.optional("sallyport.idp_certificate", r.IdPCertificate)
}

func (r *Record) what(e *encoder) {
	e.optional("sallyport.route", r.Route)
	e.atMost(maxMethod, "http.request.method", r.Method)
	e.atMost(maxHost, "url.domain", r.Host)
	e.key("url.path")
	e.buf = appendText(e.buf, r.Path, e.room(maxValue), true)
	e.optional("url.query", r.Query)
	e.optional("http.version", r.Protocol)
	e.text("client.address", r.ClientAddress)
	if port, err := strconv.ParseUint(r.ClientPort, 10, 16); err == nil {
		e.number("client.port", int64(port))
	}
	e.optional("source.address", r.Proxy)
	e.optional("tls.version", r.TLSVersion)
	e.optional("tls.client.x509.serial_number", r.ClientSerial)
	e.optional("sallyport.via", r.Via)
	e.optional("sallyport.peer", r.Peer)
	if r.UserAgent != "" {
		e.atMost(maxAgent, "user_agent.original", r.UserAgent)
	}
}

func (r *Record) result(e *encoder) {
	e.number("http.response.status_code", int64(r.Status))
	e.number("http.request.body.bytes", r.BytesIn)
	e.number("http.response.body.bytes", r.BytesOut)
	e.number("event.duration", int64(r.Duration/time.Nanosecond))
	e.optional("sallyport.stream", string(r.Stream))
	if r.Upstream != "" {
		e.text("server.address", r.Upstream)
		e.number("sallyport.upstream.duration", int64(r.UpstreamTime/time.Nanosecond))
		if r.Attempts > 1 {
			e.number("sallyport.upstream.attempts", int64(r.Attempts))
		}
		e.optional("sallyport.upstream.client_serial", r.OwnSerial)
		e.optional("sallyport.upstream.server_serial", r.UpstreamSerial)
	}
	e.optional("error.message", r.Cause)
}

// outcome is the ECS word for how it ended.
func outcome(decision string, status int) string {
	switch {
	case decision == DecisionDeny || status >= 400:
		return "failure"
	case decision == DecisionAllow:
		return "success"
	}
	return "unknown"
}

// encoder appends members of one JSON object.
type encoder struct {
	buf  []byte
	late int // the length of buf from which on values are short; 0 for any
}

func (e *encoder) key(name string) {
	e.buf = append(e.buf, ',', '"')
	e.buf = append(e.buf, name...)
	e.buf = append(e.buf, '"', ':')
}

func (e *encoder) raw(name, json string) {
	e.key(name)
	e.buf = append(e.buf, json...)
}

func (e *encoder) number(name string, n int64) {
	e.key(name)
	e.buf = strconv.AppendInt(e.buf, n, 10)
}

// room is how long a value may be here that may be so long elsewhere.
func (e *encoder) room(most int) int {
	if e.late > 0 && len(e.buf) > e.late {
		return min(most, maxLate)
	}
	return most
}

func (e *encoder) atMost(most int, name, value string) {
	e.key(name)
	e.buf = appendText(e.buf, value, e.room(most), false)
}

func (e *encoder) text(name, value string) { e.atMost(maxValue, name, value) }

func (e *encoder) optional(name, value string) {
	if value != "" {
		e.text(name, value)
	}
}

// list ends with an ellipsis as an entry of its own if there is no room for all.
func (e *encoder) list(name string, values []string) {
	if len(values) == 0 {
		return
	}
	e.key(name)
	start := len(e.buf)
	sep := byte('[')
	for _, v := range values {
		e.buf = append(e.buf, sep)
		sep = ','
		before := len(e.buf)
		if e.buf = appendText(e.buf, v, e.room(maxValue), false); len(e.buf)-start > e.room(maxList) {
			e.buf = append(e.buf[:before], `"…"`...)
			break
		}
	}
	e.buf = append(e.buf, ']')
}

const (
	lowerHex = "0123456789abcdef"
	upperHex = "0123456789ABCDEF"
)

// appendString appends s as a JSON string (RFC 8259 section 7) in which no
// character acts on a terminal, a viewer or a parser of lines. Bytes that are no UTF-8
// become U+FFFD.
func appendString(dst []byte, s string) []byte { return appendText(dst, s, maxValue, false) }

// appendText does so with at most so many bytes between the quotation marks. With percent
// it is a path, of which two that differ never look the same: bytes that are no UTF-8 are
// percent-encoded, and so is the percent sign itself.
func appendText(dst []byte, s string, most int, percent bool) []byte {
	cut := len(s) > most // nothing is shorter in the line
	if cut {
		s = s[:boundary(s, most)]
	}
	dst = append(dst, '"')
	most += len(dst)
	for i := 0; i < len(s); {
		before := len(dst)
		if n := plainASCII(s[i:], percent); n > 0 {
			dst = append(dst, s[i:i+n]...)
			i += n
			if len(dst) > most {
				dst, cut = dst[:most], true
				break
			}
			continue
		}
		var size int
		dst, size = appendOther(dst, s[i:], percent)
		if len(dst) > most {
			dst, cut = dst[:before], true
			break
		}
		i += size
	}
	if cut {
		dst = append(dst, "…"...)
	}
	return append(dst, '"')
}

// plainASCII is how many bytes at the start of s stand in the line as they are.
func plainASCII(s string, percent bool) int {
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c >= 0x7f || c == '"' || c == '\\' || percent && c == '%' {
			return i
		}
	}
	return len(s)
}

// appendOther appends the first character of s, which does not stand in the line as it is
// or is no ASCII, and returns how many bytes of s that is.
func appendOther(dst []byte, s string, percent bool) (out []byte, size int) {
	c := s[0]
	if c < utf8.RuneSelf && (c != '%' || !percent) {
		return appendASCII(dst, c), 1
	}
	r, size := utf8.DecodeRuneInString(s)
	switch {
	case percent && size == 1:
		return append(dst, '%', upperHex[c>>4], upperHex[c&15]), 1
	case size == 1:
		return append(dst, `\ufffd`...), 1
	case harmless(r):
		return append(dst, s[:size]...), size
	}
	return appendEscaped(dst, r), size
}

// boundary returns the last place in s, at or before limit, where no character
// is cut in two.
func boundary(s string, limit int) int {
	for i := limit; i > limit-utf8.UTFMax; i-- {
		if utf8.RuneStart(s[i]) {
			return i
		}
	}
	return limit // no UTF-8: nothing to cut in two
}

func appendASCII(dst []byte, c byte) []byte {
	switch {
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	case c < ' ' || c == 0x7f:
		return append(dst, '\\', 'u', '0', '0', lowerHex[c>>4], lowerHex[c&15])
	}
	return append(dst, c)
}

// harmless reports whether r only looks like itself: no control, no format
// character, no line or paragraph separator, no private use, and nothing that
// is drawn as nothing (fillers, variation selectors).
func harmless(r rune) bool {
	return unicode.IsPrint(r) && r != brailleBlank &&
		!unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// brailleBlank is a printable character by its category, and no ink.
const brailleBlank = '\u2800'

// appendEscaped appends r as \u and four hexadecimal digits, in two halves
// beyond the basic plane.
func appendEscaped(dst []byte, r rune) []byte {
	if r > 0xffff {
		r -= 0x10000
		dst = appendEscaped(dst, 0xd800+(r>>10))
		return appendEscaped(dst, 0xdc00+(r&0x3ff))
	}
	return append(dst, '\\', 'u', lowerHex[r>>12&15], lowerHex[r>>8&15], lowerHex[r>>4&15], lowerHex[r&15])
}
