package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/accesslog/audit"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/follow"
)

// tailBack is how much of the end of a file is looked through for the last records.
const tailBack = 8 << 20

// tailFlags say what is shown of the end of the log.
type tailFlags struct {
	logFlags
	filterFlags
	lines  int
	follow bool
	format string
}

// tailCommand shows the end of the log, and goes on.
func tailCommand(std stdio) *cobra.Command {
	var flags tailFlags
	cmd := &cobra.Command{
		Use:   "tail [FILE]",
		Short: "Show the last records, and those that come",
		Long: `Show the last records of the log that are asked for, and with -f those that come, over
rotation, until it is interrupted. Without FILE, the log is --log or access_log.file of
--config. Only the last 8 MiB of the file are looked through: "sallyport audit query"
looks through all. Colours are for terminals alone.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("%d files, expected at most one", len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.run(cmd.Context(), std, args)
		},
	}
	flags.logFlags.add(cmd.Flags(), std)
	flags.filterFlags.add(cmd.Flags())
	cmd.Flags().BoolVarP(&flags.follow, "follow", "f", false, "go on with what is written from now on")
	cmd.Flags().IntVarP(&flags.lines, "lines", "n", 10, "how many of the last records")
	cmd.Flags().StringVar(&flags.format, "format", formatText, "`FORMAT` of the records: text or json")
	return cmd
}

// formatText is a line for a person.
const formatText = "text"

// errCaught ends the reading of a file that is not to be followed.
var errCaught = errors.New("the end of the file")

func (f *tailFlags) run(ctx context.Context, std stdio, named []string) error {
	if err := checkFormat(f.format, formatText, formatJSON); err != nil {
		return err
	}
	if f.lines < 0 {
		return usageError{errors.New("flag --lines is less than 0")}
	}
	filter, err := f.filter(time.Now())
	if err != nil {
		return err
	}
	matcher, err := filter.Matcher()
	if err != nil {
		return usageError{err}
	}
	name, err := f.name(named)
	if err != nil {
		return err
	}
	t := &tail{out: std.Out, matcher: matcher, keep: f.lines, json: f.format == formatJSON, coloured: isTerminal(std.Out)}
	err = follow.Run(ctx, follow.Config{Name: name, Back: tailBack, Line: t.line, Caught: func() error {
		if err := t.caught(); err != nil || f.follow {
			return err
		}
		return errCaught
	}})
	if errors.Is(err, errCaught) {
		return nil
	}
	return err
}

// name is the file to read.
func (f *tailFlags) name(named []string) (name string, err error) {
	if len(named) > 0 {
		name = named[0]
	} else if name, err = f.logFile(); err != nil {
		return "", err
	}
	if _, err := os.Stat(name); err != nil {
		return "", usageError{fmt.Errorf("reading the log: %w", err)}
	}
	return name, nil
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool { return terminalWidth(w) > 0 }

// tail prints records: of those that are there, the last ones.
type tail struct {
	out            io.Writer
	matcher        *audit.Matcher
	keep           int
	json, coloured bool

	last []string // those that are kept, until all were read that are there
	live bool
}

func (t *tail) line(line []byte) error {
	entry, ok := audit.Decode(line)
	if !ok || !t.matcher.Match(&entry) {
		return nil
	}
	text := audit.Visible(string(entry.Line)) + "\n"
	if !t.json {
		text = t.text(&entry)
	}
	if t.live {
		_, err := io.WriteString(t.out, text)
		return err
	}
	if t.last = append(t.last, text); len(t.last) > 2*t.keep+1 {
		t.last = append(t.last[:0], t.last[len(t.last)-t.keep:]...)
	}
	return nil
}

// caught prints the last records of those that were there.
func (t *tail) caught() error {
	t.live = true
	_, err := io.WriteString(t.out, strings.Join(t.last[max(0, len(t.last)-t.keep):], ""))
	t.last = nil
	return err
}

// Colours, as terminals take them.
const (
	colourGood  = "\x1b[32m"
	colourBad   = "\x1b[1;31m"
	colourOther = "\x1b[33m"
	colourDim   = "\x1b[2m"
	colourOff   = "\x1b[0m"
)

// text is a record as a person reads it, in one line.
func (t *tail) text(e *audit.Entry) string {
	paint := func(colour, text string) string {
		if !t.coloured || text == "" {
			return text
		}
		return colour + text + colourOff
	}
	decision, colour := e.Value(audit.Decision), colourOther
	switch decision {
	case accesslog.DecisionAllow:
		colour = colourGood
	case accesslog.DecisionDeny:
		colour = colourBad
	}
	parts := []string{paint(colourDim, e.Time.Format("2006-01-02 15:04:05"))}
	if decision != "" {
		parts = append(parts, paint(colour, fmt.Sprintf("%-7s", decision)))
	}
	if action := e.Value(audit.Action); action != string(accesslog.ActionAccess) {
		parts = append(parts, audit.Visible(action))
	}
	parts = append(parts, audit.Visible(orDash(e.Value(audit.User))))
	if host := e.Value(audit.Host); host != "" {
		parts = append(parts, audit.Visible(e.Value(audit.Method)+" "+host+e.Value(audit.Path)), audit.Visible(e.Value(audit.Status)))
	}
	why := e.Value(audit.Reason)
	if rule := e.Value(audit.Rule); rule != why {
		why = strings.TrimSpace(why + " " + rule)
	}
	parts = append(parts, paint(colour, audit.Visible(why)))
	if from := e.Value(audit.Address); from != "" {
		parts = append(parts, paint(colourDim, "from "+audit.Visible(from)))
	}
	if id := e.Value(audit.RequestID); id != "" {
		parts = append(parts, paint(colourDim, "#"+audit.Visible(id)))
	}
	return strings.Join(parts, " ") + "\n"
}
