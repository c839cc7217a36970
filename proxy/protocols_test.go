package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy"
)

// patience bounds what must not wait.
const patience = 10 * time.Second

// receive takes the next value, or fails.
func receive[T any](tb testing.TB, from <-chan T, what string) T {
	tb.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		tb.Fatalf("%s: nothing came", what)
		panic("unreachable")
	}
}

func TestEventsArriveBeforeTheNextIsSent(t *testing.T) {
	for _, version := range versions {
		t.Run("HTTP/"+version, func(t *testing.T) {
			w := newWorld(t, nil)
			next := make(chan struct{})
			w.backend.mux.HandleFunc("/events", func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Type", r.FormValue("type"))
				for i := 0; ; i++ {
					_, _ = fmt.Fprintf(rw, "event %d\n", i)
					_ = http.NewResponseController(rw).Flush()
					select {
					case <-next:
					case <-r.Context().Done():
						return
					}
				}
			})
			b := w.signedIn(version)
			for _, kind := range []string{"text/event-stream", "application/octet-stream"} {
				res := b.begin(b.request(http.MethodGet, w.origin(headersHost)+"/events?type="+kind, nil))
				events := bufio.NewReader(res.Body)
				for i := range 3 {
					if line, err := events.ReadString('\n'); err != nil || line != fmt.Sprintf("event %d\n", i) {
						t.Fatalf("%s: event %d is %q, %v", kind, i, line, err)
					}
					next <- struct{}{}
				}
				_ = res.Body.Close()
			}
		})
	}
}

func TestUploadsAreNotHeldBack(t *testing.T) {
	for _, version := range versions {
		t.Run("HTTP/"+version, func(t *testing.T) {
			w := newWorld(t, nil)
			arrived := make(chan string)
			w.backend.mux.HandleFunc("/upload", func(rw http.ResponseWriter, r *http.Request) {
				piece := make([]byte, 100)
				for {
					n, err := r.Body.Read(piece)
					if n > 0 {
						arrived <- string(piece[:n])
					}
					if err != nil {
						break
					}
				}
				_, _ = io.WriteString(rw, "done")
			})
			b := w.signedIn(version)
			body, pieces := io.Pipe()
			answered := make(chan answer, 1)
			go func() { answered <- b.do(b.request(http.MethodPost, w.origin(headersHost)+"/upload", body)) }()
			for _, piece := range []string{"one", "two", "three"} {
				if _, err := io.WriteString(pieces, piece); err != nil {
					t.Fatal(err)
				}
				if got := receive(t, arrived, piece); got != piece {
					t.Fatalf("the backend read %q, want %q", got, piece)
				}
			}
			_ = pieces.Close()
			if res := receive(t, answered, "answer"); res.body != "done" {
				t.Errorf("answer %q", res.body)
			}
		})
	}
}

func TestAnAnswerOvertakesTheUpload(t *testing.T) {
	for _, version := range versions {
		t.Run("HTTP/"+version, func(t *testing.T) {
			w := newWorld(t, nil)
			w.backend.mux.HandleFunc("/refuse", func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Connection", "close")
				http.Error(rw, "too large for me", http.StatusRequestEntityTooLarge)
			})
			b := w.signedIn(version)
			for range 3 { // the connection may not be left in a state that harms the next request
				body, pieces := io.Pipe()
				go func() { _, _ = io.WriteString(pieces, "the beginning; the rest never comes") }()
				res := b.begin(b.request(http.MethodPost, w.origin(headersHost)+"/refuse", body))
				text, err := io.ReadAll(res.Body)
				if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge || string(text) != "too large for me\n" {
					t.Errorf("answer %d %q, %v", res.StatusCode, text, err)
				}
				_ = pieces.CloseWithError(io.ErrUnexpectedEOF)
			}
		})
	}
}

// TestTheRestOfAnOvertakenUploadIsNoRequest has a client send, as the rest of a body
// that was answered before its end, what looks like another request.
func TestTheRestOfAnOvertakenUploadIsNoRequest(t *testing.T) {
	for name, framing := range map[string]string{
		"announced":          "Content-Length: 1000\r\n\r\nbeginning",
		"chunked":            "Transfer-Encoding: chunked\r\n\r\n9\r\nbeginning\r\n",
		"chunked, and wrong": "Transfer-Encoding: chunked\r\n\r\n9\r\nbeginning\r\nzzz\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.backend.mux.HandleFunc("/refuse", func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Connection", "close") // or the backend's own server would wait for the body
				rw.WriteHeader(http.StatusForbidden)
				_ = http.NewResponseController(rw).Flush()
			})
			b := w.signedIn("1.1")
			conn, answers := w.connect()
			_, _ = fmt.Fprintf(conn, "POST /refuse HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\n%s", headersHost, b.cookies(), framing)
			res, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_, _ = fmt.Fprintf(conn, "GET /smuggled HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\n\r\n", headersHost, b.cookies())
			if res, err := http.ReadResponse(answers, nil); err == nil {
				t.Errorf("the rest of the body was answered: %d", res.StatusCode)
			}
			if got, _ := w.backend.seen(); got.URL.Path == "/smuggled" {
				t.Error("the rest of the body reached the backend as a request")
			}
		})
	}
}

// connect opens a connection of its own.
func (w *world) connect() (*tls.Conn, *bufio.Reader) {
	w.tb.Helper()
	conn, err := tls.Dial("tcp", w.addr, &tls.Config{RootCAs: w.ca.pool, ServerName: headersHost})
	if err != nil {
		w.tb.Fatal(err)
	}
	w.tb.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		w.tb.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// cookies are those that b sends to the tool.
func (b *browser) cookies() string {
	req := b.request(http.MethodGet, b.w.origin(headersHost)+"/", nil)
	var all []string
	for _, c := range b.client.Jar.Cookies(req.URL) {
		all = append(all, c.Name+"="+c.Value)
	}
	return strings.Join(all, "; ")
}

// zeros is a body of n zero bytes.
type zeros struct{ left int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.left)
	clear(p[:n])
	z.left -= n
	return int(n), nil
}

func TestALargeUploadIsNotBuffered(t *testing.T) {
	const size, room = 1 << 30, 64 << 20
	w := newWorld(t, nil)
	var most atomic.Uint64
	w.backend.mux.HandleFunc("/upload", func(rw http.ResponseWriter, r *http.Request) {
		var n int64
		for buf := make([]byte, 1<<20); ; {
			got, err := r.Body.Read(buf)
			if before := n; (before+int64(got))>>26 != before>>26 { // every 64 MiB
				var now runtime.MemStats
				runtime.ReadMemStats(&now)
				most.Store(max(most.Load(), now.HeapInuse))
			}
			if n += int64(got); err != nil {
				break
			}
		}
		_, _ = fmt.Fprint(rw, n)
	})
	b := w.signedIn("1.1")
	b.client.Timeout = 0
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if res := b.do(b.request(http.MethodPut, w.origin(headersHost)+"/upload", io.NopCloser(&zeros{size}))); res.body != fmt.Sprint(size) {
		t.Errorf("the backend read %s bytes of %d", res.body, size)
	}
	if grown := int64(most.Load()) - int64(before.HeapInuse); grown > room {
		t.Errorf("the heap grew by %d MiB, for three parties and %d MiB", grown>>20, size>>20)
	}
}

func TestRangesAndHeads(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 1000)
	for _, version := range versions {
		t.Run("HTTP/"+version, func(t *testing.T) {
			w := newWorld(t, nil)
			w.backend.mux.HandleFunc("/file", func(rw http.ResponseWriter, r *http.Request) {
				http.ServeContent(rw, r, "file.bin", time.Unix(1700000000, 0), bytes.NewReader(content))
			})
			b := w.signedIn(version)
			req := b.request(http.MethodGet, w.origin(headersHost)+"/file", nil)
			req.Header.Set("Range", "bytes=10-14")
			if res := b.do(req); res.StatusCode != http.StatusPartialContent || res.body != "01234" || res.Header.Get("Content-Range") != "bytes 10-14/10000" {
				t.Errorf("range: %d %q %q", res.StatusCode, res.body, res.Header.Get("Content-Range"))
			}
			res := b.do(b.request(http.MethodHead, w.origin(headersHost)+"/file", nil))
			if res.StatusCode != http.StatusOK || res.body != "" || res.Header.Get("Content-Length") != "10000" || res.Header.Get("Accept-Ranges") != "bytes" {
				t.Errorf("head: %d %q %v", res.StatusCode, res.body, res.Header)
			}
			if got, _ := w.backend.seen(); got.Method != http.MethodHead {
				t.Errorf("the backend was asked by %s", got.Method)
			}
		})
	}
}

// TestNobodyIsToldToContinueBeforeTheBackendWantsIt: "100 Continue" is the backend's
// to say, and a refusal comes without the body.
func TestNobodyIsToldToContinueBeforeTheBackendWantsIt(t *testing.T) {
	w := newWorld(t, nil)
	w.backend.mux.HandleFunc("/refuse", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusExpectationFailed) })
	w.backend.mux.HandleFunc("/take", func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(rw, r.Body)
	})
	b := w.signedIn("1.1")
	ask := func(path string) (*tls.Conn, *http.Response, *bufio.Reader) {
		conn, answers := w.connect()
		_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n", path, headersHost, b.cookies())
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		return conn, res, answers
	}
	if _, res, _ := ask("/refuse"); res.StatusCode != http.StatusExpectationFailed {
		t.Errorf("refused by the backend: first %d", res.StatusCode)
	}
	conn, res, answers := ask("/take")
	if res.StatusCode != http.StatusContinue {
		t.Fatalf("taken by the backend: first %d", res.StatusCode)
	}
	_, _ = io.WriteString(conn, "body")
	res, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK || string(body) != "body" {
		t.Errorf("taken by the backend: then %d %q", res.StatusCode, body)
	}
	if got, _ := w.backend.seen(); got.Header.Get("Expect") != "100-continue" {
		t.Errorf("the backend was not asked: %v", got.Header)
	}
}

func TestTrailersThatMayPass(t *testing.T) {
	hostile := http.Header{
		"Set-Cookie": {"__Host-sallyport=evil; Path=/; Secure"}, "X-Forwarded-User": {"root"}, "X_forwarded_user": {"root"}, "Cache-Control": {"public"},
		"Content-Type": {"text/html"}, "Location": {"https://evil.example"}, "Access-Control-Allow-Origin": {"*"}, "Alt-Svc": {"h3=x"},
		"Www-Authenticate": {"Basic"}, "Connection": {"x"}, "Strict-Transport-Security": {"max-age=0"}, "X-Sallyport-Fault": {"x"}, "Sec-Websocket-Accept": {"x"},
	}
	meant := http.Header{"Grpc-Status": {"5"}, "Grpc-Message": {"not found"}, "Grpc-Status-Details-Bin": {"AAA"}, "My-Metadata": {"m"}, "Server-Timing": {"db;dur=1"}, "Content-Digest": {"sha-256=:x:"}}
	tests := map[string]struct {
		kind, te string
		want     []string
	}{
		"gRPC":                        {"application/grpc+proto", "trailers", []string{"Grpc-Message", "Grpc-Status", "Grpc-Status-Details-Bin", "My-Metadata", "Server-Timing"}},
		"anything else":               {"text/plain", "trailers", []string{"Content-Digest", "Server-Timing"}},
		"what only begins like gRPC":  {"application/grpcx", "trailers", []string{"Content-Digest", "Server-Timing"}},
		"a client that reads none":    {"application/grpc", "", nil},
		"a client that reads another": {"application/grpc", "trailers-not", nil},
	}
	for way, change := range map[string]func(*proxy.Config){"1.1 to 1.1": nil, "2 to 1.1": nil, "3 to 1.1": nil, "1.1 to 2": overHTTP2, "2 to 2": overHTTP2, "3 to 2": overHTTP2} {
		version, _, _ := strings.Cut(way, " ")
		for name, test := range tests {
			t.Run("HTTP/"+way+"/"+name, func(t *testing.T) {
				if version != "1.1" && test.te == "trailers-not" {
					return // the newer ones have no such request
				}
				w := newWorld(t, change)
				w.backend.mux.HandleFunc("/call", func(rw http.ResponseWriter, _ *http.Request) {
					rw.Header().Set("Content-Type", test.kind)
					rw.Header().Set("Trailer", "Grpc-Status, Set-Cookie")
					_, _ = io.WriteString(rw, "body")
					_ = http.NewResponseController(rw).Flush() // or the body's length is announced, which leaves HTTP/1.1 no room for trailers
					for _, from := range []http.Header{hostile, meant} {
						for field, values := range from {
							if field != "Grpc-Status" && field != "Set-Cookie" {
								field = http.TrailerPrefix + field
							}
							rw.Header()[field] = values
						}
					}
				})
				b := w.signedIn(version)
				req := b.request(http.MethodPost, w.origin(headersHost)+"/call", strings.NewReader("x"))
				if test.te != "" {
					req.Header.Set("Te", test.te)
				}
				res := b.do(req)
				for field, values := range res.Trailer {
					if values == nil {
						delete(res.Trailer, field) // announced, and not sent
					}
				}
				if got := slices.Sorted(maps.Keys(res.Trailer)); res.body != "body" || !slices.Equal(got, test.want) {
					t.Errorf("answer %q, trailers (-want +got):\n%s", res.body, cmp.Diff(test.want, got))
				}
				got, _ := w.backend.seen()
				if want := strings.TrimSuffix(test.te, "-not"); test.te == "trailers" && got.Header.Get("Te") != want {
					t.Errorf("TE %q reached the backend, want %q", got.Header.Get("Te"), want)
				}
			})
		}
	}
}

// TestAStreamOfASilentClientEndsWithItsSession: nobody waits for the client to say
// something.
func TestAStreamOfASilentClientEndsWithItsSession(t *testing.T) {
	for _, change := range map[string]func(*proxy.Config){"HTTP/1.1 behind": nil, "HTTP/2 behind": overHTTP2} {
		for _, version := range []string{"2", "3"} {
			w := newWorld(t, change)
			gone := make(chan struct{})
			w.backend.mux.HandleFunc("/talk", func(rw http.ResponseWriter, r *http.Request) {
				defer close(gone)
				control := http.NewResponseController(rw)
				_ = control.EnableFullDuplex()
				_ = control.Flush()
				_, _ = io.Copy(io.Discard, r.Body)
			})
			b := w.browser()
			b.signIn(w.origin(headersHost)+"/", "alice")
			through := b.over(version)
			body, words := io.Pipe()
			defer words.Close()
			res := through.begin(through.request(http.MethodPost, w.origin(headersHost)+"/talk", body))
			b.post(w.origin(doorHost)+"/.sallyport/sign_out", "same-origin", nil)
			if rest, err := io.ReadAll(res.Body); err == nil {
				t.Errorf("HTTP/%s: the stream ends as if it were whole: %q", version, rest)
			}
			receive(t, gone, "the end at the backend")
		}
	}
}

// TestAStreamGoesBothWays is what gRPC's bidirectional calls are made of.
func TestAStreamGoesBothWays(t *testing.T) {
	for _, version := range []string{"2", "3"} {
		t.Run("HTTP/"+version, func(t *testing.T) {
			w := newWorld(t, overHTTP2)
			gone := make(chan struct{})
			w.backend.mux.HandleFunc("/talk", func(rw http.ResponseWriter, r *http.Request) {
				defer close(gone)
				_ = http.NewResponseController(rw).Flush()
				for words := bufio.NewReader(r.Body); ; {
					word, err := words.ReadString('\n')
					if err != nil {
						return
					}
					_, _ = io.WriteString(rw, "heard "+word)
					_ = http.NewResponseController(rw).Flush()
				}
			})
			b := w.signedIn(version)
			body, words := io.Pipe()
			res := b.begin(b.request(http.MethodPost, w.origin(headersHost)+"/talk", body))
			answers := bufio.NewReader(res.Body)
			for i := range 3 {
				if _, err := fmt.Fprintf(words, "word %d\n", i); err != nil {
					t.Fatal(err)
				}
				if got, err := answers.ReadString('\n'); err != nil || got != fmt.Sprintf("heard word %d\n", i) {
					t.Fatalf("heard %q, %v", got, err)
				}
			}
			_ = res.Body.Close() // the client hangs up, and the backend learns of it
			_ = words.CloseWithError(io.ErrUnexpectedEOF)
			receive(t, gone, "the end of the call")
		})
	}
}

// TestGRPCWebIsPlainHTTP: its trailers are the last frame of the body.
func TestGRPCWebIsPlainHTTP(t *testing.T) {
	const call, answered = "\x00\x00\x00\x00\x02\x08\x01", "\x00\x00\x00\x00\x02\x08\x02\x80\x00\x00\x00\x10grpc-status: 0\r\n"
	for _, version := range versions {
		t.Run("HTTP/"+version, func(t *testing.T) {
			w := newWorld(t, nil)
			w.backend.mux.HandleFunc("/svc/Call", func(rw http.ResponseWriter, r *http.Request) {
				if body, _ := io.ReadAll(r.Body); string(body) != call {
					t.Errorf("the backend read %q", body)
				}
				rw.Header().Set("Content-Type", r.Header.Get("Content-Type"))
				_, _ = io.WriteString(rw, answered)
			})
			b := w.signedIn(version)
			for _, person := range []*browser{b, w.browser().over(version)} {
				req := person.request(http.MethodPost, w.origin(headersHost)+"/svc/Call", strings.NewReader(call))
				req.Header = http.Header{"Content-Type": {"application/grpc-web+proto"}, "X-Grpc-Web": {"1"}, "Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}}
				res := person.do(req)
				switch {
				case person == b && (res.body != answered || res.Header.Get("Content-Type") != "application/grpc-web+proto"):
					t.Errorf("answer %q %v", res.body, res.Header)
				case person != b && res.StatusCode != http.StatusUnauthorized: // which gRPC-Web takes for UNAUTHENTICATED
					t.Errorf("a stranger: %d", res.StatusCode)
				}
			}
		})
	}
}

func TestInterimAnswersAreTheGatewaysOwn(t *testing.T) {
	for _, change := range []func(*proxy.Config){nil, overHTTP2} {
		for _, version := range versions {
			w := newWorld(t, change)
			w.backend.mux.HandleFunc("/early", func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Set-Cookie", "__Host-sallyport=evil; Path=/; Secure")
				rw.Header().Set("Link", "</style.css>; rel=preload")
				rw.WriteHeader(http.StatusEarlyHints)
				rw.WriteHeader(http.StatusProcessing)
				rw.Header().Del("Set-Cookie")
				_, _ = io.WriteString(rw, "body")
			})
			b := w.signedIn(version)
			interim := 0
			trace := &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error { interim++; return nil }}
			req := b.request(http.MethodGet, w.origin(headersHost)+"/early", nil)
			res := b.do(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
			if res.body != "body" || interim > 0 || len(res.Header["Set-Cookie"]) > 0 {
				t.Errorf("HTTP/%s: %q after %d interim answers, %v", version, res.body, interim, res.Header)
			}
		}
	}
}

// TestAnAnswerThatBreaksOffNeverLooksWhole, in any version.
func TestAnAnswerThatBreaksOffNeverLooksWhole(t *testing.T) {
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			w := newWorld(t, nil)
			w.backend.mux.HandleFunc("/half", func(rw http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(rw, "half")
				_ = http.NewResponseController(rw).Flush()
				panic(http.ErrAbortHandler)
			})
			b := w.signedIn(version)
			res, err := b.client.Do(b.request(http.MethodGet, w.origin(headersHost)+"/half", nil))
			if err == nil { // else it was cut before its head was sent on
				defer res.Body.Close()
				var body []byte
				if body, err = io.ReadAll(res.Body); err == nil {
					t.Errorf("%q looks whole", body)
				}
			}
			if line := w.lastRecord(6); line["event.reason"] != "backend_cut" {
				t.Errorf("line %v", line)
			}
		})
	}
}
