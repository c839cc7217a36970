package main

import (
	"bufio"
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestWhatABackendSendsUnaskedIsNotLogged has net/http find the beginning of a second
// answer, which it writes to log's own logger.
func TestWhatABackendSendsUnaskedIsNotLogged(t *testing.T) {
	var said bytes.Buffer
	log.SetOutput(&said)                            //nolint:forbidigo // it is this logger that must say nothing
	t.Cleanup(func() { log.SetOutput(io.Discard) }) //nolint:forbidigo // as it is left
	silence()
	backend, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- answerTwice(backend) }()
	transport := &http.Transport{}
	res, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get("http://" + backend.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if said.Len() > 0 || log.Writer() != io.Discard { //nolint:forbidigo // see above
		t.Errorf("logged %q", said.String())
	}
}

// answerTwice takes one request, and waits until the connection was closed for what
// comes after its answer.
func answerTwice(backend net.Listener) error {
	conn, err := backend.Accept()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(); _ = backend.Close() }()
	requests := bufio.NewReader(conn)
	if _, err := http.ReadRequest(requests); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nX-Secret: canary\r\n\r\n"); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, requests)
	return nil
}
