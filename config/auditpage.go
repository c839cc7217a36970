package config

import (
	"path"
	"time"
)

// AuditPage is the page at the door on which auditors look through the access log. The
// zero value is none: what is there is what is at any address that leads nowhere.
type AuditPage struct {
	// Groups are those whose members may look, compared byte for byte with a person's
	// groups. Default none: there is no page.
	Groups []string `yaml:"groups"`
	// MaxAge is how long ago they may have proved who they are. Default 1h, 1m to 168h.
	MaxAge Duration `yaml:"max_age"`
	// MemoryMiB is how much memory the latest records may take. Default 64, 8 to 4096.
	MemoryMiB int `yaml:"memory_mib"`
	// Index is an absolute path of a directory, of this process alone, in which an index
	// of AccessLog.File and its old files is kept. Default "none": the page shows the
	// latest records alone.
	Index string `yaml:"index"`
}

// On reports whether there is a page.
func (a AuditPage) On() bool { return len(a.Groups) > 0 }

// Indexed reports whether an index is kept.
func (a AuditPage) Indexed() bool { return a.Index != none }

const (
	minAuditAge    = time.Minute
	minAuditMemory = 8
	maxAuditMemory = 4096
)

func defaultAuditPage() AuditPage {
	return AuditPage{MaxAge: Duration{time.Hour}, MemoryMiB: 64, Index: none}
}

func (c *collector) auditPage(at string, a AccessLog) {
	page := a.AuditPage
	c.texts(join(at, "groups"), page.Groups, judgeMember)
	c.within(join(at, "max_age"), page.MaxAge, minAuditAge, maxSession)
	c.count(join(at, "memory_mib"), page.MemoryMiB, minAuditMemory, maxAuditMemory)
	switch {
	case !page.Indexed():
	case !path.IsAbs(page.Index) || !isPrintable(page.Index):
		c.refuse(join(at, "index"), "an absolute path, or none")
	case a.File == standardOutput:
		c.refuse(join(at, "index"), "none, where access_log.file is the standard output: there is no file to keep an index of")
	}
}
