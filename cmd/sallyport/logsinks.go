package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/format"
	"github.com/sallyport/sallyport/proxy/accesslog/sink"
	"github.com/sallyport/sallyport/proxy/accesslog/sink/courier"
	"github.com/sallyport/sallyport/proxy/accesslog/sink/file"
	"github.com/sallyport/sallyport/proxy/accesslog/sink/otlp"
	"github.com/sallyport/sallyport/proxy/accesslog/sink/spool"
	"github.com/sallyport/sallyport/proxy/accesslog/sink/syslog"
	"github.com/sallyport/sallyport/vaultpki"
)

// logSinks are where records go besides access_log.file. They are opened before Vault is
// asked anything, and each has goroutines of its own until it is closed, which is what
// the log does.
type logSinks struct {
	out        io.Writer // the standard output
	durability string    // of the log
	log        *slog.Logger
	// identity has the certificate that a collector may ask for; nil until it is there.
	identity atomic.Pointer[vaultpki.Certificates]
	// waited are those without which nobody is let in, beside those that nobody waits
	// for. collectors are those of both that have a spool, files all that are rotated,
	// access_log.file too.
	waited, beside []accesslog.Sink
	collectors     []spooledSink
	files          []*file.File
}

// spooledSink is a sink with a spool.
type spooledSink struct {
	*courier.Courier
	// to is what it gets records by, behind its filter.
	to accesslog.Sink
}

// openSinks opens all of them, or none.
func openSinks(ctx context.Context, cfg config.AccessLog, out io.Writer, log *slog.Logger) (*logSinks, error) {
	s := &logSinks{out: out, log: log, durability: cfg.Durability}
	for _, c := range cfg.Sinks {
		opened, err := s.open(ctx, c)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("sink %s of the access log: %w", c.Name, err), s.close())
		}
		if c.Drops() {
			s.beside = append(s.beside, opened)
		} else {
			s.waited = append(s.waited, opened)
		}
	}
	return s, nil
}

// close closes those that are open, on a failed start.
func (s *logSinks) close() error {
	var err error
	for _, opened := range append(s.waited, s.beside...) {
		err = errors.Join(err, opened.Close())
	}
	return err
}

// open opens one.
func (s *logSinks) open(ctx context.Context, c config.Sink) (accesslog.Sink, error) {
	only := sink.Filter{Actions: c.Only.Actions, Decisions: c.Only.Decisions, Outcomes: c.Only.Outcomes, Routes: c.Only.Routes, Reasons: c.Only.Reasons}
	looks, err := formatOf(c.Format)
	if err != nil {
		return nil, err
	}
	switch {
	case c.File.Path == "-":
		return sink.Select(accesslog.NewOutput(c.Name, s.out), only, looks), nil
	case c.File.Path != "":
		opened, err := file.Start(ctx, fileConfig(c.Name, c.File.Path, c.File.Rotate, s.durability, s.log))
		if err != nil {
			return nil, err
		}
		s.files = append(s.files, opened)
		return sink.Select(opened, only, looks), nil
	}
	open := s.openSyslog
	if c.OTLP.On() {
		open = s.openOTLP
	}
	opened, delivers, err := open(ctx, c, looks)
	if err != nil {
		return nil, err
	}
	selected := sink.Select(opened, only, nil)
	s.collectors = append(s.collectors, spooledSink{delivers, selected})
	return selected, nil
}

// catchUp gives collectors what a process that was killed has written to its file and
// not to their spools. last is what it has written last.
func (s *logSinks) catchUp(ctx context.Context, path string, last accesslog.Head) error {
	for _, c := range s.collectors {
		heads, err := c.Spool().Behind(last.Instance)
		if err != nil {
			return fmt.Errorf("sink %s of the access log: %w", c.Name(), err)
		}
		for _, head := range heads {
			if head.Instance == last.Instance && head.Last >= last.Sequence {
				continue
			}
			if err := s.owed(ctx, c, path, head); err != nil {
				return fmt.Errorf("sink %s of the access log: %w", c.Name(), err)
			}
		}
	}
	return nil
}

// owed gives a collector what a file has behind a record.
func (s *logSinks) owed(ctx context.Context, c spooledSink, path string, head spool.Head) error {
	records := 0
	err := file.Since(ctx, path, accesslog.Head{Instance: head.Instance, Sequence: head.Last}, func(b *accesslog.Batch) error {
		records += b.Count
		return c.to.Write(ctx, b)
	})
	if errors.Is(err, spool.ErrFull) { // as it would have been then
		s.log.Warn("collector misses records that its full spool did not take", "sink", c.Name(), "behind", head.Last)
		return nil
	}
	if err == nil && records > 0 {
		s.log.Info("spooled what a process before was kept from", "sink", c.Name(), "records", records)
	}
	return err
}

// formatOf is how records are written; nil is as they are.
func formatOf(name string) (sink.Format, error) {
	if name == format.NameECS {
		return nil, nil //nolint:nilnil // as they are
	}
	write, err := format.Named(name)
	if err != nil {
		return nil, err
	}
	return func(dst, line []byte) []byte {
		dst, _ = write(dst, line) // nothing is added for what has no place in the format
		return dst
	}, nil
}

// fileConfig is how a file is written.
func fileConfig(name, path string, r config.Rotate, durability string, log *slog.Logger) file.Config {
	return file.Config{
		Name: name, Path: path, NeverSynced: durability == config.DurabilityNone, Size: int64(r.SizeMiB) << 20, Every: r.Every.Duration,
		Keep: r.Keep, KeepFor: r.KeepFor.Duration, Compress: r.Compress && r.On(), Log: log,
	}
}

// openSyslog opens the sink of a syslog collector.
func (s *logSinks) openSyslog(ctx context.Context, c config.Sink, looks sink.Format) (accesslog.Sink, *courier.Courier, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return nil, nil, err
	}
	secured, err := s.collectorTLS(c.Syslog)
	if err != nil {
		return nil, nil, err
	}
	queue, err := openSpool(c, s.log)
	if err != nil {
		return nil, nil, err
	}
	opened := syslog.New(ctx, syslog.Config{
		Name: c.Name, Address: c.Syslog.Address, TLS: secured, Facility: c.Syslog.FacilityCode(), Hostname: hostname, AppName: c.Syslog.AppName,
		Format: looks, Spool: queue, Log: s.log,
	})
	return opened, opened.Courier, nil
}

// openOTLP opens the sink of a collector that speaks the OpenTelemetry protocol.
func (s *logSinks) openOTLP(ctx context.Context, c config.Sink, looks sink.Format) (accesslog.Sink, *courier.Courier, error) {
	collector, err := dialCollector("otlp", c.OTLP, &s.identity)
	if err != nil {
		return nil, nil, err
	}
	queue, err := openSpool(c, s.log)
	if err != nil {
		return nil, nil, err
	}
	opened := otlp.New(ctx, otlp.Config{Name: c.Name, Collector: collector, Format: looks, Spool: queue, Log: s.log})
	return opened, opened.Courier, nil
}

// openSpool opens what waits for a collector.
func openSpool(c config.Sink, log *slog.Logger) (*spool.Spool, error) {
	return spool.Open(spool.Config{Directory: c.Spool.Directory, Size: int64(c.Spool.SizeMiB) << 20, Drop: c.Drops(), Name: c.Name, Log: log})
}

// collectorTLS is how a syslog collector is called; nil for plain TCP. The file of
// authorities is read now, so that a start fails that could reach nobody.
func (s *logSinks) collectorTLS(c config.Syslog) (func() (*tls.Config, error), error) {
	if c.UnsafeCleartext {
		return nil, nil //nolint:nilnil // plain TCP
	}
	cfg := &tls.Config{ServerName: c.Host(), MinVersion: tls.VersionTLS12}
	if c.CAFile != "system" {
		var err error
		if cfg.RootCAs, err = readAuthorities("syslog.ca_file", c.CAFile); err != nil {
			return nil, err
		}
	}
	return func() (*tls.Config, error) {
		if !c.ClientCertificate {
			return cfg, nil
		}
		certificates := s.identity.Load()
		if certificates == nil {
			return nil, errors.New("the client certificate is not there yet")
		}
		shows := cfg.Clone()
		// The peer's name is of no matter: only what is shown is taken from it.
		shows.GetClientCertificate = certificates.DialTLS(c.Host()).GetClientCertificate
		return shows, nil
	}, nil
}

// remarks are what is wrong with collectors, without anybody being kept out by it.
func (s *logSinks) remarks() (lines []string) {
	if s == nil {
		return nil
	}
	for _, c := range s.collectors {
		if stats := c.Stats(); !stats.Away.IsZero() {
			lines = append(lines, fmt.Sprintf("access log: collector %s is away since %s, %d bytes wait on disk",
				c.Name(), stats.Away.UTC().Format(time.RFC3339), stats.Spool.Bytes))
		}
	}
	for _, f := range s.files {
		if err := f.Stuck(); err != nil {
			lines = append(lines, fmt.Sprintf("access log: %s is not rotated, and grows: %v", f.Name(), err))
		}
	}
	return lines
}
