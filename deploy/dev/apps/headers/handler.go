package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
)

//go:embed static
var static embed.FS

//go:embed page.html
var pageText string

// received is one request, as this program saw it.
type received struct {
	Method  string              `json:"method"`
	Target  string              `json:"target"` // path and query
	Host    string              `json:"host"`
	Remote  string              `json:"remote"`
	Headers map[string][]string `json:"headers"`
}

func receive(r *http.Request) received {
	return received{
		Method: r.Method, Target: r.URL.RequestURI(), Host: r.Host,
		Remote: r.RemoteAddr, Headers: r.Header,
	}
}

func handler() http.Handler {
	page := template.Must(template.New("page").Parse(pageText))
	mux := http.NewServeMux()
	mux.Handle("GET /static/", http.FileServerFS(static))
	mux.HandleFunc("/json", serveJSON)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { servePage(w, r, page) })
	return mux
}

func serveJSON(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	_ = out.Encode(receive(r)) // the client went away
}

// line is one header field of the page.
type line struct{ Name, Value string }

// view is the page: who it is about, then the fields in two groups.
type view struct {
	received
	User     string
	Identity []line // what a gateway says about the person and the request
	Rest     []line
}

func newView(r *http.Request) view {
	v := view{received: receive(r), User: r.Header.Get("X-Forwarded-User")}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[name] {
			if isForwarded(name) {
				v.Identity = append(v.Identity, line{name, value})
			} else {
				v.Rest = append(v.Rest, line{name, value})
			}
		}
	}
	return v
}

func isForwarded(name string) bool {
	return strings.HasPrefix(name, "X-") || name == "Forwarded"
}

func servePage(w http.ResponseWriter, r *http.Request, page *template.Template) {
	var buf bytes.Buffer
	if err := page.Execute(&buf, newView(r)); err != nil {
		http.Error(w, "the page could not be rendered", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src data:; frame-ancestors 'none'")
	_, _ = w.Write(buf.Bytes()) // the client went away
}
