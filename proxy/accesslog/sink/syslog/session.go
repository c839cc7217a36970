package syslog

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/sink/courier"
	"github.com/sallyport/sallyport/proxy/accesslog/sink/spool"
)

const (
	dialTime  = 10 * time.Second
	writeTime = 30 * time.Second
	// closeTime is how long a collector may take to read what it has got, and the end;
	// silentTime one that was seen never to close its side.
	closeTime  = 30 * time.Second
	silentTime = time.Second
)

var errClosed = errors.New("the collector has closed the connection")

// session sends what there is on one connection, for a while, and returns nil once the
// collector has taken it. It waits for something to send: without, nobody is called.
func (s *Sink) session(ctx, sending context.Context) error {
	chunk, err := s.Read(ctx, 0, atOnce)
	if err != nil {
		return err
	}
	c, err := s.dial(sending)
	if err != nil {
		return err
	}
	defer c.Close()
	defer context.AfterFunc(sending, func() { c.Close() })()
	began, sent, records := time.Now(), 0, 0
	var last spool.Chunk
	for err == nil {
		if err = s.send(c, chunk); err != nil {
			return err
		}
		last = chunk
		sent += len(chunk.Lines)
		records += chunk.Count
		left := s.hold - time.Since(began)
		if sent >= sessionBytes || left <= 0 {
			break
		}
		chunk, err = s.Read(ctx, left, atOnce)
	}
	if err != nil && !errors.Is(err, courier.ErrNothing) {
		return err
	}
	if err := s.finish(c); err != nil {
		return err
	}
	if err := s.cfg.Spool.Ack(last); err != nil {
		return err
	}
	s.Taken(records)
	return nil
}

// send sends the records of a chunk.
func (s *Sink) send(c *connection, chunk spool.Chunk) error {
	s.frames = s.frames[:0]
	for line := range bytes.Lines(chunk.Lines) {
		s.frames, s.text = s.shape.appendFrame(s.frames, s.text, bytes.TrimSuffix(line, []byte{'\n'}))
	}
	select {
	case <-c.gone:
		return c.why()
	default:
	}
	if err := c.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return fmt.Errorf("sending records: %w", err)
	}
	if _, err := c.Write(s.frames); err != nil {
		return fmt.Errorf("sending records: %w", err)
	}
	return nil
}

// connection is one to a collector, whose end is noticed.
type connection struct {
	net.Conn
	tcp  *net.TCPConn
	gone chan struct{} // closed when the collector has closed it, or it broke
	end  error         // why; set before gone is closed
}

func (s *Sink) dial(ctx context.Context) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("calling the collector: %w", err)
	}
	tcp, ok := raw.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(errors.New("calling the collector: not over TCP"), raw.Close())
	}
	c := &connection{Conn: raw, tcp: tcp, gone: make(chan struct{})}
	if s.cfg.TLS != nil {
		cfg, err := s.cfg.TLS()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("calling the collector: %w", err), raw.Close())
		}
		secured := tls.Client(raw, cfg)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("calling the collector: %w", err), raw.Close())
		}
		c.Conn = secured
	}
	go c.watch()
	return c, nil
}

// watch notices the end. What a collector says is thrown away.
func (c *connection) watch() {
	_, c.end = io.Copy(io.Discard, c.Conn)
	close(c.gone)
}

// why says how the connection has ended; gone is closed.
func (c *connection) why() error {
	if c.end == nil {
		return errClosed
	}
	return fmt.Errorf("%w: %w", errClosed, c.end)
}

// finish ends the connection and waits until the collector has read everything: it
// closes its side then. One that it closes before, or that breaks, is no such sign. Of a
// collector that never closes its side, its kernel's word must do.
func (s *Sink) finish(c *connection) error {
	if err := c.finish(); err != nil {
		return err
	}
	timer := time.NewTimer(s.closes)
	defer timer.Stop()
	select {
	case <-c.gone:
		// Few collectors end TLS before they end TCP.
		if c.end != nil && !errors.Is(c.end, io.ErrUnexpectedEOF) {
			return c.why()
		}
		s.closes = closeTime
		return nil
	case <-timer.C:
		if err := c.tookIt(); err != nil {
			return err
		}
		s.closes = silentTime
		return nil
	}
}

// finish says that nothing more will be sent.
func (c *connection) finish() error {
	select {
	case <-c.gone:
		return c.why()
	default:
	}
	if secured, ok := c.Conn.(*tls.Conn); ok {
		if err := secured.CloseWrite(); err != nil {
			return fmt.Errorf("ending the connection: %w", err)
		}
	}
	if err := c.tcp.CloseWrite(); err != nil {
		return fmt.Errorf("ending the connection: %w", err)
	}
	return nil
}
