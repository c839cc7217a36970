package auditpage

import (
	"bufio"
	"context"
	"encoding/csv"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
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
	ctx, leave, err := v.page.searching(ctx, v.who.User, exportTime)
	if err != nil {
		return nil, err
	}
	defer leave()
	found, _, err := v.page.cfg.Store.Find(ctx, &v.asked.Search, v.asked.before, MaxExport)
	return found, err
}

// columns are those of a CSV, behind the time.
var columns = []audit.Field{
	audit.Action, audit.Decision, audit.Reason, audit.Rule, audit.User, audit.Route, audit.Method, audit.Host, audit.Path, audit.Status,
	audit.Address, audit.RequestID, audit.Session, audit.Instance,
}

// writeCSV writes records as RFC 4180 has it.
func writeCSV(w *bufio.Writer, found []Record) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	line := []string{"time"}
	for _, field := range columns {
		line = append(line, field.String())
	}
	if err := out.Write(append(line, "sequence")); err != nil {
		return err
	}
	for i := range found {
		line = append(line[:0], found[i].Time.Format(time.RFC3339Nano))
		for _, field := range columns {
			line = append(line, audit.Cell(found[i].Value(field)))
		}
		if err := out.Write(append(line, strconv.FormatUint(found[i].Sequence, 10))); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// writeJSON writes an array of the records, each on a line of its own and as it was
// written: it can still be verified.
func writeJSON(w *bufio.Writer, found []Record) error {
	begin := "[\n"
	for i := range found {
		if _, err := w.WriteString(begin + string(found[i].Line)); err != nil {
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
