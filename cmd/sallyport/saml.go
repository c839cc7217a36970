package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// tracesPath is where the admin listener shows what identity providers have sent.
const tracesPath = "/saml/traces"

// samlCommand explains sign-on to an operator.
func samlCommand(std stdio) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "saml",
		Short: "Explain why a sign-on does not work",
	}
	cmd.AddCommand(traceCommand(std), inspectCommand(std))
	demandAction(cmd)
	return cmd
}

// traceCommand asks a gateway on this machine for the last messages.
func traceCommand(std stdio) *cobra.Command {
	var ask asker
	var raw bool
	cmd := &cobra.Command{
		Use:   "trace [NUMBER]",
		Short: "Show the last messages of identity providers, or one of them check by check",
		Long: `Show the last messages that identity providers sent to a gateway on this machine,
one line each; or with a number, one of them: each check that was made, what was
expected and what came, how far the sender's clock is off, and which certificate
verified. The number is on the page that the person sees, and in the access log.

A gateway remembers them since its start and in memory alone. It keeps no name, no
attribute value and no signature.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError{fmt.Errorf("%d numbers, expected one, or none for all", len(args))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return showTraces(cmd.Context(), std.Out, &ask, args, raw)
		},
	}
	ask.add(cmd.Flags(), std, 5*time.Second)
	cmd.Flags().BoolVar(&raw, "json", false, "print the answer as it is")
	return cmd
}

func showTraces(ctx context.Context, w io.Writer, ask *asker, numbers []string, raw bool) error {
	path := tracesPath
	if len(numbers) > 0 {
		path += "/" + url.PathEscape(numbers[0])
	}
	status, body, err := ask.ask(ctx, http.MethodGet, path)
	switch {
	case err != nil:
		return err
	case status == http.StatusNotFound:
		return unknownTrace(ask.address, numbers, body)
	case status != http.StatusOK:
		return fmt.Errorf("asking %s: it answers %d:\n%s", ask.address, status, strings.TrimSpace(string(body)))
	case raw:
		_, err = w.Write(body)
		return err
	case len(numbers) > 0:
		var one trace
		if err := json.Unmarshal(body, &one); err != nil {
			return fmt.Errorf("reading the answer of %s: %w", ask.address, err)
		}
		return one.print(w)
	}
	var list struct{ Traces []trace }
	if err := json.Unmarshal(body, &list); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", ask.address, err)
	}
	return printTraces(w, list.Traces)
}

// unknownTrace says why there is nothing to show.
func unknownTrace(address string, numbers []string, body []byte) error {
	if !json.Valid(body) {
		return &hinted{errors.New("asking " + address + ": it keeps no messages of identity providers"), "ask the admin listener of a gateway"}
	}
	return &hinted{
		fmt.Errorf("asking %s: no message with the number %q", address, strings.Join(numbers, "")),
		"it is forgotten after some hundred others and by a restart; beside other replicas, ask each; the access log still has the line with that number",
	}
}

// trace is a message of an identity provider and what became of it, as the admin
// listener tells of it. In a list, only the first six are there.
type trace struct {
	RequestID   string    `json:"request_id"`
	Time        time.Time `json:"time"`
	IdP         string    `json:"idp"`
	Message     string    `json:"message"`
	Decision    string    `json:"decision"`
	Reason      string    `json:"reason"`
	Cause       string    `json:"cause"`
	ID          string    `json:"id"`
	ClockOffset *float64  `json:"clock_offset_seconds"`
	Encrypted   string    `json:"encrypted"`
	Certificate string    `json:"certificate"`
	Attributes  []struct {
		Name   string `json:"name"`
		Values int    `json:"values"`
	} `json:"attributes"`
	Checks []struct {
		Name string `json:"name"`
		Want string `json:"want"`
		Got  string `json:"got"`
		Code string `json:"code"`
	} `json:"checks"`
}

// printTraces writes a line for each.
func printTraces(w io.Writer, traces []trace) error {
	if len(traces) == 0 {
		_, err := fmt.Fprintln(w, "no message of an identity provider since the start of this process")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "TIME\tNUMBER\tIDP\tMESSAGE\tDECISION\tREASON")
	for _, t := range traces {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", t.Time.UTC().Format(time.RFC3339),
			visible(t.RequestID), orDash(visible(t.IdP)), orDash(visible(t.Message)), visible(t.Decision), visible(t.Reason))
	}
	return table.Flush()
}

// print writes one message whole.
func (t trace) print(w io.Writer) error {
	out := &strings.Builder{}
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(out, "%-13s %s\n", key+":", visible(value))
		}
	}
	line("number", t.RequestID)
	line("time", t.Time.UTC().Format(time.RFC3339))
	line("idp", t.IdP)
	line("message", strings.TrimSpace(t.Message+" "+t.ID))
	line("decision", t.Decision+", "+t.Reason)
	line("cause", t.Cause)
	line("clock", clockOf(t.ClockOffset))
	line("encrypted", t.Encrypted)
	if len(t.Checks) > 0 {
		line("signed with", cmp.Or(t.Certificate, "not verified, see the checks"))
	}
	var attributes []string
	for _, a := range t.Attributes {
		attributes = append(attributes, fmt.Sprintf("%s (%d)", a.Name, a.Values))
	}
	line("attributes", strings.Join(attributes, ", "))
	if len(t.Checks) > 0 {
		out.WriteString("\n")
		t.printChecks(out)
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// cellWidth is how wide a column of the table of checks gets, unless one word is wider.
const cellWidth = 50

// printChecks writes the table of checks, with what is long on several lines.
func (t trace) printChecks(out *strings.Builder) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "CHECK\tVERDICT\tEXPECTED\tCAME")
	for _, c := range t.Checks {
		name, verdict := visible(c.Name), "passed"
		if c.Code != "" {
			verdict = "refused: " + visible(c.Code)
		}
		want, got := folded(orDash(visible(c.Want)), cellWidth), folded(orDash(visible(c.Got)), cellWidth)
		for i := range max(len(want), len(got)) {
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", name, verdict, at(want, i), at(got, i))
			name, verdict = "", ""
		}
	}
	_ = table.Flush() // a Builder takes everything
}

// folded is text in lines of at most width characters, or of one word.
func folded(text string, width int) []string {
	lines := []string{""}
	for _, word := range strings.Fields(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}

// at is the line with that index, empty if there is none.
func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

// clockOf says how far the sender's clock is off, as the message tells it.
func clockOf(seconds *float64) string {
	switch {
	case seconds == nil:
		return ""
	case math.Abs(*seconds) < 0.05:
		return "the sender's agrees with ours"
	case *seconds > 0:
		return fmt.Sprintf("the sender's is %.1f s ahead of ours, or more", *seconds)
	}
	return fmt.Sprintf("the sender's is %.1f s behind ours, the time on the way included", -*seconds)
}

// visible is text of a stranger as a terminal may have it: on one line, and nothing
// in it that moves the cursor.
func visible(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsGraphic(c) && !unicode.In(c, unicode.Zl, unicode.Zp) {
			return c
		}
		return '\ufffd'
	}, text)
}
