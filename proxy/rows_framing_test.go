package proxy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// fields are a header section, or a trailer section, in order and unchecked.
type fields [][2]string

// message is a request in frames; without a body its header section ends it.
type message struct {
	header  fields
	body    string
	trailer fields
}

func (m message) ends() bool { return m.body == "" && m.trailer == nil }

// outcome is a status, or "refused" with what the gateway has said instead of one.
type outcome string

// frames2 sends m to the gateway in HTTP/2.
func frames2(tb testing.TB, s *stand, host string, m message) outcome {
	tb.Helper()
	return framesOver(tb, s.addr, &tls.Config{RootCAs: s.ca.pool, ServerName: host, NextProtos: []string{"h2"}}, m)
}

// framesOver sends m in HTTP/2, on a connection of its own.
func framesOver(tb testing.TB, address string, config *tls.Config, m message) outcome {
	tb.Helper()
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		tb.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	_ = framer.WriteSettings()
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: hpacked(m.header), EndHeaders: true, EndStream: m.ends()})
	if m.body != "" {
		_ = framer.WriteData(1, m.trailer == nil, []byte(m.body))
	}
	if m.trailer != nil {
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: hpacked(m.trailer), EndHeaders: true, EndStream: true})
	}
	return outcome2(framer)
}

// outcome2 reads until it is known what became of the first stream.
func outcome2(framer *http2.Framer) outcome {
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	status := outcome("")
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return outcome("refused: " + err.Error())
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			if status == "" {
				status = outcome(f.PseudoValue("status"))
			}
			if f.StreamEnded() {
				return status
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				return status
			}
		case *http2.RSTStreamFrame:
			if status != "" && f.ErrCode == http2.ErrCodeNo {
				return status
			}
			return outcome("refused: " + f.ErrCode.String())
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				return outcome("refused: " + f.ErrCode.String())
			}
		}
	}
}

func hpacked(list fields) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range list {
		_ = encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	return block.Bytes()
}

// frames3 sends m in HTTP/3, on a connection of its own.
func frames3(tb testing.TB, s *stand, front *front3, host string, m message) outcome {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Second)
	defer cancel()
	conn, err := quic.DialAddr(ctx, front.address, &tls.Config{RootCAs: s.ca.pool, ServerName: host, NextProtos: []string{http3.NextProtoH3}}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = conn.CloseWithError(0, "") }()
	control, err := conn.OpenUniStream()
	if err != nil {
		tb.Fatal(err)
	}
	_, _ = control.Write([]byte{0, 4, 0}) // a control stream, and settings without any
	stream, err := conn.OpenStream()
	if err != nil {
		tb.Fatal(err)
	}
	_ = stream.SetDeadline(time.Now().Add(10 * time.Second))
	text := frame3(1, qpacked(m.header))
	if m.body != "" {
		text = append(text, frame3(0, []byte(m.body))...)
	}
	if m.trailer != nil {
		text = append(text, frame3(1, qpacked(m.trailer))...)
	}
	_, _ = stream.Write(text)
	_ = stream.Close()
	status, err := outcome3(stream)
	if err != nil {
		return outcome("refused: " + err.Error())
	}
	return status
}

func frame3(kind uint64, payload []byte) []byte {
	return append(quicvarint.Append(quicvarint.Append(nil, kind), uint64(len(payload))), payload...)
}

func qpacked(list fields) []byte {
	var block bytes.Buffer
	encoder := qpack.NewEncoder(&block)
	for _, f := range list {
		_ = encoder.WriteField(qpack.HeaderField{Name: f[0], Value: f[1]})
	}
	_ = encoder.Close()
	return block.Bytes()
}

// outcome3 reads an answer to its end.
func outcome3(stream io.Reader) (status outcome, err error) {
	text, err := io.ReadAll(io.LimitReader(stream, 1<<20))
	var reset *quic.StreamError
	if err != nil && (!errors.As(err, &reset) || reset.ErrorCode != quic.StreamErrorCode(http3.ErrCodeNoError)) {
		return "", err
	}
	for frames := bytes.NewReader(text); frames.Len() > 0; {
		kind, err := quicvarint.Read(frames)
		if err != nil {
			return "", err
		}
		size, err := quicvarint.Read(frames)
		if err != nil {
			return "", err
		}
		payload := make([]byte, size)
		if _, err := io.ReadFull(frames, payload); err != nil {
			return "", err
		}
		if kind != 1 || status != "" {
			continue
		}
		next := qpack.NewDecoder().Decode(payload)
		for f, err := next(); err == nil; f, err = next() {
			if f.Name == ":status" {
				status = outcome(f.Value)
			}
		}
	}
	if status == "" {
		return "", io.ErrUnexpectedEOF
	}
	return status, nil
}

// asked is a request of alice in frames, with further fields.
func (s *stand) asked(host, method, path string, more ...[2]string) fields {
	_, port, _ := net.SplitHostPort(s.addr)
	list := fields{{":method", method}, {":scheme", "https"}, {":authority", net.JoinHostPort(host, port)}, {":path", path}}
	for cookie := range strings.SplitSeq(s.cookies[host], "; ") {
		list = append(list, [2]string{"cookie", cookie}) // in crumbs, as browsers do
	}
	return append(list, more...)
}

// linesOf are header lines of HTTP/1.1, and trailers behind an empty one, as fields with
// names in lower case; those that frame in HTTP/1.1 have no counterpart.
func linesOf(text string) (header, trailer fields) {
	head, rest, chunked := strings.Cut(text, "\r\n\r\n")
	header = parsed(head)
	if !chunked || rest == "" {
		return header, nil
	}
	_, last, _ := strings.Cut(rest, "\r\n0\r\n")
	return header, parsed(last)
}

func parsed(text string) (list fields) {
	for line := range strings.SplitSeq(text, "\n") {
		name, value, isField := strings.Cut(strings.TrimSuffix(line, "\r"), ":")
		name = strings.ToLower(name)
		if isField && name != "transfer-encoding" && name != "connection" && name != "upgrade" {
			list = append(list, [2]string{name, strings.TrimPrefix(value, " ")})
		}
	}
	return list
}

func (o outcome) refused() bool {
	return strings.HasPrefix(string(o), "refused") || strings.HasPrefix(string(o), "4")
}

var _ fmt.Stringer = outcome("")

func (o outcome) String() string { return string(o) }
