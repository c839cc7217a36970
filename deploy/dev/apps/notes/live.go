package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// heartbeat is a comment line on a silent event stream, so that nothing on the
// way takes it for dead.
const heartbeat = 15 * time.Second

// serveEvents is the event stream of new notes (HTML standard, 9.2).
func (s *server) serveEvents(w http.ResponseWriter, r *http.Request) {
	notes, leave := s.added.listen()
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = fmt.Fprintf(w, "event: hello\ndata: %s\n\n", asJSON(user(r))) //nolint:gosec // JSON, and no HTML page

	out := http.NewResponseController(w)
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for {
		if err := out.Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case added := <-notes:
			_, _ = fmt.Fprintf(w, "id: %d\nevent: note\ndata: %s\n\n", added.ID, asJSON(added))
		case <-tick.C:
			_, _ = fmt.Fprint(w, ": still here\n\n")
		}
	}
}

// asJSON is for values that always marshal.
func asJSON(v any) []byte {
	data, _ := json.Marshal(v)
	return data
}

// message is one line of the chat.
type message struct {
	From string    `json:"from"`
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

// serveWebSocket is the chat: every text message goes to everybody, the sender
// included. The library refuses a handshake from a page of another host.
func (s *server) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	// Listening starts before the handshake ends: whoever is connected hears all.
	messages, leave := s.chat.listen()
	defer leave()
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		s.log.Info("refused a WebSocket", "error", err)
		return
	}
	defer conn.CloseNow() //nolint:errcheck // it is closed already when all went well
	conn.SetReadLimit(16 << 10)

	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		defer cancel()
		s.hear(ctx, conn, user(r))
	}()
	for {
		select {
		case <-ctx.Done():
			conn.Close(websocket.StatusGoingAway, "the server is stopping") //nolint:errcheck // best effort
			return
		case m := <-messages:
			if err := wsjson.Write(ctx, conn, m); err != nil {
				return
			}
		}
	}
}

// hear passes on what the browser says until the connection ends.
func (s *server) hear(ctx context.Context, conn *websocket.Conn, from string) {
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			return
		}
		text := strings.TrimSpace(string(data))
		if text == "" || utf8.RuneCountInString(text) > maxText {
			continue
		}
		s.chat.send(message{From: from, Text: text, At: s.now()})
	}
}
