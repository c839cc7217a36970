package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// large is what is sent up and down at once.
const large = 4 << 20

// stormTool is a tool that does everything that tools do.
func stormTool(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/stream":
		stream(w, r)
	case "/large":
		_, _ = io.CopyN(w, rand.NewChaCha8([32]byte{}), large)
	case "/socket":
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // the gateway has looked at Origin
		if err != nil {
			return
		}
		defer conn.CloseNow()
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil || conn.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	default:
		n, _ := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintf(w, "%s sent %d", r.Header.Get("X-Forwarded-User"), n)
	}
}

// send makes a request of somebody who is signed in.
func (st *storm) send(ctx context.Context, client *http.Client, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+notesHost+path, body)
	if err != nil {
		return nil, err
	}
	req.AddCookie(st.cookie)
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return nil, fmt.Errorf("status %d: %.300q", res.StatusCode, text)
	}
	return res, nil
}

// sent makes a request with a body, which the tool counts.
func (st *storm) sent(ctx context.Context, client *http.Client, body io.Reader, size int) error {
	res, err := st.send(ctx, client, http.MethodPost, "/", body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if want := fmt.Sprintf("alice@example.com sent %d", size); err == nil && string(got) != want {
		err = fmt.Errorf("answer %.200q, want %q", got, want)
	}
	return err
}

func (st *storm) one(ctx context.Context, client *http.Client) error {
	return st.sent(ctx, client, strings.NewReader("a note"), 6)
}

// upload sends a body of a length that is not announced.
func (st *storm) upload(ctx context.Context, client *http.Client) error {
	return st.sent(ctx, client, io.LimitReader(rand.NewChaCha8([32]byte{}), large), large)
}

func (st *storm) download(ctx context.Context, client *http.Client) error {
	res, err := st.send(ctx, client, http.MethodGet, "/large", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); n != large {
		return fmt.Errorf("%d bytes came, and %w", n, err)
	}
	return nil
}

// stream looks at five events and goes.
func (st *storm) stream(ctx context.Context, client *http.Client) error {
	res, err := st.send(ctx, client, http.MethodGet, "/stream", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for events := 0; events < 5 && lines.Scan(); {
		switch lines.Text() {
		case "":
		case "data: alice@example.com":
			events++
		default:
			return fmt.Errorf("the stream says %.100q", lines.Text())
		}
	}
	return lines.Err()
}

// giveUp goes in the middle of a download.
func (st *storm) giveUp(ctx context.Context, client *http.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res, err := st.send(ctx, client, http.MethodGet, "/large", nil)
	if err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, res.Body, 100<<10)
	cancel()
	_ = res.Body.Close()
	return err
}

// refused asks for what nobody gets.
func (st *storm) refused(ctx context.Context, client *http.Client) error {
	bare := *client
	bare.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, test := range []struct {
		method, url, cookie string
		status              int
	}{
		{http.MethodGet, "https://" + notesHost + "/", "", http.StatusUnauthorized},
		{http.MethodGet, "https://" + notesHost + "/", st.cookie.Value[:40], http.StatusUnauthorized},
		{http.MethodPost, "https://" + doorHost + "/saml/acs", "", http.StatusForbidden},
		{http.MethodGet, "https://" + doorHost + "/nothing", "", http.StatusNotFound},
		{http.MethodGet, "https://" + doorHost + "/saml/metadata", "", http.StatusOK},
	} {
		req, err := http.NewRequestWithContext(ctx, test.method, test.url, strings.NewReader("SAMLResponse=eA"))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if test.cookie != "" {
			req.AddCookie(&http.Cookie{Name: st.cookie.Name, Value: test.cookie})
		}
		res, err := bare.Do(req)
		if err != nil {
			return err
		}
		text, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != test.status {
			return fmt.Errorf("%s %s: status %d, want %d: %.300q", test.method, test.url, res.StatusCode, test.status, text)
		}
	}
	return st.begun(ctx, &bare)
}

// begun is somebody who comes for the first time, and is sent to the identity provider.
func (st *storm) begun(ctx context.Context, client *http.Client) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+notesHost+"/", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if to := res.Header.Get("Location"); !strings.HasPrefix(to, "https://") {
		return fmt.Errorf("status %d, to %q", res.StatusCode, to)
	}
	return nil
}

// webSocket says something twenty times and hears it.
func (st *storm) webSocket(ctx context.Context, client *http.Client) error {
	header := http.Header{"Cookie": {st.cookie.Name + "=" + st.cookie.Value}, "Origin": {"https://" + notesHost}}
	conn, _, err := websocket.Dial(ctx, "wss://"+notesHost+"/socket", &websocket.DialOptions{HTTPClient: client, HTTPHeader: header})
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	for i := range 20 {
		if err := conn.Write(ctx, websocket.MessageText, fmt.Append(nil, i)); err != nil {
			return err
		}
		if _, heard, err := conn.Read(ctx); err != nil || string(heard) != fmt.Sprint(i) {
			return fmt.Errorf("message %d: %q, %w", i, heard, err)
		}
		wait(20 * time.Millisecond)
	}
	return conn.Close(websocket.StatusNormalClosure, "")
}

// dial opens a connection to the gateway.
func (st *storm) dial(ctx context.Context, protocol string) (*tls.Conn, error) {
	config := st.trust.Clone()
	config.NextProtos = []string{protocol}
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", st.https)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	return conn.(*tls.Conn), conn.SetDeadline(deadline)
}

// head is a request of HTTP/1.1 for path.
func (st *storm) head(path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: " + notesHost + "\r\nCookie: " + st.cookie.Name + "=" + st.cookie.Value + "\r\n"
}

// keepIdle opens the connections that do next to nothing: each is used once within a
// minute, for longer than twice that is not allowed, and every other one is signed in.
func (st *storm) keepIdle() {
	const each, idleAtMost = 100, 100 * time.Second
	for range st.idle / each {
		st.running.Go(func() {
			var conns []*tls.Conn
			var last []time.Time // when each was used
			defer func() {
				for _, conn := range conns {
					_ = conn.Close()
				}
			}()
			for round := 0; st.ctx.Err() == nil; round++ {
				for i := 0; i < each && st.ctx.Err() == nil; i++ {
					if len(conns) == i || time.Since(last[i]) > idleAtMost {
						conn, err := st.dial(context.WithoutCancel(st.ctx), "http/1.1")
						if err != nil {
							st.note("idle connection", err)
							return
						}
						if len(conns) > i { // this machine was too busy to use it in time
							_ = conns[i].Close()
							conns[i] = conn
						} else {
							conns, last = append(conns, conn), append(last, time.Time{})
						}
					}
					last[i] = time.Now()
					st.note("idle connection", st.use(conns[i], i%2 == 0))
					if round > 0 {
						pauseWithin(st.ctx, time.Minute/each)
					}
				}
			}
		})
	}
}

// use makes one request on a connection.
func (st *storm) use(conn *tls.Conn, signedIn bool) error {
	head, want := st.head("/"), http.StatusOK
	if !signedIn {
		head, want = "GET / HTTP/1.1\r\nHost: "+notesHost+"\r\n", http.StatusUnauthorized
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, head+"\r\n"); err != nil {
		return err
	}
	res, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	if res.StatusCode != want {
		return fmt.Errorf("status %d, want %d", res.StatusCode, want)
	}
	return nil
}

// slowReader takes little of a download, and goes.
func (st *storm) slowReader(ctx context.Context) error {
	conn, err := st.dial(ctx, "http/1.1")
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, st.head("/large")+"\r\n"); err != nil {
		return err
	}
	buffer := make([]byte, 4<<10)
	for range 20 {
		if _, err := io.ReadFull(conn, buffer); err != nil {
			return err
		}
		pauseWithin(st.ctx, 100*time.Millisecond)
	}
	return nil
}

// slowHeader never ends the header of its request, and is shut out.
func (st *storm) slowHeader(ctx context.Context) error {
	conn, err := st.dial(ctx, "http/1.1")
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, piece := range strings.SplitAfter(st.head("/"), "\r\n") {
		if _, err := io.WriteString(conn, piece); err != nil {
			return err
		}
		pauseWithin(st.ctx, 100*time.Millisecond)
	}
	if st.ctx.Err() != nil {
		return nil
	}
	if _, err := io.ReadAll(conn); err != nil && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the connection is kept: %w", err)
	}
	return nil
}

// frames opens a connection of HTTP/2, frame by frame.
func (st *storm) frames(ctx context.Context) (*tls.Conn, *http2.Framer, error) {
	conn, err := st.dial(ctx, "h2")
	if err != nil {
		return nil, nil, err
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	go func() { _, _ = io.Copy(io.Discard, conn) }() // until it is closed
	framer := http2.NewFramer(conn, nil)
	return conn, framer, framer.WriteSettings()
}

// block is the header of a request of somebody who is signed in.
func (st *storm) block() []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{
		{":method", "GET"}, {":scheme", "https"}, {":authority", notesHost}, {":path", "/stream"}, {"cookie", st.cookie.Name + "=" + st.cookie.Value},
	} {
		_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}) // into memory
	}
	return block.Bytes()
}

// floodResets begins requests and takes them back at once (CVE-2023-44487), until it is
// shut out.
func (st *storm) floodResets(ctx context.Context) error {
	conn, framer, err := st.frames(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	block := st.block()
	for id := uint32(1); id < 4000; id += 2 {
		if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: true}) != nil {
			break
		}
		if framer.WriteRSTStream(id, http2.ErrCodeCancel) != nil {
			break
		}
	}
	return nil
}

// floodHeaders begins a request whose header never ends (CVE-2023-45288), until it is
// shut out.
func (st *storm) floodHeaders(ctx context.Context) error {
	conn, framer, err := st.frames(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: st.block()}); err != nil {
		return err
	}
	for range 20_000 {
		if framer.WriteContinuation(1, false, bytes.Repeat([]byte{0}, 1000)) != nil {
			return nil
		}
	}
	return errors.New("twenty megabytes of a header were taken")
}

// pauseWithin waits for d, or for the end of ctx.
func pauseWithin(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
