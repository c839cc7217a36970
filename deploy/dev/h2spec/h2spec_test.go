package h2spec

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/accesslog"
	"github.com/sallyport/sallyport/proxy/policy"
	"github.com/sallyport/sallyport/proxy/session"
	"github.com/sallyport/sallyport/saml"
)

// patience bounds one run of the suite.
const patience = 60 * time.Second

// cases is how many there are: a suite that stops early must not pass for one that
// found nothing.
const cases = 145

// TestTheFrontIsAsGoodAsPlainGo runs the suite against both, and fails if the gateway
// fails at what net/http does not.
func TestTheFrontIsAsGoodAsPlainGo(t *testing.T) {
	plain := judge(t, plainGo(t))
	ours := judge(t, gateway(t))
	var failed int
	for name, fault := range ours {
		if fault == "" {
			continue
		}
		failed++
		if before, known := plain[name]; !known || before == "" {
			t.Errorf("%s: %s", name, fault)
		}
	}
	faulty := 0
	for name, fault := range plain {
		if fault != "" {
			faulty++
			t.Logf("net/http itself: %s", name)
		}
	}
	t.Logf("the gateway passes %d of %d, net/http %d", len(ours)-failed, len(ours), len(plain)-faulty)
}

// report is what h2spec writes, as JUnit does.
type report struct {
	Suites []struct {
		Package string `xml:"package,attr"`
		Cases   []struct {
			Name    string  `xml:"classname,attr"`
			Failure *string `xml:"failure"`
			Error   *string `xml:"error"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

// judge returns what is wrong by the name of each case, empty for nothing.
func judge(t *testing.T, address string) map[string]string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.xml")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// It ends with 1 for a case that failed; the report says which.
	out, err := exec.CommandContext(ctx, "go", "tool", "h2spec", "--tls", "--insecure", "--host", "localhost", "--port", port, "--junit-report", file).CombinedOutput()
	text, missing := os.ReadFile(file)
	if missing != nil {
		t.Fatalf("no report: %v, %v\n%s", missing, err, out)
	}
	var all report
	if err := xml.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	faults := map[string]string{}
	for _, suite := range all.Suites {
		for i, c := range suite.Cases {
			fault := ""
			for _, said := range []*string{c.Failure, c.Error} {
				if said != nil {
					fault = *said + " failed"
				}
			}
			faults[fmt.Sprintf("%s/%d %s", suite.Package, i+1, c.Name)] = fault
		}
	}
	if len(faults) < cases {
		t.Fatalf("%d cases, expected at least %d\n%s", len(faults), cases, out)
	}
	return faults
}

// tool answers when it has read everything, and not at once: h2spec goes on to send
// frames, and an answer that overtakes them has it judge another state of the stream.
func tool(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	<-time.After(30 * time.Millisecond)
	_, _ = io.WriteString(w, "ok")
}

// plainGo is a server of net/http and nothing else.
func plainGo(t *testing.T) string {
	t.Helper()
	listener := listen(t)
	server := &http.Server{Handler: http.HandlerFunc(tool), TLSConfig: certificate(t), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), ReadHeaderTimeout: patience}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
	return listener.Addr().String()
}

const (
	doorHost  = "door.example.test"
	toolHost  = "tool.example.test"
	idpEntity = "https://idp.example.org"
)

// provider is an identity provider that nobody signs in with here.
type provider struct{ proxy.ServiceProvider }

func (provider) IdP() saml.IdPInfo { return saml.IdPInfo{EntityID: idpEntity} }

// gateway is a gateway on the product's own listener, in front of the same tool. h2spec
// has no cookies, so a handler before the gateway's adds those of alice.
func gateway(t *testing.T) string {
	t.Helper()
	backend := httptest.NewTLSServer(http.HandlerFunc(tool))
	t.Cleanup(backend.Close)
	target, err := url.Parse(backend.URL)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(backend.Certificate())
	manager, err := session.New(session.Config{
		Keys: session.Keys{Current: bytes.Repeat([]byte{7}, session.KeySize)}, Hosts: []string{doorHost, toolHost}, Idle: time.Hour, Absolute: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	front, err := proxy.New(proxy.Config{
		DoorHost: doorHost, PublicPort: 443, Sessions: manager, Access: accesslog.New(io.Discard, "gateway"),
		IdPs: []proxy.IdP{{Name: "corp", Title: "Corporate", SAML: provider{}}},
		Routes: []proxy.Route{{
			Name: "tool", Title: "Tool", Host: toolHost, Backend: target, Rule: policy.NewRule(nil, nil, true),
			TLS: &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS13},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	cookie := signIn(t, manager)
	asAlice := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host, r.TLS = toolHost, nil // the name that h2spec has connected to is another
		r.Header.Set("Cookie", cookie)
		front.ServeHTTP(w, r)
	})
	listener := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- proxy.Serve(ctx, proxy.ServerConfig{Listener: listener, Handler: asAlice, TLS: certificate(t), Drain: time.Second})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, proxy.ErrDrain) {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// signIn returns the cookie of alice at the tool.
func signIn(t *testing.T, manager *session.Manager) string {
	t.Helper()
	r, w := httptest.NewRequest(http.MethodGet, "https://"+toolHost+"/", nil), httptest.NewRecorder()
	state := manager.Start(r, session.State{User: "alice@example.com", IdP: idpEntity, AuthnAt: time.Now().Unix()}, time.Time{})
	if err := manager.Save(w, r, toolHost, state); err != nil {
		t.Fatal(err)
	}
	for _, cookie := range w.Result().Cookies() {
		if cookie.Name == session.CookieName {
			return cookie.Name + "=" + cookie.Value
		}
	}
	t.Fatal("no session among the cookies")
	return ""
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// certificate is one that nobody checks.
func certificate(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
}
