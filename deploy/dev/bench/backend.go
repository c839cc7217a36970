package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// sizes are the bodies that the backend has, by their path.
var sizes = map[string]int{"/1k": 1 << 10, "/100k": 100 << 10, "/10m": 10 << 20}

// backend answers GET over mutual TLS, and on another port in the clear, until ctx ends.
// It is as cheap as can be, since it shares its core with the load: it looks at no header,
// and whole answers lie ready.
func backend(ctx context.Context, dir string) error {
	config, err := serverTLS(dir, "backend")
	if err != nil {
		return err
	}
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, config.RootCAs
	secure, err := tls.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", portBackend), config)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	defer context.AfterFunc(ctx, func() { secure.Close() })()
	plain, err := new(net.ListenConfig).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", portPlain))
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	defer context.AfterFunc(ctx, func() { plain.Close() })()
	answers := make(map[string][]byte)
	for path, size := range sizes {
		head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\nX-Frame-Options: DENY\r\nServer: bench\r\nContent-Length: %d\r\n\r\n", size)
		answers[path] = append([]byte(head), bytes.Repeat([]byte("0123456789abcde\n"), size/16)...)
	}
	go take(plain, answers)
	take(secure, answers)
	return nil
}

// take answers on each connection of ln, until that is closed.
func take(ln net.Listener, answers map[string][]byte) {
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the peer's
		}
		go func() {
			defer c.Close()
			_ = answer(c, answers) // the connection's end
		}()
	}
}

// answer answers the requests of one connection.
func answer(c net.Conn, answers map[string][]byte) error {
	br := bufio.NewReaderSize(c, 8<<10)
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return err
		}
		words := strings.Fields(line)
		if len(words) != 3 || words[0] != http.MethodGet || answers[words[1]] == nil {
			_, err := io.WriteString(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			return err
		}
		for {
			head, err := br.ReadSlice('\n')
			if err != nil {
				return err
			}
			if len(bytes.TrimRight(head, "\r\n")) == 0 {
				break
			}
		}
		if _, err := c.Write(answers[words[1]]); err != nil {
			return err
		}
	}
}

// serverTLS is what a server in dir shows, with the CA that both sides have.
func serverTLS(dir, name string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
	if err != nil {
		return nil, fmt.Errorf("reading a certificate: %w", err)
	}
	pem, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("reading the CA: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("reading the CA: no certificate")
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}
