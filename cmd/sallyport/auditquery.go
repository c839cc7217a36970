package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/index"
)

// queryFlags say what is asked of the log, and how the answer looks.
type queryFlags struct {
	logFlags
	filterFlags
	limit   int
	oldest  bool
	format  string
	countBy []string
	width   int
}

// queryCommand finds records.
func queryCommand(std stdio) *cobra.Command {
	var flags queryFlags
	cmd := &cobra.Command{
		Use:   "query [FILE...]",
		Short: "Find records: who opened this tool, what did this person do",
		Long: `Find records: who opened a tool, what a person did, whom a rule turned away, what
came from an address. All that is asked for must hold; the newest come first.

Without FILE, the log is --log or access_log.file of --config, with its rotated files,
compressed or not. An index beside it makes the second question fast; it is made from
the log alone, and can be deleted. It takes the log as it stands: whether that is whole
and unchanged, "sallyport audit verify" says.

  sallyport audit query --since 90d --route payroll
  sallyport audit query --since 7d --user alice@example.com --format csv
  sallyport audit query --since 2026-11-01 --decision deny --count-by rule,reason

--format json prints the lines as they are in the log. In tables and CSV, characters
that would act on a terminal stand as \u and their number, and what a spreadsheet would
take for a formula gets an apostrophe before it.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return flags.run(cmd.Context(), std, args)
		},
	}
	flags.logFlags.add(cmd.Flags(), std)
	flags.addIndex(cmd.Flags())
	flags.filterFlags.add(cmd.Flags())
	cmd.Flags().IntVar(&flags.limit, "limit", 100, "how many records at most; 0 for all")
	cmd.Flags().BoolVar(&flags.oldest, "oldest-first", false, "the oldest come first")
	cmd.Flags().StringVar(&flags.format, "format", formatTable, "`FORMAT` of the answer: table, json or csv")
	cmd.Flags().StringSliceVar(&flags.countBy, "count-by", nil, "count records by up to four `FIELDS`: user, route, rule, reason, decision, action, host, address, status, path, session, hour, day, …")
	cmd.Flags().IntVar(&flags.width, "width", 0, "how wide a table may be; 0 for the terminal's width, or any if there is none")
	return cmd
}

func (f *queryFlags) run(ctx context.Context, std stdio, named []string) error {
	if err := checkFormat(f.format, formatTable, formatJSON, formatCSV); err != nil {
		return err
	}
	if f.limit < 0 || f.width < 0 {
		return usageError{errors.New("flags --limit and --width: expected 0 or more")}
	}
	filter, err := f.filter(time.Now())
	if err != nil {
		return err
	}
	by, err := fieldsNamed(f.countBy)
	if err != nil {
		return err
	}
	x, err := f.open(ctx, std, named)
	if err != nil {
		return err
	}
	defer func() { _ = x.Close() }() // was only asked
	if f.width == 0 {
		f.width = terminalWidth(std.Out)
	}
	if len(by) > 0 {
		return f.count(ctx, std.Out, x, filter, by)
	}
	return f.list(ctx, std, x, filter)
}

// fieldsNamed returns the fields of names.
func fieldsNamed(names []string) (by []audit.Field, err error) {
	for _, name := range names {
		field, known := audit.FieldNamed(strings.ReplaceAll(name, "-", "_"))
		if !known {
			return nil, usageError{fmt.Errorf("flag --count-by has %q, expected fields such as user, route, rule, reason, day", name)}
		}
		by = append(by, field)
	}
	if len(by) > index.MaxBy {
		return nil, usageError{fmt.Errorf("flag --count-by has %d fields, expected at most %d", len(by), index.MaxBy)}
	}
	return by, nil
}

// list prints records.
func (f *queryFlags) list(ctx context.Context, std stdio, x *index.Index, filter audit.Filter) error {
	q := audit.Query{Filter: filter, OldestFirst: f.oldest}
	if f.limit > 0 {
		q.Limit = f.limit + 1 // whether there are more
	}
	out := newEntryWriter(std.Out, f.format, f.width)
	n := 0
	for entry, err := range x.Query(ctx, q) {
		if err != nil {
			return err
		}
		if n++; f.limit > 0 && n > f.limit {
			break
		}
		if err := out.write(&entry); err != nil {
			return err
		}
	}
	if err := out.end(); err != nil {
		return err
	}
	switch {
	case f.limit > 0 && n > f.limit:
		_, _ = fmt.Fprintf(std.Err, "note: there are more; --limit 0 shows all\n")
	case n == 0:
		_, _ = fmt.Fprintln(std.Err, "note: no record is like that")
	}
	return nil
}

// entryWriter prints records in a format.
type entryWriter interface {
	write(*audit.Entry) error
	end() error
}

func newEntryWriter(w io.Writer, format string, width int) entryWriter {
	switch format {
	case formatJSON:
		return jsonWriter{w}
	case formatCSV:
		return &csvWriter{csv: csv.NewWriter(w)}
	}
	return &tableWriter{w: w, table: table{head: entryHead, width: width, shrinks: []int{4, 1, 7, 2, 6}}}
}

// jsonWriter prints lines as they stand in the log.
type jsonWriter struct{ w io.Writer }

func (j jsonWriter) write(e *audit.Entry) error {
	_, err := io.WriteString(j.w, audit.Visible(string(e.Line))+"\n")
	return err
}

func (j jsonWriter) end() error { return nil }

// csvFields are the columns of CSV that are fields.
var csvFields = []audit.Field{
	audit.Action, audit.Decision, audit.Reason, audit.Rule, audit.User, audit.Route, audit.Method, audit.Host, audit.Path,
	audit.Status, audit.Address, audit.Session, audit.RequestID, audit.Service, audit.Accessor, audit.Instance,
}

// csvWriter prints CSV (RFC 4180).
type csvWriter struct {
	csv   *csv.Writer
	begun bool
}

func (c *csvWriter) write(e *audit.Entry) error {
	if err := c.head(); err != nil {
		return err
	}
	row := []string{e.Time.Format("2006-01-02T15:04:05.000000Z")}
	for _, f := range csvFields {
		row = append(row, audit.Cell(e.Value(f)))
	}
	row = append(row, audit.Cell(strings.Join(e.Groups, " ")), strconv.FormatUint(e.Sequence, 10),
		strconv.FormatInt(e.Duration.Milliseconds(), 10), strconv.FormatInt(e.BytesIn, 10), strconv.FormatInt(e.BytesOut, 10))
	return c.csv.Write(row)
}

func (c *csvWriter) head() error {
	if c.begun {
		return nil
	}
	c.begun = true
	row := []string{"time"}
	for _, f := range csvFields {
		row = append(row, f.String())
	}
	return c.csv.Write(append(row, "groups", "sequence", "duration_ms", "bytes_in", "bytes_out"))
}

func (c *csvWriter) end() error {
	if err := c.head(); err != nil {
		return err
	}
	c.csv.Flush()
	return c.csv.Error()
}

var entryHead = []string{"TIME", "WHO", "TOOL", "DECISION", "WHAT", "STATUS", "REASON", "RULE", "FROM"}

// tablePage is how many rows have their columns in line.
const tablePage = 500

// tableWriter prints a table, page by page.
type tableWriter struct {
	w     io.Writer
	table table
}

func (t *tableWriter) write(e *audit.Entry) error {
	what := strings.TrimSpace(e.Value(audit.Method) + " " + e.Value(audit.Path))
	if action := e.Value(audit.Action); action != "access" && action != "" {
		what = strings.TrimSpace(action + " " + what)
	}
	t.table.add(e.Time.Format("2006-01-02 15:04:05"), e.Value(audit.User), or(e.Value(audit.Route), e.Value(audit.Host)), e.Value(audit.Decision), what,
		strings.TrimPrefix(e.Value(audit.Status), "0"), e.Value(audit.Reason), e.Value(audit.Rule), e.Value(audit.Address))
	if len(t.table.rows) < tablePage {
		return nil
	}
	return t.end()
}

func (t *tableWriter) end() error { return t.table.flush(t.w) }

// count prints how many records there are of each kind.
func (f *queryFlags) count(ctx context.Context, w io.Writer, x *index.Index, filter audit.Filter, by []audit.Field) error {
	groups, err := x.Count(ctx, filter, by...)
	if err != nil {
		return err
	}
	if f.limit > 0 && len(groups) > f.limit {
		groups = groups[:f.limit]
	}
	var head []string
	for _, field := range by {
		head = append(head, field.String())
	}
	return printRows(w, f.format, f.width, append(head, "count", "first", "last"), func(yield func([]string) bool) {
		for _, g := range groups {
			if !yield(append(g.Values, strconv.FormatInt(g.Count, 10), g.First.Format(time.RFC3339), g.Last.Format(time.RFC3339))) {
				return
			}
		}
	})
}

// printRows prints rows of text in a format.
func printRows(w io.Writer, format string, width int, head []string, rows iter.Seq[[]string]) error {
	switch format {
	case formatJSON:
		return printObjects(w, head, rows)
	case formatCSV:
		out := csv.NewWriter(w)
		_ = out.Write(head) // Error has it
		for row := range rows {
			cells := make([]string, len(row))
			for i, value := range row {
				cells[i] = audit.Cell(value)
			}
			_ = out.Write(cells) // likewise
		}
		out.Flush()
		return out.Error()
	}
	t := table{width: width}
	for _, name := range head {
		t.head = append(t.head, strings.ToUpper(strings.ReplaceAll(name, "_", " ")))
	}
	for i := range head {
		t.shrinks = append(t.shrinks, i)
	}
	for row := range rows {
		t.add(row...)
		if len(t.rows) == tablePage {
			if err := t.flush(w); err != nil {
				return err
			}
		}
	}
	return t.flush(w)
}
