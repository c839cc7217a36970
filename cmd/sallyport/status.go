package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// statusDocument is what GET /status of the admin listener answers.
type statusDocument struct {
	Service string    `json:"service"`
	Version string    `json:"version"`
	Now     time.Time `json:"now"`
	Started time.Time `json:"started"`
	Ready   bool      `json:"ready"`
	// Unready says why no traffic should come, Remarks what is wrong besides.
	Unready   []string      `json:"unready,omitempty"`
	Remarks   []string      `json:"remarks,omitempty"`
	HardStop  *artefact     `json:"first_hard_stop,omitempty"`
	Artefacts []artefact    `json:"artefacts"`
	Followed  []followState `json:"followed,omitempty"`
	// Parts are what must be well beside an application.
	Parts []partState `json:"parts,omitempty"`
	// Upstreams are where a gateway sends requests. They never make it unready.
	Upstreams []upstreamState `json:"upstreams,omitempty"`
}

// status describes the process as it is now.
func (l *life) status() statusDocument {
	doc := statusDocument{
		Service: l.service, Version: buildVersion(), Now: time.Now().UTC(), Started: l.started.UTC(),
		Unready: l.unready(), Artefacts: l.artefacts(),
	}
	doc.Ready = len(doc.Unready) == 0
	doc.Remarks = remarks(doc.Artefacts, doc.Now)
	if shedding, stuck := l.overloaded(); shedding && !stuck {
		doc.Remarks = append(doc.Remarks, "overloaded: requests were turned away in the last ten seconds")
	}
	doc.Remarks = append(doc.Remarks, l.sinks.remarks()...)
	if first, found := hardStop(doc.Artefacts); found {
		doc.HardStop = &first
	}
	doc.Followed = l.follows()
	doc.Parts = l.partStates()
	if l.tools != nil {
		doc.Upstreams = upstreamStates(l.tools.Upstreams())
	}
	return doc
}

// remarks is a line for everything that is not as it should be. If there is
// any, the last one says what stops first.
func remarks(all []artefact, now time.Time) []string {
	var lines []string
	for _, a := range all {
		at := a.level(now)
		switch {
		case a.Fault != "":
			lines = append(lines, fmt.Sprintf("%s: %s", a, a.Fault))
		case at != levelFine:
			lines = append(lines, fmt.Sprintf("%s: %s, until %s", a, at, a.Until.UTC().Format(time.RFC3339)))
		}
	}
	if first, found := hardStop(all); found && len(lines) > 0 {
		lines = append(lines, "first hard stop "+describeStop(first))
	}
	return lines
}

// serveStatus answers GET /status.
func (l *life) serveStatus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(l.status()) // who asked may have gone away
}

// statusCommand asks a process on this machine what it lives from.
func statusCommand(std stdio) *cobra.Command {
	var ask asker
	var raw bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what a gateway or sidecar lives from, and until when",
		Long: `Show what a gateway or sidecar on this machine lives from: its Vault token, every
certificate and authority, the identity provider's certificates and metadata, each
secret and its version; how old each is, when it ends, and what stops then.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := ask.get(cmd.Context(), "/status")
			if err != nil {
				return err
			}
			if raw {
				_, err = std.Out.Write(body)
				return err
			}
			var doc statusDocument
			if err := json.Unmarshal(body, &doc); err != nil {
				return fmt.Errorf("reading the status of %s: %w", ask.address, err)
			}
			return printStatus(std.Out, doc)
		},
	}
	ask.add(cmd.Flags(), std, 5*time.Second)
	cmd.Flags().BoolVar(&raw, "json", false, "print the answer as it is")
	return cmd
}

// printStatus writes a status for a person.
func printStatus(w io.Writer, doc statusDocument) error {
	out := &strings.Builder{}
	state := "ready"
	if !doc.Ready {
		state = "NOT READY"
	}
	fmt.Fprintf(out, "%s %s, up %s: %s\n", doc.Service, doc.Version, readable(doc.Now.Sub(doc.Started)), state)
	for _, line := range append(doc.Unready, doc.Remarks...) {
		fmt.Fprintf(out, "- %s\n", line)
	}
	for _, p := range doc.Parts {
		if p.OK { // else it stands above
			fmt.Fprintf(out, "- %s: %s\n", p.Name, p.Says)
		}
	}
	if doc.HardStop != nil {
		fmt.Fprintf(out, "first hard stop %s, in %s\n", describeStop(*doc.HardStop), readable(doc.HardStop.Until.Sub(doc.Now)))
	}
	for _, a := range doc.Artefacts {
		if a.Note != "" {
			fmt.Fprintf(out, "%s: %s\n", a, a.Note)
		}
	}
	out.WriteString("\n")
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "KIND\tNAME\tVERSION\tAGE\tENDS IN\tSTATE\tTHEN STOPS")
	for _, a := range doc.Artefacts {
		ends, age := "-", "-"
		if !a.Until.IsZero() {
			ends = readable(a.Until.Sub(doc.Now))
		}
		if !a.Since.IsZero() {
			age = readable(doc.Now.Sub(a.Since))
		}
		state := a.level(doc.Now).String()
		if a.Fault != "" {
			state = "FAULT"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", a.Kind, a.Name, orDash(a.Version), age, ends, state, orDash(a.Stops))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if err := writeUpstreams(out, doc); err != nil {
		return err
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// readable writes a duration as a person would: in its two largest units.
func readable(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	days, rest := d/(24*time.Hour), d%(24*time.Hour)
	switch {
	case days > 0:
		return fmt.Sprintf("%s%dd%dh", sign, days, rest/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%s%dh%dm", sign, d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%s%dm%ds", sign, d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%s%ds", sign, d/time.Second)
}
