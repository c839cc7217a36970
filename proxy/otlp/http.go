package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// post delivers a message by OTLP/HTTP.
func (c *Client) post(ctx context.Context, signal Signal, message []byte) error {
	body, packed := pack(nil, message)
	req, err := c.request(ctx, signal, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	if packed {
		req.Header.Set("Content-Encoding", "gzip")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return httpError(res, raw) // whatever came of its body
	}
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return parseSuccess(raw)
}

// request is one to the collector, with the headers of both protocols.
func (c *Client) request(ctx context.Context, signal Signal, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.target(signal), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making a request to the collector: %w", err)
	}
	req.Header.Set("User-Agent", c.cfg.Agent)
	return req, nil
}

// httpError is a status that is no success (OTLP, "OTLP/HTTP Response").
func httpError(res *http.Response, raw []byte) error {
	e := &Error{Code: strconv.Itoa(res.StatusCode), Message: statusMessage(res.Header.Get("Content-Type"), raw)}
	switch res.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		e.Retry, e.After = true, retryAfter(res.Header.Get("Retry-After"), time.Now())
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		e.Content = true
	}
	return e
}

// maxRetryAfter bounds how long a collector may ask to be left alone.
const maxRetryAfter = 5 * time.Minute

// retryAfter reads the header of that name: seconds, or a date (RFC 9110 section 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), maxRetryAfter)
	}
	return 0
}

// packers are kept, since each has tables of some hundred kilobytes.
var packers = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(io.Discard, gzip.BestSpeed) // fails for levels that do not exist
	return w
}}

// pack appends a message to dst, in gzip if that is worth it.
func pack(dst, message []byte) (body []byte, packed bool) {
	if len(message) < compressedAbove {
		return append(dst, message...), false
	}
	out := bytes.NewBuffer(dst)
	w := packers.Get().(*gzip.Writer) //nolint:forcetypeassert // nothing else is put there
	defer packers.Put(w)
	w.Reset(out)
	_, _ = w.Write(message) // a buffer in memory takes everything
	_ = w.Close()
	return out.Bytes(), true
}
