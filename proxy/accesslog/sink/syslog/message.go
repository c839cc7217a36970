package syslog

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// Severities, RFC 5424 section 6.2.1.
const (
	severityWarning = 4 // somebody was refused, or records are missing
	severityNotice  = 5 // something failed
	severityInfo    = 6
)

// Limits of the header, RFC 5424 section 6.
const (
	maxHostname = 255
	maxAppName  = 48
	maxProcID   = 128
	maxMsgID    = 32
	// maxSequence is the largest sequenceId, section 7.3.1; 1 follows.
	maxSequence = 1<<31 - 1
)

// shape is what the headers of all messages have in common.
type shape struct {
	facility       int
	hostname, name string
	format         func(dst, line []byte) []byte
}

// appendFrame appends one record as a message, counted in octets (RFC 6587 section
// 3.4.1), which RFC 5425 demands as well, or nothing if the format has no word for it.
// text is used for the message. line has no line break.
func (s *shape) appendFrame(dst, text, line []byte) (frame, used []byte) {
	text = s.appendHeaders(text[:0], line)
	header := len(text)
	if s.format == nil {
		text = append(text, line...)
	} else {
		text = s.format(text, line)
	}
	if len(text) == header {
		return dst, text
	}
	dst = strconv.AppendInt(dst, int64(len(text)), 10)
	dst = append(dst, ' ')
	return append(dst, text...), text
}

// appendHeaders appends all of a message but MSG, RFC 5424 section 6. PROCID is the
// instance, whose change tells a collector of a discontinuity, and sequenceId the number
// of the record in it. MSG has no byte order mark: it is the line, byte for byte.
func (s *shape) appendHeaders(dst, line []byte) []byte {
	r, kind := logfile.Parse(line)
	instance := ""
	if kind == logfile.Sealed {
		instance = r.Instance.String()
	}
	dst = append(dst, '<')
	dst = strconv.AppendInt(dst, int64(s.facility*8+severity(r)), 10)
	dst = append(dst, ">1 "...)
	dst = appendHeader(dst, string(r.RawTime()), len(logfile.TimeFormat))
	dst = appendHeader(dst, s.hostname, maxHostname)
	dst = appendHeader(dst, s.name, maxAppName)
	dst = appendHeader(dst, instance, maxProcID)
	dst = appendHeader(dst, r.Action(), maxMsgID)
	if instance == "" {
		return append(dst, "- "...)
	}
	dst = append(dst, `[meta sequenceId="`...)
	dst = strconv.AppendUint(dst, (r.Sequence-1)%maxSequence+1, 10)
	return append(dst, `"] `...)
}

// appendHeader appends a field of the header and the space behind it: printable ASCII
// without a space, or "-" for nothing.
func appendHeader(dst []byte, value string, limit int) []byte {
	value = strings.Map(func(c rune) rune {
		if c <= ' ' || c > '~' {
			return -1
		}
		return c
	}, value)
	if value == "" {
		value = "-"
	}
	return append(append(dst, value[:min(len(value), limit)]...), ' ')
}

// severity is how much a record matters to whoever watches.
func severity(r logfile.Record) int {
	switch {
	case bytes.Equal(r.Member("sallyport.decision"), []byte(`"deny"`)), r.Action() == "log_gap":
		return severityWarning
	case bytes.Equal(r.Member("event.outcome"), []byte(`"failure"`)):
		return severityNotice
	}
	return severityInfo
}
