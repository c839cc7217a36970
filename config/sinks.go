package config

import (
	"fmt"
	"net"
	"path"
	"regexp"
	"time"
)

// Sink is one more place where records go, besides AccessLog.File. Exactly one of
// File, Syslog and OTLP is given.
type Sink struct {
	// Name identifies the sink in logs, metrics and at /readyz, like a route's.
	// Required, unique.
	Name string `yaml:"name"`
	// File is a file of its own.
	File SinkFile `yaml:"file"`
	// Syslog is a collector that takes syslog.
	Syslog Syslog `yaml:"syslog"`
	// OTLP is a collector that takes OpenTelemetry logs. Its Endpoint is required.
	OTLP Collector `yaml:"otlp"`
	// Spool is where records wait while a collector is away. Required with one.
	Spool Spool `yaml:"spool"`
	// Format is what a record looks like: "ecs", as in AccessLog.File, "ocsf" or
	// "combined". Default "ecs".
	Format string `yaml:"format"`
	// Only says which records the sink gets. Default: all.
	Only SinkFilter `yaml:"only"`
	// OnFailure is what becomes of requests while the sink cannot take their records:
	// "deny" refuses them, "drop" leaves the oldest records out, and counts them.
	// Default "deny".
	OnFailure string `yaml:"on_failure"`
}

// SinkFile is a file that a sink appends to.
type SinkFile struct {
	// Path is absolute, or "-" for the standard output. Required.
	Path string `yaml:"path"`
	// Rotate says when a new file is begun, and how long old ones are kept.
	Rotate Rotate `yaml:"rotate"`
}

// Rotate says when a new file is begun, and how long the old ones are kept. The zero
// value lets the file grow for ever; with SIGHUP somebody else may rotate it.
type Rotate struct {
	// SizeMiB is the size beyond which a new file is begun. Default 0: at no size.
	SizeMiB int `yaml:"size_mib"`
	// Every is how often a new file is begun, counted from midnight UTC. Default 0:
	// never; 1m to 8760h.
	Every Duration `yaml:"every"`
	// Keep is how many old files are kept. Default 0: all.
	Keep int `yaml:"keep"`
	// KeepFor is how long an old file is kept. Default 0: for ever; 1h at least.
	KeepFor Duration `yaml:"keep_for"`
	// Compress has old files compressed (gzip). Default true.
	Compress bool `yaml:"compress"`
}

// On reports whether a new file is ever begun.
func (r Rotate) On() bool { return r.SizeMiB > 0 || r.Every.Duration > 0 }

// Syslog is a collector that takes RFC 5424 messages over TLS (RFC 5425), or over
// plain TCP, counted in octets (RFC 6587).
type Syslog struct {
	// Address is its host:port. Required.
	Address string `yaml:"address"`
	// UnsafeCleartext sends records without TLS: whoever is on the way can read and
	// change them. Default false.
	UnsafeCleartext bool `yaml:"unsafe_cleartext"`
	// CAFile is an absolute path to the PEM certificates of the authorities that the
	// collector's certificate may be of. Default "system": those of the host.
	CAFile string `yaml:"ca_file"`
	// ServerName is the DNS name that its certificate must carry. Default: the host
	// of Address.
	ServerName Host `yaml:"server_name"`
	// ClientCertificate shows the certificate of Vault.BackendPKI to it. Default false.
	ClientCertificate bool `yaml:"client_certificate"`
	// Facility is a keyword such as "authpriv" or "local0". Default "local0".
	Facility string `yaml:"facility"`
	// AppName is the APP-NAME of messages. Default "sallyport".
	AppName string `yaml:"app_name"`
}

// Spool is a queue on disk.
type Spool struct {
	// Directory is an absolute path, of this sink and this process alone; it is made
	// if it is not there. Required with a collector.
	Directory string `yaml:"directory"`
	// SizeMiB is how much may wait. Default 1024, 16 to 1048576.
	SizeMiB int `yaml:"size_mib"`
}

// SinkFilter says which records a sink gets: those that fit every list that is not
// empty. Records that the log keeps about itself always pass, unless Actions names
// others.
type SinkFilter struct {
	// Actions are values of "event.action". Default: any.
	Actions []string `yaml:"actions"`
	// Decisions are "allow", "deny", "signin" or "step_up". Default: any.
	Decisions []string `yaml:"decisions"`
	// Outcomes are "success", "failure" or "unknown". Default: any.
	Outcomes []string `yaml:"outcomes"`
	// Routes are names of routes. Default: any, and none.
	Routes []string `yaml:"routes"`
	// Reasons are values of "event.reason". Default: any.
	Reasons []string `yaml:"reasons"`
}

// The words of a sink.
var (
	sinkFormats   = [...]string{"ecs", "ocsf", "combined"}
	sinkFailures  = [...]string{OnFailureDeny, OnFailureDrop}
	sinkDecisions = [...]string{"allow", "deny", "signin", "step_up"}
	sinkOutcomes  = [...]string{"success", "failure", "unknown"}
	facilities    = [...]string{
		"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit", "alert", "clock",
		"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
	}
)

var (
	recordCode = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)
	appName    = regexp.MustCompile(`^[!-~]{1,48}$`) // RFC 5424 section 6
)

const (
	standardOutput  = "-"
	minSpool        = 16
	maxRotateKept   = 100_000
	maxYears        = 10 * 8760 * time.Hour
	minKeptFor      = time.Hour
	minRotateEvery  = time.Minute
	maxRotateEvery  = 8760 * time.Hour
	expectedLogFile = `an absolute path, or "-" for the standard output`
)

// setDefaults makes s what an empty entry of access_log.sinks means.
func (s *Sink) setDefaults() {
	s.Format = sinkFormats[0]
	s.OnFailure = sinkFailures[0]
	s.File.Rotate = defaultRotate()
	s.Syslog = Syslog{CAFile: systemRoots, Facility: "local0", AppName: "sallyport"}
	s.OTLP = defaultCollector()
	s.Spool.SizeMiB = 1024
}

func defaultRotate() Rotate { return Rotate{Compress: true} }

// FacilityCode is the number of the facility, RFC 5424 section 6.2.1.
func (s Syslog) FacilityCode() int {
	for code, name := range facilities {
		if name == s.Facility {
			return code
		}
	}
	return 0 // validated: not reached
}

// Host is whom the collector's certificate must name.
func (s Syslog) Host() string {
	if s.ServerName != "" {
		return string(s.ServerName)
	}
	host, _, _ := net.SplitHostPort(s.Address) // validated
	return host
}

// Drops reports whether records are left out rather than requests refused.
func (s Sink) Drops() bool { return s.OnFailure == "drop" }

// logFile reports what is no place for lines.
func (c *collector) logFile(at, name string) {
	if name != standardOutput && (!path.IsAbs(name) || !isPrintable(name)) {
		c.refuse(at, expectedLogFile)
	}
}

// rotate reports how a file cannot be rotated.
func (c *collector) rotate(at, file string, r Rotate) {
	c.count(join(at, "size_mib"), r.SizeMiB, 0, maxMiB)
	c.count(join(at, "keep"), r.Keep, 0, maxRotateKept)
	if r.Every.Duration != 0 {
		c.within(join(at, "every"), r.Every, minRotateEvery, maxRotateEvery)
	}
	if r.KeepFor.Duration != 0 {
		c.within(join(at, "keep_for"), r.KeepFor, minKeptFor, maxYears)
	}
	switch {
	case file == standardOutput && r != defaultRotate():
		c.refuse(at, "nothing for the standard output, which has no files to rotate")
	case !r.On() && (r.Keep > 0 || r.KeepFor.Duration > 0):
		c.refuse(at, "size_mib or every beside keep and keep_for: without them there are no old files")
	}
}

// sinks reports what is wrong with the places where records go besides the file.
func (c *collector) sinks(g *Gateway) {
	names, places := map[string]string{}, map[string]string{g.AccessLog.File: "access_log.file"}
	routes := map[string]bool{}
	for _, route := range g.Routes {
		routes[route.Name] = true
	}
	for i, sink := range g.AccessLog.Sinks {
		at := entry("access_log.sinks", i)
		if !routeName.MatchString(sink.Name) {
			c.refuse(join(at, "name"), "1 to 40 of a-z, 0-9 and hyphens, with no hyphen at either end")
		}
		c.unique(join(at, "name"), names, sink.Name)
		c.oneOf(join(at, "format"), sink.Format, sinkFormats[:])
		c.oneOf(join(at, "on_failure"), sink.OnFailure, sinkFailures[:])
		c.sinkPlace(at, sink, places)
		c.only(join(at, "only"), sink.Only, routes)
	}
}

// sinkPlace reports a sink that leads nowhere, to two places, or to another's.
func (c *collector) sinkPlace(at string, sink Sink, places map[string]string) {
	kinds := []string{"file", "syslog", "otlp"}
	var given []string
	for _, kind := range kinds {
		if c.isGiven(join(at, kind)) {
			given = append(given, kind)
		}
	}
	if len(given) != 1 {
		c.add(at, fmt.Sprintf("%d of them", len(given)), "exactly one of file, syslog and otlp")
		return
	}
	if given[0] == "file" {
		c.logFile(join(at, "file.path"), sink.File.Path)
		c.unique(join(at, "file.path"), places, sink.File.Path)
		c.rotate(join(at, "file.rotate"), sink.File.Path, sink.File.Rotate)
		if c.isGiven(join(at, "spool")) {
			c.refuse(join(at, "spool"), "nothing beside file, which is on disk itself")
		}
		return
	}
	if given[0] == "otlp" {
		c.otlp(join(at, "otlp"), sink)
	} else {
		c.syslog(join(at, "syslog"), sink.Syslog)
	}
	c.spool(join(at, "spool"), sink.Spool, places)
}

// otlp reports a collector that cannot be reached as it is written, or would not get what
// it takes.
func (c *collector) otlp(at string, sink Sink) {
	if !sink.OTLP.On() {
		c.refuse(join(at, "endpoint"), "the collector's origin, such as https://collector.example.com:4317")
	}
	c.collectorOf(at, sink.OTLP)
}

// syslog reports a collector that cannot be reached as it is written.
func (c *collector) syslog(at string, s Syslog) {
	if host, ok := listenHost(s.Address); !ok || host == "" {
		c.refuse(join(at, "address"), "host:port of the collector, such as siem.example.com:6514")
	}
	if s.CAFile != systemRoots && (!path.IsAbs(s.CAFile) || !isPrintable(s.CAFile)) {
		c.refuse(join(at, "ca_file"), `an absolute path, or "system"`)
	}
	if s.UnsafeCleartext {
		for _, key := range []string{"ca_file", "server_name", "client_certificate"} {
			if c.isGiven(join(at, key)) {
				c.refuse(join(at, key), "nothing beside unsafe_cleartext, which has no certificates")
			}
		}
	}
	c.oneOf(join(at, "facility"), s.Facility, facilities[:])
	if !appName.MatchString(s.AppName) {
		c.refuse(join(at, "app_name"), "1 to 48 printable ASCII characters without a space")
	}
}

// spool reports where nothing can wait.
func (c *collector) spool(at string, s Spool, places map[string]string) {
	if !path.IsAbs(s.Directory) || !isPrintable(s.Directory) {
		c.refuse(join(at, "directory"), "an absolute path of a directory of its own, such as /var/lib/sallyport/spool/siem")
	}
	c.unique(join(at, "directory"), places, s.Directory)
	c.count(join(at, "size_mib"), s.SizeMiB, minSpool, maxMiB)
}

// only reports lists that nothing could ever fit.
func (c *collector) only(at string, f SinkFilter, routes map[string]bool) {
	code := func(value string) string {
		if !recordCode.MatchString(value) {
			return "a code of the access log, of a-z, 0-9 and _"
		}
		return ""
	}
	c.texts(join(at, "actions"), f.Actions, code)
	c.texts(join(at, "reasons"), f.Reasons, code)
	c.texts(join(at, "routes"), f.Routes, func(value string) string {
		if !routes[value] {
			return "the name of a route"
		}
		return ""
	})
	for i, value := range f.Decisions {
		c.oneOf(entry(join(at, "decisions"), i), value, sinkDecisions[:])
	}
	for i, value := range f.Outcomes {
		c.oneOf(entry(join(at, "outcomes"), i), value, sinkOutcomes[:])
	}
}
