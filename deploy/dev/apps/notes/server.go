package main

import (
	"bytes"
	"embed"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

//go:embed static
var static embed.FS

//go:embed pages/*.html
var pageFiles embed.FS

func parsePages() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"clock": func(t time.Time) string { return t.Format("15:04") },
		"stamp": func(t time.Time) string { return t.Format(time.RFC3339) },
	}).ParseFS(pageFiles, "pages/*.html"))
}

// maxText is the longest note or chat message, in characters.
const maxText = 1000

// server is the whole tool.
type server struct {
	log   *slog.Logger
	now   func() time.Time
	pages *template.Template
	board board
	added hub[note]
	chat  hub[message]
}

func newServer(log *slog.Logger, now func() time.Time) *server {
	return &server{log: log, now: now, pages: parsePages()}
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /static/", http.FileServerFS(static))
	mux.HandleFunc("GET /{$}", s.serveBoard)
	mux.HandleFunc("GET /notes/{id}", s.serveNote)
	mux.HandleFunc("GET /chat", s.serveChat)
	mux.HandleFunc("GET /events", s.serveEvents)
	mux.HandleFunc("GET /ws", s.serveWebSocket)
	mux.HandleFunc("POST /notes", s.addNote)
	mux.HandleFunc("POST /notes/{id}/delete", s.deleteNote)
	mux.HandleFunc("GET /", s.serveNotFound)
	return http.NewCrossOriginProtection().Handler(mux)
}

// user is who the request is from, as a tool behind a gateway is told.
func user(r *http.Request) string {
	if name := r.Header.Get("X-Forwarded-User"); name != "" {
		return name
	}
	return "somebody"
}

// view is what every page gets.
type view struct {
	Title, User string
	Notes       []note
	Note        note
	Text        string // what was typed, when it is shown again
	Problem     string
	MaxText     int
}

func (s *server) page(w http.ResponseWriter, r *http.Request, status int, name string, v view) {
	v.User, v.MaxText = user(r), maxText
	var buf bytes.Buffer
	if err := s.pages.ExecuteTemplate(&buf, name, v); err != nil {
		s.log.Error("rendering a page", "page", name, "error", err)
		http.Error(w, "the page could not be rendered", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'self'; img-src data:; frame-ancestors 'none'")
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // the client went away
}

func (s *server) serveBoard(w http.ResponseWriter, r *http.Request) {
	s.page(w, r, http.StatusOK, "board.html", view{Title: "Notice board", Notes: s.board.list()})
}

func (s *server) serveNote(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("id"))
	found, ok := s.board.find(id)
	if err != nil || !ok {
		s.serveNotFound(w, r)
		return
	}
	s.page(w, r, http.StatusOK, "note.html", view{Title: "Note " + strconv.Itoa(id), Note: found})
}

func (s *server) serveChat(w http.ResponseWriter, r *http.Request) {
	s.page(w, r, http.StatusOK, "chat.html", view{Title: "Chat"})
}

func (s *server) serveNotFound(w http.ResponseWriter, r *http.Request) {
	s.page(w, r, http.StatusNotFound, "missing.html", view{Title: "Not here"})
}

// addNote answers with a redirect, so that a reload does not post twice.
func (s *server) addNote(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	text := strings.TrimSpace(r.PostFormValue("text"))
	if problem := judge(text); problem != "" {
		s.page(w, r, http.StatusUnprocessableEntity, "board.html", view{
			Title: "Notice board", Notes: s.board.list(), Text: text, Problem: problem,
		})
		return
	}
	s.added.send(s.board.add(user(r), text, s.now()))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func judge(text string) string {
	switch {
	case text == "":
		return "Write something first."
	case utf8.RuneCountInString(text) > maxText:
		return "That is too long: at most " + strconv.Itoa(maxText) + " characters."
	}
	return ""
}

func (s *server) deleteNote(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil || !s.board.remove(id, user(r)) {
		s.serveNotFound(w, r)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
