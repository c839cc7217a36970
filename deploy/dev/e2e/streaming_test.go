package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// script runs a function of the page to its end, and returns what that comes to.
func script[T any](p *person, body string) T {
	p.t.Helper()
	return ask(p, chromedp.Evaluate[T]("(async () => {"+body+"})()", chromedp.EvalAwaitPromise))
}

// streaming: what a page sends and gets with the means of a browser arrives as it
// comes, and as it is.
func streaming(t *testing.T) {
	h := newHouse(t)
	alice := h.visit(t, "alice", h.origin(houseStreams)+"/")
	h.eventsPass(alice)
	filesPass(alice)
	messagesPass(alice)
}

func (h *house) eventsPass(alice *person) {
	alice.t.Helper()
	// The tool sends an event when the one before was seen, and ends the stream after
	// three. The browser comes again by itself, and says where it was.
	events := script[[]string](alice, `
		const events = [], source = new EventSource("/events")
		await new Promise((end, fail) => {
			source.onmessage = async e => {
				events.push(e.lastEventId + " " + e.data)
				if (events.length == 5) return end()
				await fetch("/seen", {method: "POST"})
			}
			setTimeout(() => fail(new Error("the events stop: " + events)), 20000)
		})
		source.close()
		return events`)
	want := "1-0 alice@example.com|1-1 alice@example.com|1-2 alice@example.com|2-0 alice@example.com|2-1 alice@example.com"
	if got := strings.Join(events, "|"); got != want || h.streams.resumed.Load() != "1-2" {
		alice.t.Errorf("events %s, want %s; resumed at %v", got, want, h.streams.resumed.Load())
	}
}

func filesPass(alice *person) {
	alice.t.Helper()
	// As with events: the page says when it has seen the beginning of a download.
	down := script[map[string]int](alice, `
		const answer = await fetch("/file"), reader = answer.body.getReader()
		let bytes = 0, pieces = 0
		for (;;) {
			const {done, value} = await reader.read()
			if (done) return {bytes, pieces, status: answer.status}
			if (bytes == 0) await fetch("/seen", {method: "POST"})
			bytes += value.length
			pieces++
		}`)
	if down["status"] != 200 || down["bytes"] != fileSize || down["pieces"] < 10 {
		alice.t.Errorf("the download: %v", down)
	}

	up := script[map[string]any](alice, `
		const content = new Uint8Array(50 << 20)
		for (let i = 0; i < content.length; i += 65536) crypto.getRandomValues(content.subarray(i, i + 65536))
		const sum = [...new Uint8Array(await crypto.subtle.digest("SHA-256", content))].map(b => b.toString(16).padStart(2, "0")).join("")
		let steps = 0
		return await new Promise((end, fail) => {
			const request = new XMLHttpRequest()
			request.upload.onprogress = () => steps++
			request.onload = () => end({status: request.status, text: request.responseText, sum, steps})
			request.onerror = () => fail(new Error("the upload broke off"))
			request.open("POST", "/upload")
			request.send(content)
		})`)
	if want := fmt.Sprintf("alice@example.com %d %d %s", 50<<20, 50<<20, up["sum"]); up["text"] != want || up["steps"].(float64) < 2 {
		alice.t.Errorf("the upload: %v, want %s", up, want)
	}
}

func messagesPass(alice *person) {
	alice.t.Helper()
	said := script[[]int](alice, `
		const socket = new WebSocket(location.origin.replace("https", "wss") + "/socket")
		socket.binaryType = "arraybuffer"
		await new Promise((end, fail) => { socket.onopen = end; socket.onerror = () => fail(new Error("no WebSocket")) })
		const heard = []
		for (const size of [0, 1, 125, 126, 65535, 65536, 1000000]) {
			socket.send(new Uint8Array(size))
			heard.push(await new Promise(end => { socket.onmessage = e => end(e.data.byteLength) }))
		}
		socket.close()
		return heard`)
	if got := fmt.Sprint(said); got != "[0 1 125 126 65535 65536 1000000]" {
		alice.t.Errorf("the WebSocket says %s", got)
	}
}

// streamsEnd: what is open ends with the sign-out, and the browser's own attempt to
// open it again comes to nothing.
func streamsEnd(t *testing.T) {
	h := newHouse(t)
	alice := h.visit(t, "alice", h.origin(houseStreams)+"/")
	script[bool](alice, `
		ended = {}
		const over = (name, how) => { ended[name] = how }
		source = new EventSource("/events")
		source.onerror = () => { if (source.readyState == EventSource.CLOSED) over("events", "closed") }
		const socket = new WebSocket(location.origin.replace("https", "wss") + "/socket")
		socket.onclose = e => over("socket", e.wasClean ? "clean" : "cut")
		await Promise.all([source, socket].map(open => new Promise(end => open.addEventListener("open", end))))
		const answer = await fetch("/file"), reader = answer.body.getReader()
		await reader.read()
		reader.read().then(() => over("download", "whole"), () => over("download", "cut"))
		return true`)
	second := alice.tab()
	second.open(h.origin(houseStreams) + "/.sallyport/sign_out")
	second.click("button[type=submit]")
	eventually(t, "everything to end", 10*time.Second, func() error {
		if got := ask(alice, chromedp.Evaluate[string](`[ended.events, ended.socket, ended.download].join()`)); got != "closed,cut,cut" {
			return fmt.Errorf("events, socket and download: %s", got)
		}
		return nil
	})
	if n := h.streams.listeners.Load(); n != 1 {
		t.Errorf("the tool was asked for events %d times", n)
	}
}
