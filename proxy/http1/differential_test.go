package http1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/http1"
)

// outcome is all that a caller learns of an answer.
type outcome struct {
	Failed, BodyFailed bool
	Status, Proto      string
	Code               int
	Header, Trailer    http.Header
	Length             int64
	Encoding           []string
	Close              bool
	Body               string
	Interim            []string
}

const maxHead = 8 << 10

// answered returns what transport makes of the answer to a request with that method.
func answered(t testing.TB, transport http.RoundTripper, method string) outcome {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var o outcome
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		o.Interim = append(o.Interim, fmt.Sprint(code, len(h)))
		return nil
	}})
	req, err := http.NewRequestWithContext(ctx, method, "http://backend/", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		o.Failed = true
		return o
	}
	body, err := io.ReadAll(res.Body)
	o.BodyFailed, o.Body = err != nil, string(body)
	res.Body.Close()
	o.Status, o.Proto, o.Code, o.Header, o.Trailer = res.Status, res.Proto, res.StatusCode, res.Header, res.Trailer
	o.Length, o.Encoding, o.Close = res.ContentLength, res.TransferEncoding, res.Close
	return o
}

// backendOf returns how to connect to a backend that answers every request with raw,
// in pieces of that size, and then ends the connection or, with stays, waits.
func backendOf(raw string, piece int, stays bool) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			br := bufio.NewReader(server)
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			for rest := raw; rest != ""; {
				n := min(piece, len(rest))
				if _, err := io.WriteString(server, rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
			if stays {
				_, _ = br.ReadByte() // until the client closes
			}
		}()
		return client, nil
	}
}

// both returns what net/http and this package make of the same.
func both(t testing.TB, method, raw string, piece int, stays bool) (theirs, ours outcome) {
	dial := backendOf(raw, piece, stays)
	standard := &http.Transport{DialContext: dial, MaxResponseHeaderBytes: maxHead, DisableCompression: true}
	theirs = answered(t, standard, method)
	standard.CloseIdleConnections()
	own := http1.New(http1.Config{DialContext: dial, MaxHeaderBytes: maxHead})
	ours = answered(t, own, method)
	own.CloseIdleConnections()
	return theirs, ours
}

// answers are raw ones, from well-behaved to hostile. Each is tried whole and in
// small pieces, for GET and for HEAD, and with and without the connection's end.
var answers = map[string]string{
	"with a length":                       "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\nhello",
	"empty, with a length":                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"in chunks":                           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
	"in chunks, with trailers":            "HTTP/1.1 200 OK\r\nTrailer: X-Sum, X-Other\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nUnannounced: 2\r\n\r\n",
	"to the end":                          "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello",
	"HTTP/1.0":                            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.0 that stays":                 "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.0 in chunks":                  "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"that says close":                     "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
	"that says close among others":        "HTTP/1.1 200 OK\r\nConnection: x, close\r\nContent-Length: 5\r\n\r\nhello",
	"not modified":                        "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nEtag: x\r\n\r\n",
	"no content":                          "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n",
	"no content, in chunks":               "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
	"no reason":                           "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
	"no reason, a blank":                  "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n",
	"many blanks":                         "HTTP/1.1   200   OK  then\r\nContent-Length: 0\r\n\r\n",
	"interim first":                       "HTTP/1.1 103 Early Hints\r\nLink: x\r\nSet-Cookie: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"two interim first":                   "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"interim with a length":               "HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"interim alone":                       "HTTP/1.1 103 Early Hints\r\n\r\n",
	"unasked switch":                      "HTTP/1.1 101 Switching Protocols\r\n\r\nhello",
	"repeated fields":                     "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nSET-COOKIE: c\r\nContent-Length: 0\r\n\r\n",
	"blanks around a value":               "HTTP/1.1 200 OK\r\nA: \t b \t \r\nB:c\r\nC:\r\nContent-Length: 0\r\n\r\n",
	"a folded line":                       "HTTP/1.1 200 OK\r\nA: b\r\n  c\r\n\td\r\nContent-Length: 0\r\n\r\n",
	"a folded first line":                 "HTTP/1.1 200 OK\r\n A: b\r\nContent-Length: 0\r\n\r\n",
	"line feeds alone":                    "HTTP/1.1 200 OK\nA: b\nContent-Length: 5\n\nhello",
	"a blank before the colon":            "HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 0\r\n\r\n",
	"no colon":                            "HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 0\r\n\r\n",
	"no name":                             "HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 0\r\n\r\n",
	"a name that is no token":             "HTTP/1.1 200 OK\r\nA(b): c\r\nContent-Length: 0\r\n\r\n",
	"a name that is not ASCII":            "HTTP/1.1 200 OK\r\n\xc3\xa4: c\r\nContent-Length: 0\r\n\r\n",
	"a value that is not ASCII":           "HTTP/1.1 200 OK\r\nA: \xc3\xa4\xff\r\nContent-Length: 0\r\n\r\n",
	"a carriage return in a value":        "HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 0\r\n\r\n",
	"a NUL in a value":                    "HTTP/1.1 200 OK\r\nA: b\x00c\r\nContent-Length: 0\r\n\r\n",
	"a control in a value":                "HTTP/1.1 200 OK\r\nA: b\x01c\x7f\r\nContent-Length: 0\r\n\r\n",
	"an unusual spelling":                 "HTTP/1.1 200 OK\r\nx-FORWARDED-user: b\r\nETag: 1\r\nx_y: z\r\n1a: b\r\nContent-Length: 0\r\n\r\n",
	"Pragma":                              "HTTP/1.1 200 OK\r\nPragma: no-cache\r\nContent-Length: 0\r\n\r\n",
	"length and chunks":                   "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"the same length twice":               "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5 \r\n\r\nhello",
	"two lengths":                         "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 4\r\n\r\nhello",
	"two lengths in one line":             "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
	"a length with a sign":                "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
	"a negative length":                   "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
	"a length in hexadecimal":             "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
	"no length in the field":              "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello",
	"a length beyond all":                 "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
	"a length with zeros in front":        "HTTP/1.1 200 OK\r\nContent-Length: 0005\r\n\r\nhello",
	"two encodings":                       "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
	"two encodings in two lines":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"an unknown encoding":                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
	"an encoding with a vertical tab":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
	"Chunked":                             "HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	"a line feed in a chunk's line":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
	"a chunk that is too short":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
	"a chunk without its end":             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
	"a chunk of no size":                  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n",
	"a chunk of a negative size":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
	"a chunk beyond all":                  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
	"a trailer that is none":              "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nnonsense\r\n\r\n",
	"a trailer of a length":               "HTTP/1.1 200 OK\r\nTrailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	"a trailer and no chunks":             "HTTP/1.1 200 OK\r\nTrailer: X\r\nContent-Length: 2\r\n\r\nok",
	"shorter than its length":             "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
	"longer than its length":              "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
	"more after no content":               "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
	"more after chunks":                   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nevil",
	"nothing":                             "",
	"half a line":                         "HTTP/1.1 2",
	"half a head":                         "HTTP/1.1 200 OK\r\nA: b\r\n",
	"no HTTP":                             "SSH-2.0-OpenSSH\r\n\r\n",
	"HTTP/2":                              "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.2":                            "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
	"HTTP/0.9":                            "HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.10":                           "HTTP/1.10 200 OK\r\nContent-Length: 0\r\n\r\n",
	"http in lower case":                  "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"no status":                           "HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
	"a status of two digits":              "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
	"a status of four digits":             "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
	"a status with a sign":                "HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n",
	"a negative status":                   "HTTP/1.1 -20 OK\r\nContent-Length: 0\r\n\r\n",
	"a status below all":                  "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
	"a status beyond all":                 "HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
	"an empty line first":                 "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"a blank first":                       " HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"TLS":                                 "\x15\x03\x01\x00\x02\x02\x28",
	"a head that is too large":            "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", maxHead) + "\r\nContent-Length: 0\r\n\r\n",
	"a head of many lines":                "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", maxHead) + "\r\n",
	"a head that may be as large":         "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: " + strings.Repeat("a", 6<<10) + "\r\n\r\nok",
	"an interim head that is too large":   "HTTP/1.1 103 Hints\r\nA: " + strings.Repeat("a", maxHead) + "\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"a body that is larger than a buffer": "HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + strings.Repeat("0123456789", 7000),
	"large chunks":                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n" + strings.Repeat("0123456789", 7000) + "\r\n0\r\n\r\n",
	"closing twice, differently":          "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
	"one of HTTP/1.1 that stays":          "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
}

func TestAnswersMeanWhatTheyMeanToNetHTTP(t *testing.T) {
	for name, raw := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				for _, piece := range []int{1 << 20, 7} {
					for _, stays := range []bool{false, true} {
						if stays && waits(method, raw) {
							continue
						}
						theirs, ours := both(t, method, raw, piece, stays)
						if diff := cmp.Diff(theirs, ours); diff != "" {
							t.Errorf("%s in pieces of %d, stays %t (-net/http +http1):\n%s", method, piece, stays, diff)
						}
					}
				}
			}
		})
	}
}

// waits reports whether reading an answer ends with the connection alone, or with
// patience.
func waits(method, raw string) bool {
	if !strings.Contains(raw, "\n") {
		return true
	}
	head, _, _ := strings.Cut(raw, "\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), &http.Request{Method: method})
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return true
	case err != nil:
		return false
	}
	_, err = io.ReadAll(res.Body)
	return err != nil || res.ContentLength < 0 && res.TransferEncoding == nil && method != http.MethodHead || strings.Contains(head, " 10")
}
