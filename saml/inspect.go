package saml

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Inspection explains a document to an operator, offline: what it says and what is
// wrong with it, from [InspectResponse] or [InspectMetadata]. Every text in it is
// bounded and fit to be shown, whatever the document holds.
type Inspection struct {
	Sections []Section
}

// Section is a part of an inspection.
type Section struct {
	Title string
	Lines []Line
}

// Line is one thing in a section.
type Line struct {
	Mark Mark
	Name string // what it is about, in a few words; may be empty
	Text string
}

// Mark says what a line means for the whole.
type Mark int

// The marks.
const (
	MarkInfo    Mark = iota // so it is
	MarkPassed              // a check that passed
	MarkProblem             // would be refused, or needs somebody's attention
	MarkSkipped             // a check that could not be made
)

// String is how a line with this mark begins.
func (m Mark) String() string {
	return [...]string{"", "ok", "PROBLEM", "skipped"}[m]
}

// Problems counts the lines that need somebody's attention. None means that the
// document would be taken, as far as could be seen.
func (i Inspection) Problems() int {
	n := 0
	for _, s := range i.Sections {
		for _, l := range s.Lines {
			if l.Mark == MarkProblem {
				n++
			}
		}
	}
	return n
}

// String is what WriteTo writes.
func (i Inspection) String() string {
	var b strings.Builder
	// Writing to a builder cannot fail.
	_, _ = i.WriteTo(&b)
	return b.String()
}

// WriteTo writes the sections for people, one line each, in columns.
func (i Inspection) WriteTo(w io.Writer) (int64, error) {
	var written int64
	for n, s := range i.Sections {
		text := s.format()
		if n > 0 {
			text = "\n" + text
		}
		n, err := io.WriteString(w, text)
		written += int64(n)
		if err != nil {
			return written, fmt.Errorf("writing an inspection: %w", err)
		}
	}
	return written, nil
}

// format lays the lines of a section out in columns.
func (s Section) format() string {
	marks, names := 0, 0
	for _, l := range s.Lines {
		marks = max(marks, len(l.Mark.String()))
		names = max(names, utf8.RuneCountInString(l.Name))
	}
	var b strings.Builder
	b.WriteString(s.Title + "\n")
	for _, l := range s.Lines {
		line := "  "
		if marks > 0 {
			line += fmt.Sprintf("%-*s  ", marks, l.Mark)
		}
		if names > 0 {
			line += fmt.Sprintf("%-*s  ", names, l.Name)
		}
		b.WriteString(strings.TrimRight(line+l.Text, " ") + "\n")
	}
	return b.String()
}

// section returns a section of the inspection to add lines to.
func (i *Inspection) section(title string) *Section {
	i.Sections = append(i.Sections, Section{Title: title})
	return &i.Sections[len(i.Sections)-1]
}

// add adds a line. What it quotes of a document is bounded and escaped here, once.
func (s *Section) add(mark Mark, name, format string, args ...any) {
	s.Lines = append(s.Lines, Line{Mark: mark, Name: quotable(name), Text: quotable(fmt.Sprintf(format, args...))})
}

// say adds a line if there is something to say.
func (s *Section) say(name, text string) {
	if text != "" {
		s.add(MarkInfo, name, "%s", text)
	}
}
