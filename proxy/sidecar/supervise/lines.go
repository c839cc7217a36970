package supervise

import (
	"bytes"
	"encoding/json"
	"io"
	"time"
	"unicode/utf8"
)

const (
	readBytes = 32 << 10
	// mostWritten is PIPE_BUF of pipe(7): what is written to a pipe at once and is not
	// longer is not mixed with what others write there.
	mostWritten = 4096
	// around is what is written with a piece of a line at most, beside the service's name.
	around = 160
)

// framing says how a line of an application becomes one of ours, or several.
type framing struct {
	// cost is how many bytes of ours a byte, or the character that begins with it, may become.
	cost func(text []byte) (bytes, size int)
	most int // bytes of ours for one piece
	// make returns our line, with the line feed. more says that the next piece belongs to
	// the same line.
	make func(piece []byte, more bool) []byte
}

// framer cuts what an application writes into lines, and long lines into pieces. It holds
// one piece at most, and what was read last.
type framer struct {
	to    io.Writer
	frame framing
	held  []byte
	fits  int // so much of held is known to fit into one piece
	used  int // bytes of ours that it becomes
}

// add takes what was read.
func (f *framer) add(text []byte) error {
	for len(text) > 0 {
		line, rest, whole := bytes.Cut(text, []byte{'\n'})
		f.held, text = append(f.held, line...), rest
		if err := f.flush(whole); err != nil {
			return err
		}
	}
	return nil
}

// flush writes what is held, if it is a line, or as much of it as is too long for one
// piece. No piece ends within a character.
func (f *framer) flush(whole bool) error {
	for f.fits < len(f.held) && (whole || utf8.FullRune(f.held[f.fits:])) {
		cost, size := f.frame.cost(f.held[f.fits:])
		if f.used+cost > f.frame.most {
			if err := f.write(true); err != nil {
				return err
			}
			continue
		}
		f.fits, f.used = f.fits+size, f.used+cost
	}
	if !whole {
		return nil
	}
	return f.write(false)
}

// end writes a last line that has no end.
func (f *framer) end() error {
	if len(f.held) == 0 {
		return nil
	}
	return f.flush(true)
}

// write writes what fits, and goes on to hold the rest.
func (f *framer) write(more bool) error {
	_, err := f.to.Write(f.frame.make(f.held[:f.fits], more))
	f.held, f.fits, f.used = append(f.held[:0], f.held[f.fits:]...), 0, 0
	return err
}

// frame is how lines of a stream are written.
func (c *Child) frame(stream string) framing {
	service, most := c.cfg.Service, mostWritten-around-len(c.cfg.Service)
	if c.cfg.Output == JSON {
		return framing{cost: escapedCost, most: most, make: func(piece []byte, more bool) []byte {
			return outputLine{Time: time.Now().UTC(), Stream: stream, Service: service, Partial: more}.with(piece)
		}}
	}
	return framing{cost: plainCost, most: most, make: func(piece []byte, more bool) []byte {
		line := append([]byte(service+" | "), piece...)
		if more {
			line = append(line, " …"...)
		}
		return append(line, '\n')
	}}
}

// plainCost is the cost of what is written as it is.
func plainCost(text []byte) (bytes, size int) {
	_, size = utf8.DecodeRune(text)
	return size, size
}

// escapedCost is the cost of what is written in JSON.
func escapedCost(text []byte) (bytes, size int) {
	const longest = 6 // of \u0000, of \\xff and of \u2028
	r, size := utf8.DecodeRune(text)
	if r < ' ' || r == '"' || r == '\\' || r == utf8.RuneError || r == 0x7f || r == '\u2028' || r == '\u2029' {
		return longest, size
	}
	return size, size
}

// outputLine is a line of an application in JSON.
type outputLine struct {
	Time    time.Time `json:"time"`
	Stream  string    `json:"stream"`
	Service string    `json:"service"`
	Text    string    `json:"text"`
	// Partial says that the line goes on in the next object of the stream.
	Partial bool `json:"partial,omitempty"`
	// Escaped says that the line is not UTF-8: in Text each byte that is not stands as
	// \xNN, and each backslash twice.
	Escaped bool `json:"escaped,omitempty"`
}

// with returns the line of JSON with that text.
func (l outputLine) with(text []byte) []byte {
	l.Text, l.Escaped = string(text), !utf8.Valid(text)
	if l.Escaped {
		l.Text = escaped(text)
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(l) // of strings and a time
	return b.Bytes()
}

// escaped is text with each byte that is not UTF-8 as \xNN, and each backslash twice.
func escaped(text []byte) string {
	const digits = "0123456789abcdef"
	var b bytes.Buffer
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1:
			b.Write([]byte{'\\', 'x', digits[text[0]>>4], digits[text[0]&15]})
		case r == '\\':
			b.WriteString(`\\`)
		default:
			b.Write(text[:size])
		}
		text = text[size:]
	}
	return b.String()
}
