package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
	"github.com/sallyport/sallyport/proxy/accesslog/sink/file"
)

// lastRecords is how long a stop waits for the access log to take its last records.
const lastRecords = 5 * time.Second

// openAccessLog opens the access log of a process, which goes to the standard output
// unless cfg has sinks. It is empty until the process serves.
func openAccessLog(out io.Writer, cfg accesslog.Config) *accesslog.Log {
	if len(cfg.Sinks) == 0 {
		cfg.Sinks = []accesslog.Sink{accesslog.NewOutput(ownOutput, out)}
	}
	cfg.Version = buildVersion()
	return accesslog.Prepare(cfg)
}

// ownOutput is what errors and metrics call access_log.file.
const ownOutput = "output"

// logParts are what a gateway's log has besides what its configuration opens. The zero
// value is none of it.
type logParts struct {
	maker  *checkpoint.Checkpointer // has it signed; nil for nobody
	beside []accesslog.Sink         // that nobody waits for
}

// openGatewayLog opens a gateway's access log, in every place that its configuration
// names, with what else belongs to it.
func openGatewayLog(ctx context.Context, a config.AccessLog, parts logParts, out io.Writer, log *slog.Logger) (*accesslog.Log, *logSinks, error) {
	cfg := recording(a, log)
	if parts.maker != nil {
		cfg.Start = parts.maker.AppendStart
	}
	first := accesslog.NewOutput(ownOutput, out)
	var files []*file.File
	if a.File != "-" {
		opened, err := file.Start(ctx, fileConfig(ownOutput, a.File, a.Rotate, a.Durability, log))
		if err != nil {
			return nil, nil, &hinted{err, "choose a file in access_log.file that this process may append to"}
		}
		first, files = opened, []*file.File{opened}
		if cfg.Predecessor, err = file.LastOf(a.File); err != nil {
			return nil, nil, errors.Join(err, first.Close())
		}
	}
	sinks, err := openSinks(ctx, a, out, log)
	if err != nil {
		return nil, nil, &hinted{errors.Join(err, first.Close()), "see to it that this process may write where access_log.sinks says, and reads the files that it names"}
	}
	sinks.files = append(sinks.files, files...)
	if cfg.Predecessor != nil {
		if err := sinks.catchUp(ctx, a.File, *cfg.Predecessor); err != nil {
			return nil, nil, errors.Join(err, sinks.close(), first.Close())
		}
	}
	cfg.Sinks, cfg.Beside = append([]accesslog.Sink{first}, sinks.waited...), slices.Concat(sinks.beside, parts.beside)
	return openAccessLog(out, cfg), sinks, nil
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
