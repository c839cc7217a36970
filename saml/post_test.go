package saml

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadPost(t *testing.T) {
	form := "application/x-www-form-urlencoded"
	for name, tt := range map[string]struct {
		method, target, contentType, body string
		header                            http.Header
		want                              Post
		code                              string
	}{
		"both fields":                      {body: "SAMLResponse=PHg%2B&RelayState=abc", want: Post{"PHg+", "abc"}},
		"no relay state":                   {body: "SAMLResponse=PHg%2B", want: Post{"PHg+", ""}},
		"charset":                          {body: "SAMLResponse=a", contentType: form + "; charset=UTF-8", want: Post{"a", ""}},
		"other fields":                     {body: "SAMLResponse=a&x=y", want: Post{"a", ""}},
		"80 bytes of relay state":          {body: "SAMLResponse=a&RelayState=" + strings.Repeat("r", 80), want: Post{"a", strings.Repeat("r", 80)}},
		"query is not looked at":           {target: "/saml/acs?SAMLResponse=evil&RelayState=evil", body: "SAMLResponse=a&RelayState=b", want: Post{"a", "b"}},
		"E13 GET":                          {method: "GET", target: "/saml/acs?SAMLResponse=a", code: CodeMethod},
		"E13 PUT":                          {method: "PUT", body: "SAMLResponse=a", code: CodeMethod},
		"E13 twice":                        {body: "SAMLResponse=a&SAMLResponse=b", code: CodeForm},
		"E13 in the query":                 {target: "/saml/acs?SAMLResponse=a", body: "RelayState=b", code: CodeForm},
		"E13 multipart":                    {contentType: "multipart/form-data; boundary=x", body: "--x--", code: CodeContentType},
		"E13 JSON":                         {contentType: "application/json", body: "{}", code: CodeContentType},
		"E13 no type":                      {contentType: "-", body: "SAMLResponse=a", code: CodeContentType},
		"E13 two types":                    {body: "SAMLResponse=a", header: http.Header{"Content-Type": {form, form}}, code: CodeContentType},
		"other charset":                    {contentType: form + "; charset=utf-16", body: "SAMLResponse=a", code: CodeContentType},
		"compressed":                       {body: "SAMLResponse=a", header: http.Header{"Content-Type": {form}, "Content-Encoding": {"gzip"}}, code: CodeContentType},
		"empty field":                      {body: "SAMLResponse=", code: CodeForm},
		"empty body":                       {body: "", code: CodeForm},
		"bad escape":                       {body: "SAMLResponse=%zz", code: CodeForm},
		"semicolon":                        {body: "SAMLResponse=a;RelayState=b", code: CodeForm},
		"body at the limit":                {body: "SAMLResponse=" + strings.Repeat("a", maxBodySize-13), want: Post{strings.Repeat("a", maxBodySize-13), ""}},
		"E3 body over the limit":           {body: "SAMLResponse=" + strings.Repeat("a", maxBodySize-12), code: CodeBodySize},
		"F8 81 bytes of relay state":       {body: "SAMLResponse=a&RelayState=" + strings.Repeat("r", 81), code: CodeRelayState},
		"F8 relay state twice":             {body: "SAMLResponse=a&RelayState=b&RelayState=b", code: CodeRelayState},
		"F8 line break in the relay state": {body: "SAMLResponse=a&RelayState=b%0d%0aSet-Cookie:x", code: CodeRelayState},
		"F8 blank in the relay state":      {body: "SAMLResponse=a&RelayState=b+c", code: CodeRelayState},
		"F8 relay state beyond ASCII":      {body: "SAMLResponse=a&RelayState=%c3%a9", code: CodeRelayState},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.method == "" {
				tt.method = "POST"
			}
			if tt.target == "" {
				tt.target = "/saml/acs"
			}
			r := httptest.NewRequest(tt.method, tt.target, strings.NewReader(tt.body))
			switch {
			case tt.header != nil:
				r.Header = tt.header
			case tt.contentType == "":
				r.Header.Set("Content-Type", form)
			case tt.contentType != "-":
				r.Header.Set("Content-Type", tt.contentType)
			}
			got, err := ReadPost(httptest.NewRecorder(), r)
			if code := codeOf(t, err); code != tt.code {
				t.Fatalf("code %q, want %q (%v)", code, tt.code, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("post (-want +got):\n%s", diff)
			}
		})
	}
}

// TestReadPostOverTheWire: what a server really hands us, from a form like the
// one that an identity provider writes, to a verified principal.
func TestReadPostOverTheWire(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	sp := newTestSP(t, testConfig(t, idp))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		post, err := ReadPost(w, r)
		if err != nil {
			http.Error(w, codeOf(t, err), http.StatusBadRequest)
			return
		}
		principal, err := sp.Verify(r.Context(), post, Expectation{RequestID: testRequestID})
		if err != nil {
			http.Error(w, codeOf(t, err), http.StatusForbidden)
			return
		}
		_, _ = w.Write([]byte(principal.User + " " + post.RelayState))
	}))
	defer server.Close()

	form := url.Values{"SAMLResponse": {attack{}.build(t, idp)}, "RelayState": {"key"}}
	for _, want := range []string{"alice@example.com key", CodeReplay + "\n"} {
		res, err := server.Client().PostForm(server.URL, form)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body := new(strings.Builder)
		if err := res.Write(body); err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(body.String(), want) {
			t.Errorf("answer %q, want it to end in %q", body, want)
		}
	}
}
