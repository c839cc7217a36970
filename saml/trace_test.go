package saml

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// traced verifies a response and returns what its trace holds.
func traced(t *testing.T, a attack) (Trace, error) {
	t.Helper()
	idp := newTestIdP(t, "rsa-idp")
	cfg := testConfig(t, idp)
	cfg.Decryption = decryptionKeys(t, "rsa-dec")
	cfg.Now = func() time.Time { return testNow.Add(a.clock) }
	var trace Trace
	_, err := newTestSP(t, cfg).Verify(t.Context(), Post{Response: a.build(t, idp)}, Expectation{RequestID: testRequestID, Trace: &trace})
	return trace, err
}

func namesOf(checks []Check) []string {
	var names []string
	for _, c := range checks {
		names = append(names, c.Name)
	}
	return names
}

func TestTraceNamesEachCheckInItsOrder(t *testing.T) {
	arrived := []string{"metadata", "body"}
	gated := []string{"stream", "root", "status", "structure", "identifiers", "version", "issuer format", "confirmation", "signature form"}
	var again []string
	for _, name := range gated {
		again = append(again, "decrypted "+name)
	}
	verified := []string{"certificate", "signature"}
	profiled := []string{"one assertion", "destination", "request", "audience", "age", "conditions", "confirmation times", "authentication", "freshness", "context"}
	identified := []string{"identity", "domain", "replay"}
	around := []string{"response certificate", "response signature"}
	opened := []string{"encryption", "decryption"}
	for name, tt := range map[string]struct {
		a    attack
		want []string
	}{
		"in the clear":                      {attack{}, slices.Concat(arrived, gated, verified, profiled, identified)},
		"encrypted":                         {attack{encrypt: &encryption{}}, slices.Concat(arrived, gated, opened, again, verified, profiled, identified)},
		"encrypted, response signed":        {attack{sign: signResponse, encrypt: &encryption{}}, slices.Concat(arrived, gated, around, opened, again, verified[1:], profiled, identified)},
		"encrypted, both signed":            {attack{sign: signBoth, encrypt: &encryption{}}, slices.Concat(arrived, gated, around, opened, again, verified, profiled, identified)},
		"audience of another service":       {attack{edit: setText(".//Audience", "urn:x")}, slices.Concat(arrived, gated, verified, profiled[:4])},
		"issuer that the library refuses":   {attack{edit: setText("./Assertion/Issuer", "urn:x")}, slices.Concat(arrived, gated, verified, []string{"issuer"})},
		"encrypted to somebody else":        {attack{encrypt: &encryption{to: []string{"rsa-dec-x"}}}, slices.Concat(arrived, gated, opened)},
		"encrypted, and signed by a nobody": {attack{sign: signNothing, encrypt: &encryption{}}, slices.Concat(arrived, gated, opened, again)},
	} {
		trace, err := traced(t, tt.a)
		if diff := cmp.Diff(tt.want, namesOf(trace.Checks)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if last := trace.Checks[len(trace.Checks)-1]; last.Code != codeOf(t, err) {
			t.Errorf("%s: the last check is %+v, the refusal %v", name, last, err)
		}
	}
}

func TestTheOrderIsCutWhereItSaysSo(t *testing.T) {
	names := func(phases []phase) (all []string) {
		for _, p := range phases {
			for _, s := range p.steps {
				all = append(all, p.prefix+s.name)
			}
		}
		return all
	}
	whole := names(order)
	last := -1
	for _, name := range []string{stepBody, stepOpening, stepDecryption, stepComparison, stepProfile, stepIdentity} {
		at := slices.Index(whole, name)
		if at <= last || slices.Contains(whole[at+1:], name) {
			t.Fatalf("%q is at %d, want it once, behind %d: %q", name, at, last, whole)
		}
		last = at
	}
	from, to := slices.Index(whole, stepOpening), slices.Index(whole, stepComparison)
	part := partOf(order, stepOpening, stepComparison)
	if diff := cmp.Diff(whole[from:to], names(part)); diff != "" {
		t.Errorf("a part (-want +got):\n%s", diff)
	}
	if got := partOf(order, "no such step", stepBody); got != nil {
		t.Errorf("from a step that there is not: %q", names(got))
	}
	if len(part) != 3 || part[0].when == nil || part[1].when == nil || part[1].prefix != "decrypted " {
		t.Errorf("phases %+v, want those of the order", part)
	}
}

func TestTraceOfAnEncryptedSignOn(t *testing.T) {
	trace, err := traced(t, attack{sign: signBoth, encrypt: &encryption{data: aes128CBC}, clock: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	trace.Checks = nil
	want := Trace{
		Message: "Response", ID: "_response", Issued: testNow, Received: testNow.Add(2 * time.Minute),
		Encrypted:   "aes128-cbc, rsa-oaep-mgf1p (SHA-1, mask SHA-1)",
		Certificate: fingerprint(newTestIdP(t, "rsa-idp").cert.Raw),
		Attributes:  []TracedAttribute{{"displayName", 1}, {"mail", 1}, {"groups", 2}},
	}
	want.Certificate = trace.Certificate // made anew by each newTestIdP
	if len(trace.Certificate) != 64 {
		t.Errorf("certificate %q", trace.Certificate)
	}
	if diff := cmp.Diff(want, trace); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if offset := trace.ClockOffset(); offset != -2*time.Minute {
		t.Errorf("clock offset %s", offset)
	}
}

// checkTrace holds the trace of a case of the corpus to this: all checks but the last
// passed, the last one has the code, every text is bounded and can be shown, and no
// value of a person is in it. [TestCorpus] does so for each.
func checkTrace(t *testing.T, id string, trace Trace, code string) {
	t.Helper()
	if len(trace.Checks) == 0 || trace.Message != "Response" {
		t.Errorf("%s: empty trace", id)
		return
	}
	for i, c := range trace.Checks {
		want := ""
		if i == len(trace.Checks)-1 {
			want = code
		}
		if c.Code != want {
			t.Errorf("%s: check %d is %+v, want the code %q", id, i, c, want)
		}
		for _, s := range []string{c.Name, c.Want, c.Got} {
			if len(s) > maxTraced || !utf8.ValidString(s) || strings.ContainsFunc(s, invisible) {
				t.Errorf("%s: not fit to be shown: %q", id, s)
			}
		}
		if strings.Contains(c.Want+c.Got, "alice") || strings.Contains(c.Want+c.Got, "Alice") {
			t.Errorf("%s: a value of a person in %+v", id, c)
		}
		if c.Name == "" || (c.Want == "" && c.Got == "") {
			t.Errorf("%s: a check without words: %+v", id, c)
		}
	}
}

func TestTraceOfAPersonsNameIsLeftToTheLog(t *testing.T) {
	trace, err := traced(t, attack{edit: setText(".//Attribute[@Name='mail']/AttributeValue", "alice@b@c")})
	if codeOf(t, err) != CodeEmail || !strings.Contains(err.Error(), "alice") {
		t.Fatal(err)
	}
	if last := trace.Checks[len(trace.Checks)-1]; last.Name != "identity" || last.Got != "a value that only the log quotes" || !trace.Withheld() {
		t.Errorf("%+v", last)
	}
}

func TestTraceOfABusyServiceProvider(t *testing.T) {
	sp := newTestSP(t, testConfig(t, newTestIdP(t, "rsa-idp")))
	for range cap(sp.limiter.slots) {
		sp.limiter.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var trace Trace
	_, err := sp.Verify(ctx, Post{}, Expectation{Trace: &trace})
	if codeOf(t, err) != CodeBusy || len(trace.Checks) != 1 || trace.Checks[0].Code != CodeBusy {
		t.Errorf("%v, %+v", err, trace)
	}
}

func TestPanicInACheckIsARefusal(t *testing.T) {
	var trace Trace
	j := &judgement{sp: &ServiceProvider{}, want: Expectation{Trace: &trace}}
	err := j.run(phase{steps: []step{{name: "broken", run: func(*judgement) error { panic("x\ny") }}}})
	if codeOf(t, err) != CodeInternal || len(trace.Checks) != 1 || trace.Checks[0].Name != "broken" || trace.Checks[0].Code != CodeInternal {
		t.Errorf("%v, %+v", err, trace)
	}
}

func TestQuotable(t *testing.T) {
	for s, want := range map[string]string{
		"":                       "",
		"https://idp.test/é":     "https://idp.test/é",
		"a\r\n\x1b[2J":           `a\r\n\x1b[2J`,
		"\xff\xfea":              `\xff\xfea`,
		"a\u202eb\u200bc":        `a\u202eb\u200bc`,
		"\uFFFD":                 `\ufffd`,
		strings.Repeat("é", 300): strings.Repeat("é", 98) + "…",
	} {
		if got := quotable(s); got != want {
			t.Errorf("%q became %q, want %q", s, got, want)
		}
	}
}
