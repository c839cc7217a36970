package saml

import (
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What one message of a stranger may cost, from the first byte to the refusal. The
// time is a tenth of that, but for the race detector.
const (
	maxLogoutCPU    = 100 * time.Millisecond
	maxLogoutMemory = 4 << 20
)

// expensive is one way to make us work for nothing.
type expensive struct {
	name string
	make func(t testing.TB, idp *testIdP) func() *http.Request
	want string
}

// crowded uses up every limit of the stream gate: elements, namespaces in scope of
// all of them, attributes, text.
func crowded(t testing.TB) *message {
	m := newMessage(t, testLogoutRequest)
	for i := range 17 {
		m.root.CreateAttr(fmt.Sprintf("xmlns:r%d", i), fmt.Sprintf("urn:r%d", i))
	}
	ext := fragment(t, `<samlp:Extensions`+ofProtocol+`/>`)
	for i := range 150 {
		el := ext.CreateElement("r1:x")
		el.SetText(strings.Repeat("text", 20))
		for j := range 3 {
			el.CreateAttr(fmt.Sprintf("r%d:a", j), fmt.Sprint(i))
		}
	}
	m.root.InsertChildAt(1, ext)
	for range maxSessionIndexes - 1 {
		m.root.CreateElement("samlp:SessionIndex").SetText(strings.Repeat("s", 200))
	}
	return m
}

func formOf(t testing.TB, raw []byte) func() *http.Request {
	return func() *http.Request { return postRequest(url.Values{"SAMLRequest": {encode(raw)}}) }
}

func queryOf(query string) func() *http.Request {
	return func() *http.Request { return getRequest(query) }
}

func expensiveOnes() []expensive {
	return []expensive{
		{"form of the greatest size", func(testing.TB, *testIdP) func() *http.Request {
			body := "SAMLRequest=" + strings.Repeat("%41", maxLogoutBody/3-10)
			return bodyOf(body)
		}, CodeEncoding},
		{"form of many fields", func(testing.TB, *testIdP) func() *http.Request {
			body := strings.Repeat("a&", 4000) + "SAMLRequest="
			return bodyOf(body)
		}, CodeForm},
		{"query of many ampersands", func(testing.TB, *testIdP) func() *http.Request {
			return queryOf(strings.Repeat("&", maxQuerySize))
		}, CodeQuery},
		{"query of the greatest size", func(t testing.TB, idp *testIdP) func() *http.Request {
			return queryOf(exchanged("SAMLRequest", strings.Repeat("A", maxQuerySize-1000))(idp.query(t, testLogoutRequest, "")))
		}, CodeEncoding},
		{"deflate bomb", func(t testing.TB, idp *testIdP) func() *http.Request {
			return queryOf(idp.query(t, strings.Repeat(" ", 60<<20), ""))
		}, CodeXMLLimit},
		{"nested to the bottom", func(t testing.TB, _ *testIdP) func() *http.Request {
			return formOf(t, []byte("<a>"+nested(14)+strings.Repeat("<b/>", 230)+"</a>"))
		}, CodeRoot},
		{"unsigned", func(t testing.TB, _ *testIdP) func() *http.Request {
			return formOf(t, crowded(t).bytes(t))
		}, CodeUnsigned},
		{"signature of a query that is none", func(t testing.TB, idp *testIdP) func() *http.Request {
			return queryOf(exchanged("Signature", url.QueryEscape(encode(make([]byte, 256))))(idp.query(t, string(crowded(t).bytes(t)), "")))
		}, CodeSignature},
		{"signature of a form that is none, of any key", func(t testing.TB, idp *testIdP) func() *http.Request {
			m := crowded(t)
			idp.noKeyInfo = true
			idp.sign(t, m.root)
			forgeSignature(t, m)
			return formOf(t, m.bytes(t))
		}, CodeSignature},
		{"insider: signature of another message", func(t testing.TB, idp *testIdP) func() *http.Request {
			m := crowded(t)
			idp.sign(t, m.root)
			m.find("NameID").SetText("bob")
			return formOf(t, m.bytes(t))
		}, CodeSignature},
		{"insider: everything right, but for somebody else", func(t testing.TB, idp *testIdP) func() *http.Request {
			m := crowded(t)
			m.root.CreateAttr("Destination", testACS)
			idp.sign(t, m.root)
			return formOf(t, m.bytes(t))
		}, CodeDestination},
	}
}

func bodyOf(body string) func() *http.Request {
	return func() *http.Request {
		r := postRequest(nil)
		r.Body = io.NopCloser(strings.NewReader(body))
		return r
	}
}

// manyKeys is a service provider that trusts as many keys as there may be, the
// identity provider's last.
func manyKeys(t testing.TB, idp *testIdP) *ServiceProvider {
	t.Helper()
	var certs []*x509.Certificate
	for i := range maxIdPCertificates - 1 {
		certs = append(certs, newTestIdP(t, fmt.Sprintf("rsa-many-%d", i)).cert)
	}
	cfg := logoutConfig(t, idp)
	cfg.IdPMetadata = testMetadata(append(certs, idp.cert)...)
	return newTestSP(t, cfg)
}

// TestLogoutIsCheapToRefuse holds what a stranger can make us spend to a budget. Of
// several runs the cheapest counts: the machine has other things to do.
func TestLogoutIsCheapToRefuse(t *testing.T) {
	idp := newTestIdP(t, "rsa-idp")
	sp := manyKeys(t, idp)
	for _, e := range expensiveOnes() {
		request := e.make(t, newTestIdP(t, "rsa-idp"))
		cpu, memory := time.Hour, uint64(1<<40)
		for range 4 {
			r := request()
			before := processTime()
			spent := allocated(func() {
				if got, _, _ := leave(t, sp, r, "", &Trace{}); got != e.want {
					t.Fatalf("%s: code %q, want %q", e.name, got, e.want)
				}
			})
			cpu, memory = min(cpu, processTime()-before), min(memory, spent)
		}
		t.Logf("%-50s %8s %5d KiB", e.name, cpu.Round(10*time.Microsecond), memory>>10)
		if cpu > maxLogoutCPU || memory > maxLogoutMemory {
			t.Errorf("%s: costs %s of CPU and %d bytes of memory, at most %s and %d are allowed", e.name, cpu, memory, maxLogoutCPU, maxLogoutMemory)
		}
	}
}

func processTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func BenchmarkLogout(b *testing.B) {
	idp := newTestIdP(b, "rsa-idp")
	cfg := logoutConfig(b, idp)
	cfg.Replay = &forgetful{}
	sp := newTestSP(b, cfg)
	query := logoutCase{}.byRedirect(b, idp).URL.RawQuery
	m := logoutCase{}.document(b)
	idp.sign(b, m.root)
	form := formOf(b, m.bytes(b))
	for name, request := range map[string]func() *http.Request{"redirect": queryOf(query), "post": form} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if code, _, _ := leave(b, sp, request(), "", nil); code != "" {
					b.Fatal(code)
				}
			}
		})
	}
	b.Run("begin", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := sp.BeginLogout(aliceLeaves().Subject, "_session", "state"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// forgetful is a replay memory that knows nothing.
type forgetful struct{}

func (*forgetful) Remember(string, time.Time) bool { return true }
