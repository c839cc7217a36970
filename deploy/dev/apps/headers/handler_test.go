package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestJSONShowsTheRequestAsItCame(t *testing.T) {
	r := httptest.NewRequest(http.MethodPut, "/json?a=1", nil)
	r.Host = "headers.example.com"
	r.Header = http.Header{"X-Forwarded-User": {"alice"}, "X_Forwarded_User": {"root"}, "Accept": {"a", "b"}}
	w := httptest.NewRecorder()
	handler().ServeHTTP(w, r)

	var got received
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := received{
		Method: "PUT", Target: "/json?a=1", Host: "headers.example.com", Remote: r.RemoteAddr,
		Headers: map[string][]string{"X-Forwarded-User": {"alice"}, "X_Forwarded_User": {"root"}, "Accept": {"a", "b"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

func TestPageShowsEachHeaderAndEscapesIt(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/deep/link?x=1", nil)
	r.Header = http.Header{"X-Forwarded-User": {"alice@example.com"}, "User-Agent": {"<script>alert(1)</script>"}}
	w := httptest.NewRecorder()
	handler().ServeHTTP(w, r)

	body := w.Body.String()
	for _, want := range []string{"/deep/link?x=1", "X-Forwarded-User", "alice@example.com", "&lt;script&gt;alert(1)"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(body, "<script>") {
		t.Error("the page lets a header value be markup")
	}
}

func TestViewPutsForwardedHeadersApart(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header = http.Header{"X-Request-Id": {"7"}, "Accept": {"*/*"}, "X-Forwarded-User": {"alice"}}
	got := newView(r)
	if diff := cmp.Diff([]line{{"X-Forwarded-User", "alice"}, {"X-Request-Id", "7"}}, got.Identity); diff != "" {
		t.Errorf("identity headers (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]line{{"Accept", "*/*"}}, got.Rest); diff != "" {
		t.Errorf("other headers (-want +got):\n%s", diff)
	}
}

func TestStylesheetIsServed(t *testing.T) {
	w := httptest.NewRecorder()
	handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/static/headers.css", nil))
	if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/css") {
		t.Errorf("status %d, type %q", w.Code, w.Header().Get("Content-Type"))
	}
}
