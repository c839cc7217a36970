package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
	"github.com/sallyport/sallyport/proxy/auditpage"
)

// auditView is the audit page, and what it shows: it outlives every change of the
// configuration. Nil is none.
type auditView struct {
	log     *slog.Logger
	page    *auditpage.Page
	feed    *auditpage.Feed
	history *auditpage.History  // nil for none
	checks  *auditpage.Verifier // nil for none
	file    string              // of the log; empty for standard output
	size    int64               // of what was in it before
}

// newAuditView makes the page of a configuration that has one, before the log writes its
// first record.
func newAuditView(cfg *config.Gateway, log *slog.Logger) (*auditView, error) {
	wanted := cfg.AccessLog.AuditPage
	if !wanted.On() {
		return nil, nil //nolint:nilnil // it is no fault that none is wanted
	}
	recent := auditpage.NewRecent(wanted.MemoryMiB << 20)
	v := &auditView{log: log, feed: auditpage.NewFeed(recent)}
	if cfg.AccessLog.File != "-" {
		v.file = cfg.AccessLog.File
		if info, err := os.Stat(v.file); err == nil && info.Mode().IsRegular() {
			v.size = info.Size()
		}
	}
	page := auditpage.Config{Base: proxy.AuditPath, Home: "/", Store: recent, Recent: recent}
	if wanted.Indexed() {
		v.history = auditpage.NewHistory(auditpage.HistoryConfig{Directory: wanted.Index, File: v.file, Recent: recent, Log: log})
		page.Store = v.history
	}
	if v.file != "" {
		v.checks = auditpage.NewVerifier(auditpage.VerifierConfig{File: v.file, Recent: recent, Log: log})
		page.Verified = v.checks.Status
	}
	var err error
	if v.page, err = auditpage.New(page); err != nil {
		return nil, fmt.Errorf("making the audit page: %w", err)
	}
	return v, nil
}

// sinks are what the log has to write to for the page.
func (v *auditView) sinks() []accesslog.Sink {
	if v == nil {
		return nil
	}
	return []accesslog.Sink{v}
}

// Write implements accesslog.Sink. It never waits, and never fails: people are let in
// whether auditors can look or not.
func (v *auditView) Write(_ context.Context, b *accesslog.Batch) error {
	v.feed.Offer(b.Lines)
	return nil
}

// Close implements accesslog.Sink.
func (v *auditView) Close() error { return nil }

// Name implements accesslog.Sink.
func (v *auditView) Name() string { return "audit_page" }

// signedBy has the files verified by public keys that Vault gives; nil: by none.
func (v *auditView) signedBy(keys func(context.Context) (checkpoint.Keys, error)) {
	if v != nil {
		v.checks.Use(keys)
	}
}

// beside is what runs for the page as long as the process serves.
func (v *auditView) beside() []func(context.Context) {
	if v == nil {
		return nil
	}
	all := []func(context.Context){v.follow}
	if v.history != nil {
		all = append(all, v.history.Run)
	}
	if v.checks != nil {
		all = append(all, v.checks.Run)
	}
	return all
}

// follow shows what was in the file before, as far as there is room, and what is written.
func (v *auditView) follow(ctx context.Context) {
	if err := v.feed.Fill(ctx, v.file, v.size); err != nil {
		v.log.Warn("audit page begins without what the access log has already", "error", err)
	}
	v.feed.Run(ctx)
}

// audit is the page as a configuration has it, nil for none.
func (v *auditView) audit(page config.AuditPage) *proxy.Audit {
	if v == nil || !page.On() {
		return nil
	}
	return &proxy.Audit{Groups: page.Groups, MaxAge: page.MaxAge.Duration, Page: v.page}
}

// auditSettings are those of the page that a running process cannot change. Other groups
// may be named, and none, which ends the page at once.
func auditSettings(before, after config.AuditPage) []setting {
	switch {
	case !after.On():
		return nil
	case !before.On():
		return []setting{{"access_log.audit_page.groups", "none", strings.Join(after.Groups, ", ")}}
	}
	return []setting{
		{"access_log.audit_page.memory_mib", strconv.Itoa(before.MemoryMiB), strconv.Itoa(after.MemoryMiB)},
		{"access_log.audit_page.index", before.Index, after.Index},
	}
}
