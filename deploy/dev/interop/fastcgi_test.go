package interop

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// fastCGI has a program on a socket answer a request, as a web server does with PHP
// (FastCGI 1.0, one request for each connection).
type fastCGI struct {
	socket string
	params map[string]string // besides those that come from the request
}

// Types of records.
const (
	fcgiBegin, fcgiEnd, fcgiParams, fcgiInput, fcgiOutput, fcgiErrors = 1, 3, 4, 5, 6, 7
)

// ServeHTTP implements http.Handler.
func (f fastCGI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		var output []byte
		if output, err = f.exchange(f.describe(r, len(body)), body); err == nil {
			err = reply(w, output)
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
	}
}

// describe is the request as CGI has it (RFC 3875).
func (f fastCGI) describe(r *http.Request, length int) map[string]string {
	params := map[string]string{
		"GATEWAY_INTERFACE": "CGI/1.1", "SERVER_PROTOCOL": r.Proto, "REQUEST_METHOD": r.Method,
		"REQUEST_URI": r.URL.RequestURI(), "QUERY_STRING": r.URL.RawQuery, "REMOTE_ADDR": "127.0.0.1",
		"SERVER_NAME": r.Host, "SERVER_PORT": "443", "HTTPS": "on", "HTTP_HOST": r.Host,
		"CONTENT_TYPE": r.Header.Get("Content-Type"), "CONTENT_LENGTH": strconv.Itoa(length),
	}
	for name, values := range r.Header {
		separator := ", "
		if name == "Cookie" {
			separator = "; "
		}
		params["HTTP_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))] = strings.Join(values, separator)
	}
	for name, value := range f.params {
		params[name] = value
	}
	return params
}

// exchange sends the request and collects what the program writes.
func (f fastCGI) exchange(params map[string]string, body []byte) ([]byte, error) {
	conn, err := net.Dial("unix", f.socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var out bytes.Buffer
	record(&out, fcgiBegin, []byte{0, 1, 0, 0, 0, 0, 0, 0}) // role: responder
	var pairs bytes.Buffer
	for name, value := range params {
		pairs.Write(size(name))
		pairs.Write(size(value))
		pairs.WriteString(name + value)
	}
	stream(&out, fcgiParams, pairs.Bytes())
	stream(&out, fcgiInput, body)
	if _, err := conn.Write(out.Bytes()); err != nil {
		return nil, err
	}
	return collect(bufio.NewReader(conn))
}

// collect reads records until the last.
func collect(in io.Reader) ([]byte, error) {
	var output, complaints bytes.Buffer
	for {
		var header [8]byte
		if _, err := io.ReadFull(in, header[:]); err != nil {
			return nil, fmt.Errorf("reading a record: %w; PHP wrote %s", err, complaints.String())
		}
		content := make([]byte, int(binary.BigEndian.Uint16(header[4:]))+int(header[6]))
		if _, err := io.ReadFull(in, content); err != nil {
			return nil, fmt.Errorf("reading a record: %w", err)
		}
		content = content[:binary.BigEndian.Uint16(header[4:])]
		switch header[1] {
		case fcgiOutput:
			output.Write(content)
		case fcgiErrors:
			complaints.Write(content)
		case fcgiEnd:
			return output.Bytes(), nil
		}
	}
}

// stream writes records with the content, and the empty one that ends it.
func stream(out *bytes.Buffer, kind byte, content []byte) {
	for len(content) > 0 {
		n := min(len(content), 60000)
		record(out, kind, content[:n])
		content = content[n:]
	}
	record(out, kind, nil)
}

func record(out *bytes.Buffer, kind byte, content []byte) {
	header := [8]byte{1, kind, 0, 1}
	binary.BigEndian.PutUint16(header[4:], uint16(len(content)))
	out.Write(header[:])
	out.Write(content)
}

// size is the length of a name or a value, in its long form.
func size(s string) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(len(s))|1<<31)
}

// reply turns what the program wrote into an answer.
func reply(w http.ResponseWriter, output []byte) error {
	reader := bufio.NewReader(bytes.NewReader(output))
	header, err := textproto.NewReader(reader).ReadMIMEHeader()
	if err != nil {
		return fmt.Errorf("reading the answer of PHP: %w", err)
	}
	status := http.StatusOK
	if line := header.Get("Status"); line != "" {
		if status, err = strconv.Atoi(strings.Fields(line)[0]); err != nil {
			return fmt.Errorf("reading the answer of PHP: %w", err)
		}
	}
	delete(header, "Status")
	for name, values := range header {
		w.Header()[name] = values
	}
	w.WriteHeader(status)
	_, err = io.Copy(w, reader)
	return err
}
