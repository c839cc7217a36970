package proxy

import (
	"encoding/json"
	"net/http"
	"time"
)

// tracedLine is a message in the list of all. The names are stable.
type tracedLine struct {
	RequestID string    `json:"request_id"`
	Time      time.Time `json:"time"`
	IdP       string    `json:"idp,omitempty"`
	Message   string    `json:"message,omitempty"`
	Decision  string    `json:"decision"`
	Reason    string    `json:"reason"`
}

// tracedWhole is a message with all that is known of it. The names are stable.
type tracedWhole struct {
	tracedLine
	Cause       string            `json:"cause,omitempty"`
	ID          string            `json:"id,omitempty"`
	Issued      *time.Time        `json:"issued,omitempty"`
	Received    *time.Time        `json:"received,omitempty"`
	ClockOffset *float64          `json:"clock_offset_seconds,omitempty"`
	Encrypted   string            `json:"encrypted,omitempty"`
	Certificate string            `json:"certificate,omitempty"`
	Attributes  []tracedAttribute `json:"attributes"`
	Checks      []tracedCheck     `json:"checks"`
}

type tracedAttribute struct {
	Name   string `json:"name"`
	Values int    `json:"values"`
}

type tracedCheck struct {
	Name string `json:"name"`
	Want string `json:"want,omitempty"`
	Got  string `json:"got,omitempty"`
	Code string `json:"code,omitempty"`
}

// Handler shows what is remembered as JSON, for the admin listener: all of it in
// short at /saml/traces, the latest first, and one message whole at
// /saml/traces/REQUEST-ID.
func (ts *Traces) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /saml/traces", func(w http.ResponseWriter, _ *http.Request) {
		lines := []tracedLine{} // not null when there is none
		for _, t := range ts.All() {
			lines = append(lines, lineOf(t))
		}
		writeTraces(w, http.StatusOK, map[string]any{"traces": lines})
	})
	mux.HandleFunc("GET /saml/traces/{id}", func(w http.ResponseWriter, r *http.Request) {
		t, ok := ts.find(r.PathValue("id"))
		if !ok {
			writeTraces(w, http.StatusNotFound, map[string]any{
				"error": "not_found", "message": "no message with that request ID is remembered by this process",
			})
			return
		}
		writeTraces(w, http.StatusOK, wholeOf(t))
	})
	return mux
}

func writeTraces(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(body) // whoever asked may have gone away
}

func lineOf(t Traced) tracedLine {
	return tracedLine{
		RequestID: t.RequestID, Time: t.Time.UTC(), IdP: t.IdP, Message: t.Trace.Message, Decision: t.Decision, Reason: t.Reason,
	}
}

func wholeOf(t Traced) tracedWhole {
	m := &t.Trace
	whole := tracedWhole{
		tracedLine: lineOf(t), Cause: t.Cause, ID: m.ID, Issued: instant(m.Issued), Received: instant(m.Received),
		Encrypted: m.Encrypted, Certificate: m.Certificate, Attributes: []tracedAttribute{}, Checks: []tracedCheck{},
	}
	if whole.Issued != nil && whole.Received != nil {
		seconds := m.ClockOffset().Seconds()
		whole.ClockOffset = &seconds
	}
	for _, a := range m.Attributes {
		whole.Attributes = append(whole.Attributes, tracedAttribute(a))
	}
	for _, c := range m.Checks {
		whole.Checks = append(whole.Checks, tracedCheck(c))
	}
	return whole
}

// instant is nil for a time that is not known, or that JSON has no form for: a stranger
// may have written it.
func instant(t time.Time) *time.Time {
	t = t.UTC()
	if year := t.Year(); t.IsZero() || year < 0 || year > 9999 {
		return nil
	}
	return &t
}
