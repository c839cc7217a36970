package otlp

import (
	"bytes"
	"encoding/hex"
	"time"
	"unicode/utf8"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// scope names the instrumentation to the collector.
const scope = "github.com/sallyport/sallyport/proxy/accesslog"

// The attributes are those members of a record by which somebody searches. Everything
// else is in the body, which is the record as it was sealed.
var attributes = map[string]bool{
	"event.category": true, "event.outcome": true, "event.reason": true, "event.duration": true,
	"http.request.id": true, "http.request.method": true, "http.response.status_code": true,
	"url.domain": true, "client.address": true, "source.address": true, "server.address": true,
	"user.name": true, "rule.name": true,
	"sallyport.decision": true, "sallyport.route": true, "sallyport.session.id": true,
	"sallyport.log.sequence": true, "sallyport.log.dropped": true,
}

// Severities of records, by their outcome.
const (
	inform = logspb.SeverityNumber_SEVERITY_NUMBER_INFO
	warn   = logspb.SeverityNumber_SEVERITY_NUMBER_WARN
	alarm  = logspb.SeverityNumber_SEVERITY_NUMBER_ERROR
)

// message is what a collector is sent of some lines: an ExportLogsServiceRequest, which
// is LogsData by another name; nil if there is nothing to send. bodyOf makes a record's
// body of its line.
func message(lines [][]byte, bodyOf func(dst, line []byte) []byte, now time.Time) ([]byte, error) {
	var data logspb.LogsData
	var last *source
	for _, line := range lines {
		record, from := recordOf(line, now)
		if bodyOf != nil {
			body := bodyOf(nil, line)
			if len(body) == 0 {
				continue
			}
			record.Body = textValue(body)
		}
		if last == nil || from != last.process {
			last = &source{process: from, scoped: &logspb.ScopeLogs{Scope: &commonpb.InstrumentationScope{Name: scope}}}
			data.ResourceLogs = append(data.ResourceLogs, &logspb.ResourceLogs{
				Resource: from.resource(), ScopeLogs: []*logspb.ScopeLogs{last.scoped},
			})
		}
		last.scoped.LogRecords = append(last.scoped.LogRecords, record)
	}
	if len(data.GetResourceLogs()) == 0 {
		return nil, nil
	}
	return proto.Marshal(&data)
}

// source is where the records of one process are gathered.
type source struct {
	process
	scoped *logspb.ScopeLogs
}

// process is whose records they are: a spool may hold those of an earlier run.
type process struct{ service, instance string }

func (p process) resource() *resourcepb.Resource {
	r := &resourcepb.Resource{}
	for _, pair := range [...][2]string{{"service.name", p.service}, {"service.instance.id", p.instance}} {
		if pair[1] != "" {
			r.Attributes = append(r.Attributes, &commonpb.KeyValue{Key: pair[0], Value: textValue([]byte(pair[1]))})
		}
	}
	return r
}

// recordOf makes a log record of a line without its line break, whose body is the line.
func recordOf(line []byte, now time.Time) (*logspb.LogRecord, process) {
	record := &logspb.LogRecord{
		ObservedTimeUnixNano: uint64(now.UnixNano()),
		Body:                 textValue(line), SeverityNumber: inform, SeverityText: "INFO",
	}
	var from process
	for name, value := range logfile.Members(line) {
		switch name {
		case "@timestamp":
			if at, err := time.Parse(logfile.TimeFormat, logfile.Text(value)); err == nil {
				record.TimeUnixNano = uint64(at.UnixNano())
			}
		case "service.name":
			from.service = logfile.Text(value)
		case "sallyport.log.instance":
			from.instance = logfile.Text(value)
		case "event.action":
			record.EventName = logfile.Text(value)
		case "trace.id":
			record.TraceId = identifier(value, 16)
		case "span.id":
			record.SpanId = identifier(value, 8)
		}
		if attributes[name] {
			record.Attributes = append(record.Attributes, &commonpb.KeyValue{Key: name, Value: valueOf(value)})
		}
		if name == "event.outcome" && logfile.Text(value) == "failure" {
			record.SeverityNumber, record.SeverityText = warn, "WARN"
		}
	}
	if record.EventName == "log_gap" {
		record.SeverityNumber, record.SeverityText = alarm, "ERROR"
	}
	return record, from
}

// identifier reads an id of a trace or a span; nil if it is none.
func identifier(value []byte, size int) []byte {
	raw, err := hex.DecodeString(logfile.Text(value))
	if err != nil || len(raw) != size {
		return nil
	}
	return raw
}

// valueOf is a JSON value as an attribute: text, a whole number, or a list of texts.
func valueOf(value []byte) *commonpb.AnyValue {
	switch {
	case len(value) > 0 && value[0] == '"':
		return textValue([]byte(logfile.Text(value)))
	case len(value) > 0 && value[0] == '[':
		list := &commonpb.ArrayValue{}
		for _, entry := range bytes.Split(bytes.Trim(value, "[]"), []byte(",")) { // codes, which hold no comma
			list.Values = append(list.Values, textValue([]byte(logfile.Text(entry))))
		}
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: list}}
	}
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: logfile.Number(value)}}
}

// textValue is text as it is. Bytes that are no text, which no line of ours has, are
// delivered as such: Protobuf takes them for no string.
func textValue(text []byte) *commonpb.AnyValue {
	if !utf8.Valid(text) {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_BytesValue{BytesValue: bytes.Clone(text)}}
	}
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: string(text)}}
}
