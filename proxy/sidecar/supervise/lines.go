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
	// pipeBuf is PIPE_BUF of pipe(7): what is written to a pipe at once and is not longer
	// is not mixed with what others write there.
	pipeBuf = 4096
	// maxLine is how much of a line is written at once: escaped, each of its bytes may take six,
	// and there are the words around it.
	maxLine = 640
	// maxPlain is the same where nothing is escaped.
	maxPlain = 3840
)

// framing makes one of our lines, with the line feed, of a piece of one of the
// application's. more says that the next piece belongs to the same line.
type framing struct {
	most int // bytes of a piece
	make func(piece []byte, more bool) []byte
}

// framer cuts what the application writes into lines, and long lines into pieces. It
// holds one piece at most.
type framer struct {
	to    io.Writer
	frame framing
	held  []byte
}

// add takes what was read.
func (f *framer) add(text []byte) error {
	for len(text) > 0 {
		at := bytes.IndexByte(text, '\n')
		end, next := at, at+1
		if at < 0 {
			end, next = len(text), len(text)
		}
		f.held = append(f.held, text[:end]...)
		text = text[next:]
		if err := f.flush(at >= 0); err != nil {
			return err
		}
	}
	return nil
}

// flush writes what is held, if it is a line or too long for one piece.
func (f *framer) flush(line bool) error {
	for len(f.held) > f.frame.most {
		cut := f.frame.most
		for back := range utf8.UTFMax { // not within a character, if these are any
			if utf8.RuneStart(f.held[cut-back]) {
				cut -= back
				break
			}
		}
		if err := f.write(f.held[:cut], true); err != nil {
			return err
		}
		f.held = append(f.held[:0], f.held[cut:]...)
	}
	if !line {
		return nil
	}
	defer func() { f.held = f.held[:0] }()
	return f.write(f.held, false)
}

// end writes a last line that has no end.
func (f *framer) end() error {
	if len(f.held) == 0 {
		return nil
	}
	return f.flush(true)
}

func (f *framer) write(piece []byte, more bool) error {
	_, err := f.to.Write(f.frame.make(piece, more))
	return err
}

// frame is how lines of a stream are written.
func (c *Child) frame(stream string) framing {
	if c.cfg.Output == JSON {
		return framing{maxLine, func(piece []byte, more bool) []byte {
			return jsonLine(outputLine{time.Now().UTC(), stream, c.cfg.Service, escaped(piece), more})
		}}
	}
	name := c.cfg.Service
	return framing{maxPlain - len(name), func(piece []byte, more bool) []byte {
		line := append([]byte(name+" | "), piece...)
		if more {
			line = append(line, " …"...)
		}
		return append(line, '\n')
	}}
}

// outputLine is a line of an application in JSON.
type outputLine struct {
	Time    time.Time `json:"time"`
	Stream  string    `json:"stream"`
	Service string    `json:"service"`
	Text    string    `json:"text"`
	// Partial says that the line goes on in the next object of the stream.
	Partial bool `json:"partial,omitempty"`
}

func jsonLine(line outputLine) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(line) // of strings and a time
	return b.Bytes()
}

// escaped is text with each byte that is not UTF-8 as \xNN.
func escaped(text []byte) string {
	if utf8.Valid(text) {
		return string(text)
	}
	const digits = "0123456789abcdef"
	var b bytes.Buffer
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if r == utf8.RuneError && size == 1 {
			b.WriteString(`\x`)
			b.WriteByte(digits[text[0]>>4])
			b.WriteByte(digits[text[0]&15])
		} else {
			b.Write(text[:size])
		}
		text = text[size:]
	}
	return b.String()
}
