package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// curl is the program with the cookies of somebody who is signed in.
type curl struct {
	t       *testing.T
	origin  string
	cookies string
	version string // an option
	// overtaken lets curl lose the last bytes of an answer that comes while it uploads, as
	// it does over HTTP/2 when the stream is reset behind them (RFC 9113 section 8.1).
	overtaken bool
}

// answer is what it got and tells.
type answer struct {
	body    []byte
	headers string // of all answers, and trailers
	figures string // status, version of HTTP, bytes sent
}

// run makes one request.
func (c *curl) run(path string, args ...string) answer {
	c.t.Helper()
	headers := filepath.Join(c.t.TempDir(), "headers")
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	args = append([]string{
		"--silent", "--show-error", "--cacert", shared.authority.file, "--noproxy", "*", "--dump-header", headers, c.version,
		"--write-out", "%{stderr}%{http_code} %{http_version} %{size_upload}",
	}, args...)
	if c.cookies != "" {
		args = append(args, "--cookie", c.cookies)
	}
	cmd := exec.CommandContext(ctx, "curl", append(args, c.origin+path)...)
	var out, told bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &told
	if err := cmd.Run(); err != nil && (!c.overtaken || cmd.ProcessState.ExitCode() != partialFile) {
		c.t.Errorf("curl %s %s: %v: %s", c.version, path, err, told.String())
	}
	text, err := os.ReadFile(headers)
	if err != nil {
		c.t.Error(err)
	}
	// What went wrong, if anything did, comes before the figures.
	complaint, figures := "", told.String()
	if at := strings.LastIndexByte(figures, '\n'); at >= 0 {
		complaint, figures = figures[:at], figures[at+1:]
	}
	if complaint != "" && !c.overtaken {
		c.t.Errorf("curl %s %s says: %s", c.version, path, complaint)
	}
	return answer{out.Bytes(), strings.ToLower(string(text)), figures}
}

// partialFile is curl's exit code for an answer that lacks its end.
const partialFile = 18

// curlPasses: curl sees nothing of the gateway.
func curlPasses(t *testing.T) {
	h := newHouse(t)
	alice := h.visit(t, "alice", h.origin(houseStreams)+"/")
	var cookies []string
	for _, cookie := range alice.cookies(h.origin(houseStreams)) {
		cookies = append(cookies, cookie.Name+"="+cookie.Value)
	}
	for _, version := range []string{"1.1", "2"} {
		c := &curl{t: t, origin: h.origin(houseStreams), cookies: strings.Join(cookies, "; "), version: "--http" + version}
		c.downloads(version)
		c.uploads(version)
		c.contents(version)
	}
}

func (c *curl) downloads(version string) {
	content := ranges()
	c.expect(c.run("/ranges"), "200 "+version+" 0", content)
	part := c.run("/ranges", "--range", "100-199")
	c.expect(part, "206 "+version+" 0", content[100:200], fmt.Sprintf("content-range: bytes 100-199/%d", rangesSize), "content-length: 100")
	c.expect(c.run("/ranges", "--range", "-10"), "206 "+version+" 0", content[rangesSize-10:])
	c.expect(c.run("/ranges", "--range", "2000000-"), "416 "+version+" 0", "invalid range: failed to overlap\n", "content-range: bytes */1048576")
	head := c.run("/ranges", "--head")
	c.expect(head, "200 "+version+" 0", string(head.body), "content-length: 1048576", "accept-ranges: bytes")
	c.expect(c.run("/ranges", "--time-cond", "Sun, 09 Sep 2001 01:46:40 GMT"), "304 "+version+" 0", "")
}

// uploadSize is more than anybody would keep in memory.
const uploadSize = 200 << 20

// uploads sends zeros, with their length and without, and with a question first.
func (c *curl) uploads(version string) {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "zeros")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Truncate(file, uploadSize); err != nil {
		c.t.Fatal(err)
	}
	sent := fmt.Sprintf("200 %s %d", version, uploadSize)
	asked := c.run("/upload", "--upload-file", file, "--header", "Expect: 100-continue")
	c.expect(asked, sent, fmt.Sprintf("alice@example.com %d %d %s", uploadSize, uploadSize, zerosSum()), "http/"+version+" 100")
	chunked := c.run("/upload", "--request", "POST", "--upload-file", file, "--header", "Transfer-Encoding: chunked", "--header", "Expect:")
	c.expect(chunked, chunked.figures, fmt.Sprintf("alice@example.com -1 %d %s", uploadSize, zerosSum())) // it counts what is about the chunks, too

	stranger := *c
	stranger.cookies, stranger.overtaken = "", version == "2"
	refused := stranger.run("/upload", "--upload-file", file, "--header", "Expect: 100-continue", "--expect100-timeout", "20")
	// Over HTTP/2 curl does not wait, but for the window.
	if !strings.HasPrefix(refused.figures, "401 "+version) || version == "1.1" && !strings.HasSuffix(refused.figures, " 0") || strings.Contains(refused.headers, " 100") {
		c.t.Errorf("a stranger's upload: %s\n%s", refused.figures, refused.headers)
	}
}

// contents is about what is in an answer, and passes untouched.
func (c *curl) contents(version string) {
	c.t.Helper()
	c.expect(c.run("/packed", "--compressed"), "200 "+version+" 0", strings.Repeat("packed ", 1000), "content-encoding: gzip")
	c.expect(c.run("/packed"), "200 "+version+" 0", strings.Repeat("plain ", 1000))

	with := c.run("/trailers", "--header", "TE: trailers")
	c.expect(with, "200 "+version+" 0", "body", "server-timing: db;dur=53")
	if strings.Contains(with.headers, "x-forwarded-user: ") {
		c.t.Errorf("a managed name is in the answer: %s", with.headers)
	}
	if without := c.run("/trailers"); strings.Contains(without.headers, "server-timing: ") {
		c.t.Errorf("trailers that nobody has asked for: %s", without.headers)
	}

	// A message of gRPC-Web and its trailers, which are a part of the body.
	message := "\x00\x00\x00\x00\x03\x0a\x01a\x80\x00\x00\x00\x0fgrpc-status:0\r\n"
	file := filepath.Join(c.t.TempDir(), "message")
	if err := os.WriteFile(file, []byte(message), 0o600); err != nil {
		c.t.Fatal(err)
	}
	call := c.run("/repeat", "--data-binary", "@"+file, "--header", "Content-Type: application/grpc-web+proto", "--header", "X-Grpc-Web: 1")
	c.expect(call, fmt.Sprintf("200 %s %d", version, len(message)), message, "content-type: application/grpc-web+proto")
}

// expect compares an answer.
func (c *curl) expect(got answer, figures, body string, headers ...string) {
	c.t.Helper()
	if got.figures != figures || string(got.body) != body {
		c.t.Errorf("%s: %q, want %q; %d bytes %.200q, want %d %.200q", c.version, got.figures, figures, len(got.body), got.body, len(body), body)
	}
	for _, header := range headers {
		if !strings.Contains(got.headers, header) {
			c.t.Errorf("%s: no %q in:\n%s", c.version, header, got.headers)
		}
	}
}

// zerosSum is what becomes of the upload.
func zerosSum() string {
	sum, zeros := sha256.New(), make([]byte, 1<<20)
	for range uploadSize / len(zeros) {
		_, _ = sum.Write(zeros)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
