package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// frameHeader is what stands before a message of gRPC: whether it is compressed, and its
// length (PROTOCOL-HTTP2, "Length-Prefixed-Message").
const frameHeader = 5

// call delivers a message by OTLP/gRPC.
func (c *Client) call(ctx context.Context, signal Signal, message []byte) error {
	body, packed := pack(make([]byte, frameHeader, frameHeader+len(message)), message)
	if packed {
		body[0] = 1
	}
	binary.BigEndian.PutUint32(body[1:], uint32(len(body)-frameHeader)) //nolint:gosec // far below: batches are bounded
	req, err := c.request(ctx, signal, body)
	if err != nil {
		return err
	}
	req.Header["Content-Type"] = []string{"application/grpc+proto"}
	req.Header["Te"] = []string{"trailers"}
	req.Header["Grpc-Timeout"] = []string{strconv.FormatInt(c.cfg.Timeout.Milliseconds(), 10) + "m"}
	req.Header["Grpc-Accept-Encoding"] = []string{"gzip"}
	if packed {
		req.Header["Grpc-Encoding"] = []string{"gzip"}
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil && res.Header.Get("Grpc-Status") == "" {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if err := grpcError(res); err != nil {
		return err
	}
	return parseFrame(raw, res.Header.Get("Grpc-Encoding"))
}

// errTruncated is an answer that ends before it should.
var errTruncated = errors.New("the answer of the collector is not whole")

// parseFrame reads the message of a success. It may be compressed as ours was: servers do
// so whether or not they are told that it will be understood.
func parseFrame(raw []byte, encoding string) error {
	if len(raw) < frameHeader {
		return errTruncated
	}
	packed, message := raw[0] == 1, raw[frameHeader:]
	if raw[0] > 1 || packed && encoding != "gzip" || int64(binary.BigEndian.Uint32(raw[1:])) != int64(len(message)) {
		return errTruncated
	}
	if !packed {
		return parseSuccess(message)
	}
	r, err := gzip.NewReader(bytes.NewReader(message))
	if err != nil {
		return fmt.Errorf("%w: %w", errTruncated, err)
	}
	if message, err = io.ReadAll(io.LimitReader(r, maxAnswer)); err != nil {
		return fmt.Errorf("%w: %w", errTruncated, err)
	}
	return parseSuccess(message)
}

// grpcError is the status of an answer, nil for OK. It stands in the trailers, or in the
// header if there is nothing else.
func grpcError(res *http.Response) error {
	from := res.Trailer
	if from.Get("Grpc-Status") == "" {
		from = res.Header
	}
	said := from.Get("Grpc-Status")
	code, err := strconv.ParseUint(said, 10, 8)
	switch {
	case said == "" && res.StatusCode == http.StatusOK:
		return fmt.Errorf("%w: it has no grpc-status", errTruncated)
	case said == "":
		e := newGRPCError(codeOfHTTP(res.StatusCode))
		e.Message = "HTTP status " + strconv.Itoa(res.StatusCode)
		return e
	case err != nil || code >= uint64(len(codes)):
		code = unknown
	case code == 0:
		return nil
	}
	e := newGRPCError(int(code))
	text := from.Get("Grpc-Message")
	if plain, err := url.PathUnescape(text); err == nil {
		text = plain
	}
	e.Message = printable(text)
	details, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(from.Get("Grpc-Status-Details-Bin"), "="))
	if delay, found := retryDelay(details); err == nil && found {
		e.After = min(max(delay, 0), maxRetryAfter)
		e.Retry = e.Retry || code == resourceExhausted
	}
	return e
}

// codes are the names of the statuses of gRPC, by their numbers.
var codes = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
	"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// Those that mean something here.
const (
	cancelled         = 1
	unknown           = 2
	invalidArgument   = 3
	deadlineExceeded  = 4
	permissionDenied  = 7
	resourceExhausted = 8
	aborted           = 10
	outOfRange        = 11
	unimplemented     = 12
	internalError     = 13
	unavailable       = 14
	dataLoss          = 15
	unauthenticated   = 16
)

// newGRPCError is a status as OTLP has it understood ("OTLP/gRPC Failures").
// RESOURCE_EXHAUSTED is worth another try only if the collector says when.
func newGRPCError(code int) *Error {
	e := &Error{Code: codes[code]}
	switch code {
	case cancelled, deadlineExceeded, aborted, outOfRange, unavailable, dataLoss:
		e.Retry = true
	case invalidArgument:
		e.Content = true
	}
	return e
}

// codeOfHTTP is the status of an answer that something between us and the collector has
// given (gRPC, "HTTP to gRPC Status Code Mapping").
func codeOfHTTP(status int) int {
	switch status {
	case http.StatusBadRequest:
		return internalError
	case http.StatusUnauthorized:
		return unauthenticated
	case http.StatusForbidden:
		return permissionDenied
	case http.StatusNotFound:
		return unimplemented
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return unavailable
	}
	return unknown
}
