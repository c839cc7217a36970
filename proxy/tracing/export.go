package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport/sallyport/proxy/otlp"
)

// Spans are for looking at, and no evidence: while the collector is away some are kept,
// and further ones are dropped and counted.
const (
	maxWaiting  = 2048 // spans that wait
	maxBatch    = 512  // spans in one message
	batchAfter  = 2 * time.Second
	giveUpAfter = time.Minute     // with a batch that is not taken
	lastPush    = 3 * time.Second // for what waits at the end of the process
)

// queue has spans wait for the collector. It implements sdk.SpanProcessor.
type queue struct {
	log      *slog.Logger
	waiting  chan sdk.ReadOnlySpan
	exporter *otlptrace.Exporter
	away     bool // the collector; of Run's goroutine

	exported, dropped, rejected atomic.Int64
}

func newQueue(cfg Config) *queue {
	q := &queue{log: cfg.Log}
	if cfg.Collector != nil {
		q.waiting = make(chan sdk.ReadOnlySpan, maxWaiting)
		q.exporter = otlptrace.NewUnstarted(uploader{cfg.Collector, resourceOf(cfg.Source)})
	}
	return q
}

// OnStart implements sdk.SpanProcessor.
func (q *queue) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd implements sdk.SpanProcessor. It never waits.
func (q *queue) OnEnd(s sdk.ReadOnlySpan) {
	select {
	case q.waiting <- s:
	default:
		q.dropped.Add(1)
	}
}

// Shutdown and ForceFlush implement sdk.SpanProcessor: Run ends with its context.
func (q *queue) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdk.SpanProcessor.
func (q *queue) ForceFlush(context.Context) error { return nil }

// Run sends spans to the collector until ctx ends, and then what waits, if the collector
// is quick. It returns nil.
func (t *Tracer) Run(ctx context.Context) error {
	if t == nil || t.queue.exporter == nil {
		return nil
	}
	q := t.queue
	sending, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastPush, giveUp) })()
	for ctx.Err() == nil {
		q.send(sending, q.gather(ctx))
	}
	for batch := q.rest(); len(batch) > 0 && sending.Err() == nil; batch = q.rest() {
		q.send(sending, batch)
	}
	return nil
}

// gather waits for spans: until there are many, or some for a while, or ctx ends.
func (q *queue) gather(ctx context.Context) []sdk.ReadOnlySpan {
	var batch []sdk.ReadOnlySpan
	select {
	case s := <-q.waiting:
		batch = append(batch, s)
	case <-ctx.Done():
		return nil
	}
	ready := time.NewTimer(batchAfter)
	defer ready.Stop()
	for len(batch) < maxBatch {
		select {
		case s := <-q.waiting:
			batch = append(batch, s)
		case <-ready.C:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

// rest is what waits now, as much as one message takes.
func (q *queue) rest() (batch []sdk.ReadOnlySpan) {
	for len(batch) < maxBatch {
		select {
		case s := <-q.waiting:
			batch = append(batch, s)
		default:
			return batch
		}
	}
	return batch
}

// send delivers a batch, and gives up in the end.
func (q *queue) send(ctx context.Context, batch []sdk.ReadOnlySpan) {
	if len(batch) == 0 {
		return
	}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := q.exporter.ExportSpans(ctx, batch)
		var failed *otlp.Error
		if !errors.As(err, &failed) {
			return struct{}{}, permanent(err)
		}
		q.note(err)
		switch {
		case !failed.Retry:
			err = backoff.Permanent(err)
		case failed.After > 0:
			err = backoff.RetryAfter(max(1, int(failed.After/time.Second)))
		}
		return struct{}{}, err
	}, backoff.WithMaxElapsedTime(giveUpAfter))
	var partial *otlp.PartialError
	switch {
	case err == nil:
		q.exported.Add(int64(len(batch)))
		q.recovered()
	case errors.As(err, &partial):
		q.rejected.Add(partial.Rejected)
		q.exported.Add(int64(len(batch)) - partial.Rejected)
		q.recovered()
		q.log.Warn("collector does not take all spans", "rejected", partial.Rejected, "cause", partial.Message)
	default:
		q.dropped.Add(int64(len(batch)))
		q.note(err)
	}
}

func permanent(err error) error {
	if err == nil {
		return nil
	}
	return backoff.Permanent(err)
}

// note tells once that spans are not delivered.
func (q *queue) note(err error) {
	if !q.away {
		q.away = true
		q.log.Warn("spans are not delivered; those that find no room are dropped", "cause", err.Error())
	}
}

func (q *queue) recovered() {
	if q.away {
		q.away = false
		q.log.Info("spans are delivered again", "dropped", q.dropped.Load())
	}
}

// uploader sends what the library has made of spans, with a resource of ours. It
// implements otlptrace.Client.
type uploader struct {
	collector *otlp.Client
	resource  *resourcepb.Resource
}

// Start implements otlptrace.Client.
func (uploader) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (u uploader) Stop(context.Context) error { return nil }

// UploadTraces implements otlptrace.Client.
func (u uploader) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	for _, part := range spans {
		part.Resource, part.SchemaUrl = u.resource, ""
	}
	// TracesData is an ExportTraceServiceRequest by another name, and without a gRPC.
	message, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("encoding spans: %w", err)
	}
	return u.collector.Export(ctx, otlp.Traces, message)
}

// resourceOf is a process as the collector sees it.
func resourceOf(s Source) *resourcepb.Resource {
	r := &resourcepb.Resource{}
	for _, pair := range [...][2]string{
		{"service.name", s.Service}, {"service.version", s.Version}, {"service.instance.id", s.Instance}, {"host.name", s.Host},
	} {
		if pair[1] != "" {
			r.Attributes = append(r.Attributes, &commonpb.KeyValue{
				Key: pair[0], Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: clean(pair[1])}},
			})
		}
	}
	return r
}

// spansTotal counts what has become of spans.
func spansTotal() *prometheus.Desc {
	return prometheus.NewDesc("sallyport_trace_spans_total", "Spans by what has become of them.", []string{"result"}, nil)
}

// Describe implements prometheus.Collector.
func (t *Tracer) Describe(ch chan<- *prometheus.Desc) { ch <- spansTotal() }

// Collect implements prometheus.Collector.
func (t *Tracer) Collect(ch chan<- prometheus.Metric) {
	for result, n := range map[string]*atomic.Int64{"exported": &t.queue.exported, "dropped": &t.queue.dropped, "rejected": &t.queue.rejected} {
		ch <- prometheus.MustNewConstMetric(spansTotal(), prometheus.CounterValue, float64(n.Load()), result)
	}
}
