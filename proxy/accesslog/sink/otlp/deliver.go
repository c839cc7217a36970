package otlp

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
	"github.com/sallyport/sallyport/proxy/accesslog/sink/courier"
	"github.com/sallyport/sallyport/proxy/otlp"
)

// Bounds of one message. Collectors take 4 MiB by default.
const (
	maxRecords = 2048
	maxBytes   = 1 << 20 // of lines, which attributes make half as long again
)

// How long a collector that is away is left alone: longer each time, and by chance, so
// that many gateways do not come back at once.
const (
	firstPause = 500 * time.Millisecond
	maxPause   = 30 * time.Second
)

// deliver sends lines until the collector has taken them, or says that it does not take
// just these. Its error is the end of sending, or that of ctx while the collector is away.
func (s *Sink) deliver(ctx, sending context.Context, text []byte) error {
	lines := bytes.Split(bytes.TrimSuffix(text, []byte{'\n'}), []byte{'\n'})
	for len(lines) > 0 {
		n, size := 0, 0
		for n < len(lines) && n < maxRecords && (n == 0 || size+len(lines[n]) <= maxBytes) {
			size += len(lines[n])
			n++
		}
		if err := s.insist(ctx, sending, lines[:n]); err != nil {
			return err
		}
		lines = lines[n:]
	}
	return nil
}

// insist sends one message of lines, again and again while the collector is away. If it
// is the content that the collector does not take, the lines go in two halves, until it
// is known which one it is.
func (s *Sink) insist(ctx, sending context.Context, lines [][]byte) error {
	for pause := firstPause; ; pause = min(2*pause, maxPause) {
		err := s.export(sending, lines)
		var failed *otlp.Error
		switch {
		case err == nil:
			s.Taken(len(lines))
			return nil
		case sending.Err() != nil:
			return sending.Err()
		case !errors.As(err, &failed):
			return s.rejected(lines, err)
		case failed.Content && len(lines) > 1:
			half := len(lines) / 2
			if err := s.insist(ctx, sending, lines[:half]); err != nil {
				return err
			}
			return s.insist(ctx, sending, lines[half:])
		case failed.Content:
			return s.rejected(lines, err)
		}
		s.Away(err)
		if err := courier.Sleep(ctx, max(failed.After, pause/2+rand.N(pause/2))); err != nil { //nolint:gosec // spreads load
			return err
		}
	}
}

// export sends one message once.
func (s *Sink) export(ctx context.Context, lines [][]byte) error {
	s.raw = s.encoder.message(s.raw[:0], lines, s.cfg.Format, time.Now())
	if len(s.raw) == 0 {
		return nil
	}
	return s.cfg.Collector.Export(ctx, otlp.Logs, s.raw)
}

// rejected notes lines that a collector will never take, with where they are to be found:
// the file has them. The collector does not say which of them it means.
func (s *Sink) rejected(lines [][]byte, cause error) error {
	count := int64(len(lines))
	var partial *otlp.PartialError
	if errors.As(cause, &partial) {
		count = min(max(partial.Rejected, 0), count)
	}
	s.Courier.Rejected(int(count))
	s.Taken(len(lines) - int(count))
	first, _ := logfile.Parse(lines[0])
	last, _ := logfile.Parse(lines[len(lines)-1])
	if count == 0 {
		s.cfg.Log.Warn("collector of access log warns of records that it has taken", "sink", s.cfg.Name,
			"instance", first.Instance.String(), "first", first.Sequence, "last", last.Sequence, "cause", cause.Error())
		return nil
	}
	s.cfg.Log.Error("collector of access log does not take records: it will never have them", "sink", s.cfg.Name, "rejected", count,
		"instance", first.Instance.String(), "first", first.Sequence, "last", last.Sequence, "cause", cause.Error())
	return nil
}
