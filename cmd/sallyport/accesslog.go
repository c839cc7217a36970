package main

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/accesslog"
)

// lastRecords is how long a stop waits for the access log to take its last records.
const lastRecords = 5 * time.Second

// openAccessLog opens the access log of a process: on standard output, or in the file
// of that name. It is empty until the process serves.
func openAccessLog(name string, out io.Writer, cfg accesslog.Config) (*accesslog.Log, error) {
	if name != "-" {
		f, err := accesslog.Open(name)
		if err != nil {
			return nil, err
		}
		out = f
		if cfg.Predecessor, err = accesslog.LastOf(name); err != nil {
			_ = f.Close() // the first error is the one to tell
			return nil, err
		}
	}
	cfg.Sinks = append([]accesslog.Sink{accesslog.NewOutput("output", out)}, cfg.Sinks...)
	cfg.Version = buildVersion()
	return accesslog.Prepare(cfg), nil
}

// recording is what a gateway's configuration says of its access log.
func recording(a config.AccessLog, log *slog.Logger) accesslog.Config {
	durability := map[string]accesslog.Durability{
		config.DurabilityNone: accesslog.DurabilityNone, config.DurabilityBatch: accesslog.DurabilityBatch, config.DurabilityFsync: accesslog.DurabilityFsync,
	}
	return accesslog.Config{
		Service: "sallyport-gateway", Log: log, Durability: durability[a.Durability],
		Drop: a.OnFailure == config.OnFailureDrop, Buffer: a.BufferMiB << 20,
	}
}

// endAccessLog writes what is left, after the last request.
func endAccessLog(ctx context.Context, access *accesslog.Log, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastRecords)
	defer cancel()
	if err := access.Close(ctx); err != nil {
		log.Error("access log has not got its last records", "error", err)
	}
}
