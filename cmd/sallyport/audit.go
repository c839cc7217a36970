package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/accesslog/audit"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/index"
)

// auditCommand reads the access log back.
func auditCommand(std stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Ask the access log who has done what",
	}
	cmd.AddCommand(queryCommand(std), tailCommand(std), reportCommand(std), joinCommand(std), revealCommand(std), verifyCommand(std), auditKeysCommand(std), boardCommand(std))
	demandAction(cmd)
	return cmd
}

// logFlags say which files of the log are read, and what is kept beside them.
type logFlags struct {
	config, log, index string
	noIndex            bool
}

func (f *logFlags) add(flags *pflag.FlagSet, std stdio) {
	flags.StringVar(&f.log, "log", "", "`FILE` of the access log, read with its rotated files; default: access_log.file of --config")
	flags.StringVar(&f.config, "config", env(std, "", "SALLYPORT_CONFIG"), "the gateway's configuration `FILE` (SALLYPORT_CONFIG)")
}

func (f *logFlags) addIndex(flags *pflag.FlagSet) {
	flags.StringVar(&f.index, "index", "", "`FOLDER` of the index, which is made if need be; default: .NAME.index beside the log, and a temporary one for files that are named")
	flags.BoolVar(&f.noIndex, "no-index", false, "keep no index: read every line this time")
}

// logFile returns the name of the log, and the configuration if it is from there.
func (f *logFlags) logFile() (name string, err error) {
	if f.log != "" {
		return f.log, nil
	}
	gateway, err := f.gateway()
	if err != nil {
		return "", err
	}
	if gateway == nil {
		return "", usageError{&hinted{errors.New("no log, expected a file, --log or --config"), "sallyport audit … --log /var/log/sallyport/access.log"}}
	}
	if gateway.AccessLog.File == "-" {
		return "", usageError{&hinted{errors.New("access_log.file of the configuration is the standard output"), "name the file that it is collected in with --log"}}
	}
	return gateway.AccessLog.File, nil
}

// gateway returns the configuration, or nil if none was named.
func (f *logFlags) gateway() (*config.Gateway, error) {
	if f.config == "" {
		return nil, nil //nolint:nilnil // said above
	}
	text, err := source(f.config).readFile()
	if err != nil {
		return nil, err
	}
	return config.LoadGateway(f.config, text)
}

// folder returns the folder of the index of a log, "" for a temporary one.
func (f *logFlags) folder(name string) string {
	if f.noIndex || f.index != "" {
		return f.index
	}
	return filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".index")
}

// open opens the index of the files that are named, else of the log and its rotated
// files, and says on std.Err what deserves a look.
func (f *logFlags) open(ctx context.Context, std stdio, named []string) (x *index.Index, err error) {
	if f.noIndex && f.index != "" {
		return nil, usageError{errors.New("both --index and --no-index are given, expected one")}
	}
	if len(named) > 0 {
		x, err = f.openNamed(ctx, named)
	} else {
		x, err = f.openLog(ctx, std)
	}
	if err != nil {
		return nil, err
	}
	if n := x.Extent().Broken; n > 0 {
		_, _ = fmt.Fprintf(std.Err, "note: %s; `sallyport audit verify` shows which\n", are(n, "line", "no record"))
	}
	return x, nil
}

func (f *logFlags) openNamed(ctx context.Context, named []string) (*index.Index, error) {
	if f.log != "" {
		return nil, usageError{fmt.Errorf("both --log and file %q are given, expected one", named[0])}
	}
	for _, name := range named {
		if _, err := os.Stat(name); err != nil { // the index would pass over it
			return nil, usageError{fmt.Errorf("reading the log: %w", err)}
		}
	}
	return index.Open(ctx, f.index, named...)
}

func (f *logFlags) openLog(ctx context.Context, std stdio) (*index.Index, error) {
	name, err := f.logFile()
	if err != nil {
		return nil, err
	}
	if _, err := audit.Family(name); err != nil {
		return nil, usageError{err}
	}
	folder := f.folder(name)
	x, err := index.OpenLog(ctx, folder, name)
	if err != nil && folder != "" && f.index == "" && ctx.Err() == nil {
		_, _ = fmt.Fprintf(std.Err, "note: no index can be kept beside the log, so every line is read: %v\n", err)
		return index.OpenLog(ctx, "", name)
	}
	return x, err
}

// are says of how many things what they are, each of which is one of that.
func are(n int64, things, what string) string {
	if n == 1 {
		return "1 " + things + " is " + what
	}
	return fmt.Sprintf("%d %ss are %ss", n, things, what)
}

// filterFlags say which records are asked for.
type filterFlags struct {
	audit.Filter
	since, until string
}

func (f *filterFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.since, "since", "", "from this `TIME` on: how long ago (90m, 2h, 7d), a day (2026-11-23) or a time (2026-11-23T08:00:00Z), in UTC")
	flags.StringVar(&f.until, "until", "", "up to this `TIME`, which is not part of it; of a day, its beginning")
	flags.StringVar(&f.User, "user", "", "`NAME` of the person; as all of these, one that ends in * is a beginning")
	flags.StringVar(&f.Route, "route", "", "`NAME` of the route")
	flags.StringVar(&f.Host, "host", "", "`HOST` that was asked for")
	flags.StringVar(&f.Address, "address", "", "`ADDRESS` of the client, or a prefix such as 10.0.0.0/8")
	flags.StringVar(&f.Decision, "decision", "", "`DECISION`: allow, deny, signin or step_up")
	flags.StringVar(&f.Rule, "rule", "", "`RULE` that decided, or its first or last part")
	flags.StringVar(&f.Reason, "reason", "", "`CODE` of the reason")
	flags.StringVar(&f.Action, "action", "", "`ACTION` that the record is about")
	flags.StringVar(&f.PathPrefix, "path", "", "`BEGINNING` of the path")
	flags.StringVar(&f.RequestID, "request-id", "", "`ID` of the request, as the person saw it")
	flags.StringVar(&f.Session, "session", "", "`ID` of the session")
	flags.StringVar(&f.Text, "text", "", "`TEXT` anywhere in the line, in letters of either case; slow")
}

// filter returns what the flags ask for, as of now.
func (f *filterFlags) filter(now time.Time) (audit.Filter, error) {
	var err error
	if f.Since, err = moment("since", f.since, now); err != nil {
		return f.Filter, err
	}
	if f.Until, err = moment("until", f.until, now); err != nil {
		return f.Filter, err
	}
	if _, err := f.Matcher(); err != nil {
		return f.Filter, usageError{fmt.Errorf("flag --address: %w", err)}
	}
	return f.Filter, nil
}

// moment reads a time of the command line. An empty one is the zero time.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339, "2006-01-02T15:04"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	ago, err := age(text)
	if err != nil {
		return time.Time{}, usageError{fmt.Errorf("flag --%s is %q, expected how long ago (90m, 2h, 7d), a day (2026-11-23) or a time (2026-11-23T08:00:00Z)", flag, text)}
	}
	return now.Add(-ago), nil
}

// errAge is a length of time that cannot be read.
var errAge = errors.New("expected a length of time such as 90m, 2h or 7d")

// age reads a length of time, which may be in days or weeks.
func age(text string) (time.Duration, error) {
	for unit, length := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			n, err := strconv.ParseUint(number, 10, 16)
			if err != nil {
				return 0, errAge
			}
			return time.Duration(n) * length, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, errAge
	}
	return d, nil
}

// The formats of an answer.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatCSV   = "csv"
	formatHTML  = "html"
)

// checkFormat refuses a format that is not among those that there are.
func checkFormat(format string, known ...string) error {
	for _, k := range known {
		if format == k {
			return nil
		}
	}
	return usageError{fmt.Errorf("flag --format is %q, expected one of %s", format, strings.Join(known, ", "))}
}
