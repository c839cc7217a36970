package auditpage

import (
	"bufio"
	"context"
	"encoding/csv"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// MaxExport is how many records are exported at most: the newest of those found.
const MaxExport = 10_000

// exportTime is how long an export may look for them; it takes the place of a search.
const exportTime = 3 * searchTime

// export answers with the records that were found, as a file to be saved.
func (v *visit) export(ctx context.Context, w http.ResponseWriter) error {
	if len(v.asked.faults) > 0 {
		http.Error(w, "This search could not be understood. Go back, and search again.", http.StatusBadRequest)
		return ErrQuery
	}
	found, err := v.collect(ctx)
	if err != nil {
		w.Header().Set("Retry-After", searchRetry)
		http.Error(w, troubles(err, "").Message, http.StatusServiceUnavailable)
		return err
	}
	write, kind, ending := writeCSV, "text/csv; charset=utf-8", ".csv"
	if v.path == pathJSON {
		write, kind, ending = writeJSON, "application/json", ".json"
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", `attachment; filename="sallyport-access-log-`+v.page.cfg.Now().UTC().Format("20060102T150405Z")+ending+`"`)
	w.WriteHeader(http.StatusOK)
	if v.head {
		return nil
	}
	buffered := bufio.NewWriterSize(w, 32<<10)
	if err := write(buffered, found); err != nil {
		return fmt.Errorf("sending an export: %w", err)
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("sending an export: %w", err)
	}
	return nil
}

// collect finds what is exported, before the first byte is sent: an export is whole, or
// an error.
func (v *visit) collect(ctx context.Context) ([]Record, error) {
	select {
	case v.page.searches <- struct{}{}:
	default:
		return nil, ErrBusy
	}
	defer func() { <-v.page.searches }()
	ctx, cancel := context.WithTimeoutCause(ctx, exportTime, ErrSlow)
	defer cancel()
	found, _, err := v.page.cfg.Store.Find(ctx, &v.asked.Search, v.asked.before, MaxExport)
	return found, err
}

// columns are those of a CSV.
var columns = []struct {
	name  string
	value func(*Record) string
}{
	{"time", func(r *Record) string { return r.Time.UTC().Format(time.RFC3339Nano) }},
	{"action", func(r *Record) string { return r.Action }},
	{"decision", func(r *Record) string { return r.Decision }},
	{"reason", func(r *Record) string { return r.Reason }},
	{"rule", func(r *Record) string { return r.Rule }},
	{"person", func(r *Record) string { return r.Person }},
	{"tool", func(r *Record) string { return r.Tool }},
	{"method", func(r *Record) string { return r.Method }},
	{"host", func(r *Record) string { return r.Host }},
	{"path", func(r *Record) string { return r.Path }},
	{"status", func(r *Record) string { return r.Code }},
	{"address", func(r *Record) string { return r.Address }},
	{"request", func(r *Record) string { return r.Request }},
	{"session", func(r *Record) string { return r.Session }},
	{"instance", func(r *Record) string { return r.Instance }},
	{"sequence", func(r *Record) string {
		if r.Sequence == 0 {
			return ""
		}
		return strconv.FormatUint(r.Sequence, 10)
	}},
}

// writeCSV writes records as RFC 4180 has it.
func writeCSV(w *bufio.Writer, found []Record) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	line := make([]string, len(columns))
	for i, c := range columns {
		line[i] = c.name
	}
	if err := out.Write(line); err != nil {
		return err
	}
	for n := range found {
		for i, c := range columns {
			line[i] = inert(c.value(&found[n]))
		}
		if err := out.Write(line); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// inert keeps a spreadsheet from computing what somebody has sent: what begins like a
// formula gets an apostrophe, which shows that it is text.
func inert(value string) string {
	if value != "" && strings.IndexByte("=+-@\t\r|%", value[0]) >= 0 {
		return "'" + value
	}
	return value
}

// writeJSON writes an array of the records, each on a line of its own and as it was
// written: it can still be verified.
func writeJSON(w *bufio.Writer, found []Record) error {
	begin := "[\n"
	for i := range found {
		if _, err := w.WriteString(begin + found[i].Line); err != nil {
			return err
		}
		begin = ",\n"
	}
	if len(found) == 0 {
		begin = "["
	} else {
		begin = "\n"
	}
	_, err := w.WriteString(begin + "]\n")
	return err
}
