package verify

import (
	"bytes"
	"fmt"
	"io"
	"strings"
)

// WriteTo writes the report for people.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s in %s: %s of %s\n", count(r.Lines, "line"), count(uint64(len(r.Files)), "file"),
		count(r.Records, "record"), count(uint64(len(r.Instances)), "instance"))
	if r.Blank+r.Torn+r.Foreign > 0 {
		fmt.Fprintf(&b, "besides: %s, %s, %s of others\n", count(r.Blank, "empty line"), count(r.Torn, "torn line"), count(r.Foreign, "line"))
	}
	if !r.SignaturesChecked {
		b.WriteString("signatures were not verified: whoever could write to the files could have made the chain anew\n")
	}
	for _, i := range r.Instances {
		i.write(&b, r.SignaturesChecked)
	}
	list(&b, "notes", r.Notes, r.NoteCount)
	list(&b, "findings", r.Findings, r.FindingCount)
	if r.Whole() {
		b.WriteString("\nwhole: nothing was edited, removed, inserted, moved or cut off, as far as signatures and chain reach\n")
	}
	n, err := b.WriteTo(w)
	if err != nil {
		err = fmt.Errorf("writing report: %w", err)
	}
	return n, err
}

// count is a number of things.
func count(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (i *Instance) write(b *bytes.Buffer, checked bool) {
	end := "not ended"
	if i.Ended {
		end = "ended"
	}
	fmt.Fprintf(b, "\ninstance %s, %s\n", i.ID, end)
	fmt.Fprintf(b, "  records      %d to %d, from %.27s to %.27s\n", i.First, i.Last, printable(i.FirstTime), printable(i.LastTime))
	if i.Repeats+i.Moved > 0 {
		fmt.Fprintf(b, "  besides      %d there again, %d out of order\n", i.Repeats, i.Moved)
	}
	if i.Dropped > 0 {
		fmt.Fprintf(b, "  dropped      %d, as it says itself\n", i.Dropped)
	}
	if i.Promise == "" && i.Checkpoints+i.OwnCheckpoints == 0 {
		b.WriteString("  checkpoints  none, and none promised: this is a chain without a signature\n")
		return
	}
	fmt.Fprintf(b, "  checkpoints  %d by Vault, %d by its own key", i.Checkpoints, i.OwnCheckpoints)
	if i.Promise != "" {
		fmt.Fprintf(b, "; promised %s", i.Promise)
	}
	word := "signed"
	if !checked {
		word = "named"
	}
	fmt.Fprintf(b, "\n  %-12s up to %d by Vault", word, i.Covered)
	if i.OwnCovered > i.Covered {
		fmt.Fprintf(b, ", up to %d by its own key", i.OwnCovered)
	}
	fmt.Fprintf(b, "; %s behind that on the chain alone\n", count(i.Uncovered, "record"))
}

// printable leaves nothing of a value that acts on a terminal.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f {
			return '?'
		}
		return c
	}, s)
}

func list(b *bytes.Buffer, title string, findings []Finding, all uint64) {
	if all == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s (%d):\n", title, all)
	for _, f := range findings {
		fmt.Fprintf(b, "  %s\n", f)
	}
	if more := all - uint64(len(findings)); more > 0 {
		fmt.Fprintf(b, "  and %d more\n", more)
	}
}
