package otlp

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/encoding/protowire"
)

// The collector's own receiver is in the end-to-end tests; what is here says what it
// does not say when asked nicely.

// serve runs a collector that answers as answer says, and returns a client of it.
func serve(t *testing.T, protocol Protocol, answer http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewUnstartedServer(answer)
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(protocol == HTTP)
	server.Config.Protocols.SetUnencryptedHTTP2(protocol == GRPC)
	server.Start()
	t.Cleanup(server.Close)
	return newClient(t, server.URL, protocol)
}

func newClient(t *testing.T, address string, protocol Protocol) *Client {
	t.Helper()
	endpoint, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Endpoint: endpoint, Protocol: protocol, Agent: "sallyport/test", Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// read returns the message of a request in either protocol.
func read(t *testing.T, r *http.Request) []byte {
	t.Helper()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	packed := r.Header.Get("Content-Encoding") == "gzip"
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
		if int(binary.BigEndian.Uint32(raw[1:])) != len(raw)-frameHeader {
			t.Errorf("frame says %d bytes, has %d", binary.BigEndian.Uint32(raw[1:]), len(raw)-frameHeader)
		}
		packed, raw = raw[0] == 1, raw[frameHeader:]
	}
	if !packed {
		return raw
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if raw, err = io.ReadAll(unpacked); err != nil {
		t.Fatal(err)
	}
	return raw
}

// field is a field of a message that holds bytes.
func field(number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
}

// whole is a field that holds a number.
func whole(number protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), value)
}

func partial(rejected uint64, message string) []byte {
	return field(1, append(whole(1, rejected), field(2, []byte(message))...))
}

func framed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

func TestAMessageArrivesAsItWas(t *testing.T) {
	for _, protocol := range []Protocol{GRPC, HTTP} {
		for name, message := range map[string][]byte{"small": []byte("a"), "large": bytes.Repeat([]byte("0123456789"), 100_000), "empty": {}} {
			t.Run(string(protocol)+" "+name, func(t *testing.T) {
				var got []byte
				var path, agent string
				c := serve(t, protocol, func(w http.ResponseWriter, r *http.Request) {
					got, path, agent = read(t, r), r.URL.Path, r.UserAgent()
					succeed(w, protocol, nil)
				})
				if err := c.Export(t.Context(), Traces, message); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, message) || path != paths[Traces][protocol] || agent != "sallyport/test" {
					t.Errorf("%d bytes at %s from %s, want %d", len(got), path, agent, len(message))
				}
			})
		}
	}
}

// succeed answers with a message.
func succeed(w http.ResponseWriter, protocol Protocol, message []byte) {
	if protocol == HTTP {
		w.Header().Set("Content-Type", "application/x-protobuf")
		_, _ = w.Write(message)
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	_, _ = w.Write(framed(message))
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
}

func TestPartialSuccessIsTold(t *testing.T) {
	for _, protocol := range []Protocol{GRPC, HTTP} {
		c := serve(t, protocol, func(w http.ResponseWriter, _ *http.Request) {
			succeed(w, protocol, partial(3, "too old\n"))
		})
		var told *PartialError
		if err := c.Export(t.Context(), Logs, []byte("x")); !errors.As(err, &told) || told.Rejected != 3 || told.Message != `too old\n` {
			t.Errorf("%s: %v", protocol, err)
		}
	}
}

func TestAnAnswerOfGRPCMayBeCompressed(t *testing.T) {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(partial(3, "too old")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	answer := framed(packed.Bytes())
	answer[0] = 1
	var told *PartialError
	if err := parseFrame(answer, "gzip"); !errors.As(err, &told) || told.Rejected != 3 {
		t.Errorf("parseFrame = %v", err)
	}
	bomb := bytes.Buffer{}
	w = gzip.NewWriter(&bomb)
	if _, err := w.Write(make([]byte, 4<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	large := framed(bomb.Bytes())
	large[0] = 1
	for name, bad := range map[string][]byte{"another encoding": answer, "a flag that is none": append([]byte{2}, answer[1:]...), "torn": answer[:len(answer)-3]} {
		encoding := map[bool]string{true: "zstd", false: "gzip"}[name == "another encoding"]
		if err := parseFrame(bad, encoding); !errors.Is(err, errTruncated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := parseFrame(large, "gzip"); err != nil { // 4 MiB of zeros say nothing, and are not kept
		t.Errorf("large: %v", err)
	}
}

func TestAnswersOfHTTP(t *testing.T) {
	tests := []struct {
		name   string
		status int
		header http.Header
		body   string
		want   Error
	}{
		{name: "too many requests", status: 429, header: http.Header{"Retry-After": {"7"}}, want: Error{Code: "429", Retry: true, After: 7 * time.Second}},
		{name: "away for ever", status: 503, header: http.Header{"Retry-After": {"99999"}}, want: Error{Code: "503", Retry: true, After: maxRetryAfter}},
		{name: "nonsense in Retry-After", status: 503, header: http.Header{"Retry-After": {"-1"}}, want: Error{Code: "503", Retry: true}},
		{name: "bad gateway", status: 502, body: "<html>\x1b[31m", want: Error{Code: "502", Retry: true, Message: `<html>\x1b[31m`}},
		{name: "gateway timeout", status: 504, want: Error{Code: "504", Retry: true}},
		{name: "internal error", status: 500, want: Error{Code: "500"}},
		{name: "not allowed", status: 401, want: Error{Code: "401"}},
		{
			name: "bad content", status: 400, header: http.Header{"Content-Type": {"application/x-protobuf"}}, body: string(field(2, []byte("no such field"))),
			want: Error{Code: "400", Content: true, Message: "no such field"},
		},
		{name: "too large", status: 413, want: Error{Code: "413", Content: true}},
		{name: "elsewhere", status: 307, header: http.Header{"Location": {"https://other.example.com/"}}, want: Error{Code: "307"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := serve(t, HTTP, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				for name, values := range test.header {
					w.Header()[name] = values
				}
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			})
			wantError(t, c.Export(t.Context(), Logs, []byte("x")), test.want)
		})
	}
}

func wantError(t *testing.T, err error, want Error) {
	t.Helper()
	var got *Error
	if !errors.As(err, &got) {
		t.Fatalf("Export = %v, want an *Error", err)
	}
	if diff := cmp.Diff(want, *got, cmpopts.IgnoreUnexported(Error{})); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

func TestAnswersOfGRPC(t *testing.T) {
	delay := func(seconds, nanos uint64) string {
		info := field(1, append(whole(1, seconds), whole(2, nanos)...))
		detail := append(field(1, []byte(retryInfo)), field(2, info)...)
		return base64.StdEncoding.EncodeToString(append(whole(1, 14), field(3, detail)...))
	}
	tests := []struct {
		name                    string
		status                  string
		message, details, early string
		http                    int
		want                    Error
	}{
		{name: "away", status: "14", message: "draining%0a", want: Error{Code: "UNAVAILABLE", Message: `draining\n`, Retry: true}},
		{name: "away, with a time", status: "14", details: delay(2, 5e8), want: Error{Code: "UNAVAILABLE", Retry: true, After: 2500 * time.Millisecond}},
		{name: "away for ever", status: "14", details: delay(1<<62, 0), want: Error{Code: "UNAVAILABLE", Retry: true, After: maxRetryAfter}},
		{name: "exhausted", status: "8", want: Error{Code: "RESOURCE_EXHAUSTED"}},
		{name: "exhausted, with a time", status: "8", details: delay(1, 0), want: Error{Code: "RESOURCE_EXHAUSTED", Retry: true, After: time.Second}},
		{name: "details that are none", status: "8", details: "%%%", want: Error{Code: "RESOURCE_EXHAUSTED"}},
		{name: "bad content", status: "3", want: Error{Code: "INVALID_ARGUMENT", Content: true}},
		{name: "not allowed", status: "16", want: Error{Code: "UNAUTHENTICATED"}},
		{name: "no such service", status: "12", want: Error{Code: "UNIMPLEMENTED"}},
		{name: "a status of the future", status: "17", want: Error{Code: "UNKNOWN"}},
		{name: "a status that is none", status: "-1", want: Error{Code: "UNKNOWN"}},
		{name: "without a body", early: "14", want: Error{Code: "UNAVAILABLE", Retry: true}},
		{name: "a proxy in between", http: 502, want: Error{Code: "UNAVAILABLE", Message: "HTTP status 502", Retry: true}},
		{name: "no status", want: Error{Retry: true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := serve(t, GRPC, func(w http.ResponseWriter, _ *http.Request) {
				h := w.Header()
				h.Set("Content-Type", "application/grpc")
				if test.early != "" {
					h.Set("Grpc-Status", test.early)
				}
				if test.http != 0 {
					w.WriteHeader(test.http)
				}
				_ = http.NewResponseController(w).Flush()
				for name, value := range map[string]string{"Grpc-Status": test.status, "Grpc-Message": test.message, "Grpc-Status-Details-Bin": test.details} {
					if value != "" {
						h.Set(http.TrailerPrefix+name, value)
					}
				}
			})
			wantError(t, c.Export(t.Context(), Logs, []byte("x")), test.want)
		})
	}
}

func TestACollectorThatIsAwayMayBeAskedAgain(t *testing.T) {
	for _, protocol := range []Protocol{GRPC, HTTP} {
		c := newClient(t, "http://127.0.0.1:1", protocol)
		err := c.Export(t.Context(), Logs, []byte("x"))
		var failed *Error
		if !errors.As(err, &failed) || !failed.Retry || failed.Unwrap() == nil || strings.Contains(err.Error(), "http://") {
			t.Errorf("%s: %v", protocol, err)
		}
	}
}

func TestAnAnswerIsBounded(t *testing.T) {
	for _, protocol := range []Protocol{GRPC, HTTP} {
		c := serve(t, protocol, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			for range 100 {
				if _, err := w.Write(make([]byte, maxAnswer)); err != nil {
					return
				}
			}
		})
		if err := c.Export(t.Context(), Logs, []byte("x")); protocol == GRPC && err == nil {
			t.Errorf("%s: an answer without end is a success", protocol)
		}
	}
}

func TestNewRefusesWhatIsNoCollector(t *testing.T) {
	for _, cfg := range []Config{
		{},
		{Endpoint: &url.URL{Scheme: "https"}, Protocol: GRPC},
		{Endpoint: &url.URL{Scheme: "ftp", Host: "a"}, Protocol: GRPC},
		{Endpoint: &url.URL{Scheme: "https", Host: "a"}, Protocol: "json"},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("New(%v) succeeded", cfg)
		}
	}
}

// FuzzAnswer: nothing that a collector answers panics, or says more than it may.
func FuzzAnswer(f *testing.F) {
	f.Add(partial(3, "x"))
	f.Add(field(3, append(field(1, []byte(retryInfo)), field(2, field(1, whole(1, 5)))...)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var told *PartialError
		if err := parseSuccess(raw); err != nil && (!errors.As(err, &told) || len(told.Message) > 4*maxMessage) {
			t.Errorf("parseSuccess = %v", err)
		}
		if delay, _ := retryDelay(raw); delay < 0 {
			t.Errorf("retryDelay = %v", delay)
		}
		if text := statusMessage("application/x-protobuf", raw); len(text) > 4*maxMessage || strings.ContainsAny(text, "\n\x1b") {
			t.Errorf("statusMessage = %q", text)
		}
		_ = parseFrame(raw, "gzip")
	})
}
