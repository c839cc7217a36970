package format

import (
	"strconv"
)

// Combined appends a request in the combined log format: client, "-", user, time, request,
// status, bytes, "-" for the referrer, which is not recorded, and the user agent. Records
// about anything but requests have no place there.
func Combined(dst, line []byte) (out []byte, ok bool) {
	r, ok := read(line)
	if !ok || r.find("http.request.method") < 0 || r.peek("event.action") == "stream_begin" {
		return dst, false
	}
	dst = appendWord(dst, r.text("client.address"))
	dst = append(dst, " - "...)
	dst = appendWord(dst, r.text("user.name"))
	dst = append(dst, " ["...)
	dst = r.time().AppendFormat(dst, "02/Jan/2006:15:04:05 -0700")
	dst = append(dst, `] "`...)
	dst = r.appendRequest(dst)
	dst = append(dst, `" `...)
	dst = appendCount(dst, r.number("http.response.status_code"))
	dst = append(dst, ' ')
	dst = appendCount(dst, r.number("http.response.body.bytes"))
	dst = append(dst, ` "-" "`...)
	dst = appendQuoted(dst, r.text("user_agent.original"))
	return append(dst, '"'), true
}

// appendRequest appends the request line.
func (r *record) appendRequest(dst []byte) []byte {
	dst = appendTarget(dst, r.text("http.request.method"))
	dst = append(dst, ' ')
	dst = appendTarget(dst, r.text("url.path"))
	if query := r.text("url.query"); query != "" {
		dst = append(dst, '?')
		dst = appendTarget(dst, query)
	}
	dst = append(dst, " HTTP/"...)
	version := r.text("http.version")
	if version == "2" || version == "3" {
		version += ".0"
	}
	return appendTarget(dst, version)
}

// appendCount appends a number, "-" for none.
func appendCount(dst []byte, n int64) []byte {
	if n <= 0 {
		return append(dst, '-')
	}
	return strconv.AppendInt(dst, n, 10)
}

// appendWord appends text that ends with a space: "-" if it is empty, and nothing in it
// that would end it, or that looks like "-".
func appendWord(dst []byte, text string) []byte {
	switch text {
	case "":
		return append(dst, '-')
	case "-":
		return append(dst, `\x2d`...)
	}
	return appendEscaped(dst, text, true)
}

// appendQuoted appends text between quotation marks.
func appendQuoted(dst []byte, text string) []byte {
	if text == "" {
		return append(dst, '-')
	}
	return appendEscaped(dst, text, false)
}

// appendEscaped appends text as httpd does: what ends it, the backslash and whatever is no
// visible ASCII as \xHH.
func appendEscaped(dst []byte, text string, word bool) []byte {
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ' || c >= 0x7f || word && c == ' ':
			dst = append(dst, '\\', 'x', lowerHex[c>>4], lowerHex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// appendTarget appends a part of the request line, in which nothing but visible ASCII
// stands: the rest is percent-encoded, as it was sent or might have been.
func appendTarget(dst []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

const (
	lowerHex = "0123456789abcdef"
	upperHex = "0123456789ABCDEF"
)
