package accesslog

import (
	"os"
	"time"
)

// The actions of what a log says of itself.
const (
	ActionLogStart Action = "log_start" // the first record of an instance
	ActionLogEnd   Action = "log_end"   // the last one, of one that was not killed
	ActionLogGap   Action = "log_gap"   // records were lost here
)

// begin begins a record that a log writes about itself.
func (e *encoder) begin(now time.Time, action Action, service string) {
	e.buf = append(e.buf, `{"@timestamp":"`...)
	e.buf = now.UTC().AppendFormat(e.buf, timeFormat)
	e.buf = append(e.buf, `","ecs.version":"8.17.0","event.kind":"event"`...)
	k := kindOf(action)
	e.raw("event.category", k.category)
	e.raw("event.type", k.types)
	e.text("event.action", string(action))
	result := "success"
	if action == ActionLogGap {
		result = "failure"
	}
	e.text("event.outcome", result)
	e.text("service.name", service)
}

// appendStart appends the first record of an instance.
func (c *Config) appendStart(dst []byte, now time.Time) []byte {
	e := encoder{buf: dst}
	e.begin(now, ActionLogStart, c.Service)
	e.optional("sallyport.version", c.Version)
	if name, err := os.Hostname(); err == nil {
		e.text("host.name", name)
	}
	e.number("process.pid", int64(os.Getpid()))
	if p := c.Predecessor; p != nil {
		e.key("sallyport.log.predecessor")
		e.buf = p.appendJSON(e.buf)
	}
	if c.Start != nil {
		e.buf = c.Start(e.buf)
	}
	return append(e.buf, "}\n"...)
}

// appendEnd appends the last record of an instance.
func (c *Config) appendEnd(dst []byte, now time.Time) []byte {
	e := encoder{buf: dst}
	e.begin(now, ActionLogEnd, c.Service)
	return append(e.buf, "}\n"...)
}

// appendJSON appends the record of a gap.
func (g *gap) appendJSON(dst []byte, now time.Time, service string) []byte {
	e := encoder{buf: dst}
	e.begin(now, ActionLogGap, service)
	e.number("sallyport.log.dropped", int64(g.count)) //nolint:gosec // counts records
	e.text("event.start", g.from.UTC().Format(timeFormat))
	e.text("event.end", g.to.UTC().Format(timeFormat))
	return append(e.buf, "}\n"...)
}

// appendJSON appends h as a JSON object.
func (h *Head) appendJSON(dst []byte) []byte {
	e := encoder{buf: append(dst, `{"instance":`...)}
	e.buf = appendString(e.buf, h.Instance)
	e.number("sequence", int64(h.Sequence)) //nolint:gosec // counts records
	e.text("hash", h.Hash)
	return append(e.buf, '}')
}
