package accesslog

import (
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxValue bounds one value of a record, in bytes; what is longer is cut and
// ends with an ellipsis.
const maxValue = 2048

// timeFormat has a fixed width, so that lines sort.
const timeFormat = "2006-01-02T15:04:05.000000Z"

// AppendJSON appends r as one line, newline included, to dst.
func (r *Record) AppendJSON(dst []byte, service string) []byte {
	e := encoder{buf: append(dst, `{"@timestamp":"`...)}
	e.buf = r.Time.UTC().AppendFormat(e.buf, timeFormat)
	if r.Event != nil {
		r.Event.encode(&e, r.Action, service)
		return append(e.buf, "}\n"...)
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
	e.text("http.request.method", r.Method)
	e.text("url.domain", r.Host)
	e.key("url.path")
	e.buf = appendPath(e.buf, r.Path)
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
	e.optional("user_agent.original", r.UserAgent)
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
type encoder struct{ buf []byte }

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

func (e *encoder) text(name, value string) {
	e.key(name)
	e.buf = appendString(e.buf, value)
}

func (e *encoder) optional(name, value string) {
	if value != "" {
		e.text(name, value)
	}
}

func (e *encoder) list(name string, values []string) {
	if len(values) == 0 {
		return
	}
	e.key(name)
	sep := byte('[')
	for _, v := range values {
		e.buf = append(e.buf, sep)
		e.buf = appendString(e.buf, v)
		sep = ','
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
func appendString(dst []byte, s string) []byte { return appendText(dst, s, false) }

// appendPath does so with a path, of which two that differ never look the same: bytes
// that are no UTF-8 are percent-encoded, and so is the percent sign itself.
func appendPath(dst []byte, s string) []byte { return appendText(dst, s, true) }

func appendText(dst []byte, s string, percent bool) []byte {
	cut := len(s) > maxValue
	if cut {
		s = s[:boundary(s, maxValue)]
	}
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf && (c != '%' || !percent) {
			dst = appendASCII(dst, c)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case percent && size == 1:
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		case size == 1:
			dst = append(dst, `\ufffd`...)
		case harmless(r):
			dst = append(dst, s[i:i+size]...)
		default:
			dst = appendEscaped(dst, r)
		}
		i += size
	}
	if cut {
		dst = append(dst, "…"...)
	}
	return append(dst, '"')
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
