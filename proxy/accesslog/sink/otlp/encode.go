package otlp

import (
	"bytes"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// The fields of the messages, by opentelemetry/proto/logs/v1 and common/v1. They are
// written as they come: the library's values of them cost ten times as much as what they
// hold, a hundred allocations for each record.
const (
	dataResourceLogs = 1 // ExportLogsServiceRequest

	ofResource = 1 // ResourceLogs
	ofScope    = 2

	resourceAttributes = 1 // Resource

	scopeOf      = 1 // ScopeLogs
	scopeRecords = 2
	scopeName    = 1 // InstrumentationScope

	recordTime         = 1 // LogRecord
	recordSeverity     = 2
	recordSeverityText = 3
	recordBody         = 5
	recordAttributes   = 6
	recordTrace        = 9
	recordSpan         = 10
	recordSeen         = 11
	recordEvent        = 12

	pairKey   = 1 // KeyValue
	pairValue = 2

	valueText  = 1 // AnyValue
	valueInt   = 3
	valueList  = 5
	valueBytes = 7
	listValues = 1 // ArrayValue
)

// encoder makes messages. It is for one goroutine, and used again.
type encoder struct {
	records []byte // of one process, each a field of ScopeLogs
	record  record
	// Buffers for what must be made before its length is known, from the outside in.
	entry, pair, value, body []byte
}

// message is what a collector is sent of some lines: an ExportLogsServiceRequest, or
// nothing if there is nothing to send. bodyOf makes a record's body of its line; nil leaves
// the line as it is.
func (e *encoder) message(dst []byte, lines [][]byte, bodyOf func(dst, line []byte) []byte, now time.Time) []byte {
	var last process
	e.records = e.records[:0]
	for _, line := range lines {
		r := &e.record
		r.read(line, now)
		if bodyOf != nil {
			if e.body = bodyOf(e.body[:0], line); len(e.body) == 0 {
				continue
			}
			r.body = e.body
		}
		if len(e.records) > 0 && r.process != last {
			dst = e.flush(dst, last)
		}
		last = r.process
		e.entry = e.appendRecord(e.entry[:0], r)
		e.records = appendBytes(e.records, scopeRecords, e.entry)
	}
	return e.flush(dst, last)
}

// flush appends the records of one process, if there are any.
func (e *encoder) flush(dst []byte, of process) []byte {
	if len(e.records) == 0 {
		return dst
	}
	resource := e.appendPair(nil, resourceAttributes, "service.name", func(v []byte) []byte { return appendText(v, []byte(of.service)) })
	resource = e.appendPair(resource, resourceAttributes, "service.instance.id", func(v []byte) []byte { return appendText(v, []byte(of.instance)) })
	scoped := appendBytes(nil, scopeOf, appendBytes(nil, scopeName, []byte(scope)))
	inner := appendBytes(nil, ofResource, resource)
	inner = protowire.AppendTag(inner, ofScope, protowire.BytesType)
	inner = protowire.AppendVarint(inner, uint64(len(scoped)+len(e.records)))
	inner = append(append(inner, scoped...), e.records...)
	e.records = e.records[:0]
	return appendBytes(dst, dataResourceLogs, inner)
}

// appendRecord appends a LogRecord.
func (e *encoder) appendRecord(dst []byte, r *record) []byte {
	if !r.time.IsZero() {
		dst = appendTime(dst, recordTime, r.time)
	}
	dst = appendTime(dst, recordSeen, r.seen)
	dst = protowire.AppendVarint(protowire.AppendTag(dst, recordSeverity, protowire.VarintType), uint64(r.severity))
	dst = appendBytes(dst, recordSeverityText, []byte(r.severity.String()))
	e.value = appendText(e.value[:0], r.body)
	dst = appendBytes(dst, recordBody, e.value)
	for _, m := range r.attributes {
		dst = e.appendPair(dst, recordAttributes, m.name, func(v []byte) []byte { return appendValue(v, m.value) })
	}
	if id := identifier(r.trace, 16); id != nil {
		dst = appendBytes(dst, recordTrace, id)
	}
	if id := identifier(r.span, 8); id != nil {
		dst = appendBytes(dst, recordSpan, id)
	}
	return appendBytes(dst, recordEvent, r.event)
}

// appendPair appends a KeyValue as a field; value appends an AnyValue.
func (e *encoder) appendPair(dst []byte, field protowire.Number, key string, value func([]byte) []byte) []byte {
	e.value = value(e.value[:0])
	e.pair = protowire.AppendString(protowire.AppendTag(e.pair[:0], pairKey, protowire.BytesType), key)
	e.pair = appendBytes(e.pair, pairValue, e.value)
	return appendBytes(dst, field, e.pair)
}

// appendValue appends a JSON value as an AnyValue: text, a whole number, or a list of
// codes, which hold no comma.
func appendValue(dst, value []byte) []byte {
	switch {
	case len(value) > 0 && value[0] == '"':
		return appendText(dst, plain(value))
	case len(value) > 0 && value[0] == '[':
		var list []byte
		for entry := range bytes.SplitSeq(bytes.Trim(value, "[]"), []byte{','}) {
			list = appendBytes(list, listValues, appendText(nil, plain(entry)))
		}
		return appendBytes(dst, valueList, list)
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, valueInt, protowire.VarintType), uint64(logfile.Number(value))) //nolint:gosec // how Protobuf has an int64
}

// appendText appends text as an AnyValue. What is no text, which no line of ours is, goes
// as bytes: Protobuf takes it for no string.
func appendText(dst, text []byte) []byte {
	if !utf8.Valid(text) {
		return appendBytes(dst, valueBytes, text)
	}
	return appendBytes(dst, valueText, text)
}

func appendBytes(dst []byte, field protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(dst, field, protowire.BytesType), value)
}

// appendTime appends a time in nanoseconds of Unix.
func appendTime(dst []byte, field protowire.Number, at time.Time) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(dst, field, protowire.Fixed64Type), uint64(at.UnixNano())) //nolint:gosec // after 1970
}
