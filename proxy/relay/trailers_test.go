package relay

import (
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/proxy/header"
)

// answering is a transport with an answer whose trailers come at its end.
type answering struct {
	res      *http.Response
	trailers http.Header
}

func (a answering) RoundTrip(*http.Request) (*http.Response, error) {
	a.res.Body = io.NopCloser(io.MultiReader(strings.NewReader("body"), atEnd(func() { a.res.Trailer = a.trailers })))
	return a.res, nil
}

// atEnd is an empty reader that calls something.
type atEnd func()

func (f atEnd) Read([]byte) (int, error) { f(); return 0, io.EOF }

func TestTrailersComeWithTheEndOfTheBody(t *testing.T) {
	request := &http.Request{Header: http.Header{"Te": {"gzip;q=0.5, Trailers"}}}
	res, err := SafeTrailers{answering{
		&http.Response{ProtoMajor: 2, ContentLength: -1, Header: http.Header{"Content-Type": {"Application/gRPC; charset=x"}, "Trailer": {"A"}}, Trailer: http.Header{"Grpc-Status": nil, "Set-Cookie": nil}},
		http.Header{"Grpc-Status": {"0"}, "Set-Cookie": {"a=b"}, "Mine": {"1", "2"}},
	}}.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Header["Trailer"]) > 0 || len(res.Trailer) != 1 || res.Trailer["Grpc-Status"] != nil {
		t.Errorf("before the end: header %v, trailers %v", res.Header, res.Trailer)
	}
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "body" {
		t.Errorf("body %q, %v", body, err)
	}
	if len(res.Trailer) != 2 || !slices.Equal(res.Trailer["Grpc-Status"], []string{"0"}) || !slices.Equal(res.Trailer["Mine"], []string{"1", "2"}) {
		t.Errorf("at the end: %v", res.Trailer)
	}
}

func TestAnswersWithoutRoomForTrailersHaveNone(t *testing.T) {
	trailers := http.Header{"Server-Timing": {"x"}}
	takes := http.Header{"Te": {"trailers"}}
	for name, test := range map[string]struct {
		res     *http.Response
		request http.Header
	}{
		"of a known length in HTTP/1.1": {&http.Response{ProtoMajor: 1, ContentLength: 4}, takes},
		"an upgraded connection":        {&http.Response{ProtoMajor: 1, ContentLength: -1, StatusCode: http.StatusSwitchingProtocols}, takes},
		"nobody takes them":             {&http.Response{ProtoMajor: 2, ContentLength: -1}, http.Header{"Te": {"x-trailers"}}},
	} {
		test.res.Header, test.res.Trailer = http.Header{}, http.Header{"Server-Timing": nil}
		res, err := SafeTrailers{answering{test.res, trailers}}.RoundTrip(&http.Request{Header: test.request})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if res.Trailer != nil {
			t.Errorf("%s: %v", name, res.Trailer)
		}
	}
}

// FuzzTrailer: no trailer passes that would be stripped from an answer's header, or
// that a client would take for more than a word about the body.
func FuzzTrailer(f *testing.F) {
	for _, name := range []string{"Grpc-Status", "Set-Cookie", "X_Forwarded_User", "Content-Length", "sec-websocket-accept", ":status"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		name = textproto.CanonicalMIMEHeaderKey(name)
		if !passes(name, true) {
			return
		}
		lower := strings.ToLower(name)
		for _, forbidden := range []string{"content-", "access-control-", "sec-", "proxy-", ":", "x-forwarded-", "x_forwarded_"} {
			if strings.HasPrefix(lower, forbidden) {
				t.Errorf("%q passes", name)
			}
		}
		if slices.Contains([]string{"set-cookie", "cookie", "connection", "transfer-encoding", "trailer", "location", "cache-control", "alt-svc"}, lower) || header.Managed(name) {
			t.Errorf("%q passes", name)
		}
	})
}
