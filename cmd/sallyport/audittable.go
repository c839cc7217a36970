package main

import (
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
)

// table is rows of text in columns. No character of a cell acts on a terminal.
type table struct {
	head    []string // printed once, before the first rows
	rows    [][]string
	width   int   // what it may take; 0 for any
	shrinks []int // columns that may be cut
}

// add adds a row.
func (t *table) add(cells ...string) {
	row := make([]string, len(cells))
	for i, cell := range cells {
		row[i] = orDash(audit.Visible(cell))
	}
	t.rows = append(t.rows, row)
}

// gap is between columns.
const gap = 2

// narrowest is what a column is not cut below.
const narrowest = 10

// flush prints the rows that there are.
func (t *table) flush(w io.Writer) error {
	rows := t.rows
	if len(rows) == 0 {
		return nil
	}
	if t.head != nil {
		rows = append([][]string{t.head}, rows...)
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	t.shrink(widths)
	var out strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			text := cut(cell, widths[i])
			out.WriteString(text)
			if i < len(row)-1 {
				out.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text)+gap))
			}
		}
		out.WriteByte('\n')
	}
	t.rows, t.head = t.rows[:0], nil
	_, err := io.WriteString(w, out.String())
	return err
}

// shrink takes from the columns that may be cut until all fit, as far as that goes:
// always from the widest.
func (t *table) shrink(widths []int) {
	over := -t.width - gap
	for _, w := range widths {
		over += w + gap
	}
	for ; t.width > 0 && over > 0; over-- {
		widest := -1
		for _, column := range t.shrinks {
			if widths[column] > narrowest && (widest < 0 || widths[column] > widths[widest]) {
				widest = column
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
	}
}

// cut returns text in no more than width characters.
func cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	runes := []rune(text)
	return string(runes[:max(0, width-1)]) + "…"
}

// terminalWidth returns how wide the terminal is that w writes to, 0 if it is none.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// printObjects prints rows as JSON objects, one a line, with the names of head.
func printObjects(w io.Writer, head []string, rows iter.Seq[[]string]) error {
	for row := range rows {
		var out strings.Builder
		for i, name := range head {
			value, err := json.Marshal(row[i])
			if err != nil {
				return fmt.Errorf("encoding: %w", err)
			}
			fmt.Fprintf(&out, "%c%q:%s", "{,"[min(i, 1)], name, audit.Visible(string(value)))
		}
		out.WriteString("}\n")
		if _, err := io.WriteString(w, out.String()); err != nil {
			return err
		}
	}
	return nil
}
