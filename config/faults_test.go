package config

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestFaultsAreWrittenOnePerLine(t *testing.T) {
	faults := &Faults{Source: "vault:secret/sallyport/gateway", List: []Fault{
		{Line: 3, Value: "a second document", Expected: "one document in the file"},
		{Line: 7, Key: "routes[1].host", Value: `"A"`, Expected: "a DNS name"},
	}}
	want := "vault:secret/sallyport/gateway:3: found a second document, expected one document in the file\n" +
		`vault:secret/sallyport/gateway:7: routes[1].host: found "A", expected a DNS name`
	if diff := cmp.Diff(want, faults.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAFaultBelowAFaultIsNotReported(t *testing.T) {
	faults := newCollector()
	faults.add("a.b", "x", "y")
	faults.add("a.b", "x", "again")
	faults.add("a.b.c", "x", "below")
	faults.add("a.b[0].c", "x", "further below")
	faults.add("a.bc", "x", "beside")
	faults.add("a", "x", "above")
	var keys []string
	for _, fault := range faults.list {
		keys = append(keys, fault.Key)
	}
	if diff := cmp.Diff([]string{"a.b", "a.bc", "a"}, keys); diff != "" {
		t.Errorf("reported keys (-want +got):\n%s", diff)
	}
}

func TestFaultsAreOrderedByLine(t *testing.T) {
	faults := newCollector()
	for _, line := range []int{3, 1, 2} {
		faults.addFile(line, "x", "y")
	}
	want := "f:1: found x, expected y\nf:2: found x, expected y\nf:3: found x, expected y"
	if got := faults.err("f"); got == nil || got.Error() != want {
		t.Errorf("error %v, want %s", got, want)
	}
	if err := newCollector().err("f"); err != nil {
		t.Errorf("error without a fault: %v", err)
	}
}

func TestQuotingCutsAndEscapes(t *testing.T) {
	cases := map[string]struct{ value, want string }{
		"short":             {"a b", `"a b"`},
		"control":           {"a\r\n\x1b[31m\u202e", `"a\r\n\x1b[31m\u202e"`},
		"just short enough": {strings.Repeat("a", maxQuoted), `"` + strings.Repeat("a", maxQuoted) + `"`},
		"long":              {strings.Repeat("a", maxQuoted+1), `"` + strings.Repeat("a", maxQuoted) + `"…`},
		"long in runes":     {"a" + strings.Repeat("é", maxQuoted), `"a` + strings.Repeat("é", (maxQuoted-1)/2) + `"…`},
		"no UTF-8":          {strings.Repeat("\x80", maxQuoted+1), `""…`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got := quote(c.value)
			if got != c.want || !utf8.ValidString(got) {
				t.Errorf("quote(%q) = %s, want %s", c.value, got, c.want)
			}
		})
	}
}

func TestCredentialsAreNotRepeated(t *testing.T) {
	cases := map[string]struct {
		value  string
		secret bool
	}{
		"service token":           {"hvs.CAESIJWCqYd5xW3AeXkqk0Y7uJbq", true},
		"batch token":             {"hvb.AAAAAQJWCqYd5xW3AeXkqk0Y7uJbq", true},
		"old service token":       {"s.FnAbCdEfGhIjKlMnOpQrStUv", true},
		"private key":             {"-----BEGIN RSA PRIVATE KEY-----\nMIIE", true},
		"password in a URL":       {"https://user:password@grafana:8443", true},
		"user in a URL":           {"https://user@grafana:8443/", true},
		"password and no scheme":  {"user:password@grafana", true},
		"SAML attribute":          {"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress", false},
		"host that begins like s": {"s.grafana.production.example.com", false},
		"short host":              {"s.example", false},
		"at sign in a path":       {"https://grafana/@alice", false},
		"user name":               {"alice@example.com", false},
		"SecretID":                {"5b0b5d1c-7a5f-1f0e-6f3d-0f8c2b9e4a11", true},
		"SecretID in a sentence":  {"SECRET_ID=5B0B5D1C-7A5F-1F0E-6F3D-0F8C2B9E4A11", true},
		"JWT":                     {"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJnYXRld2F5In0.c2ln", true},
		"session key":             {"bmV4dC1uZXh0LW5leHQtbmV4dC1uZXh0LW5leHQtMzI=", true},
		"hexadecimal key":         {"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", true},
		"long path in Vault":      {"sallyport/production/eu-west-1/gateway/saml-signing", false},
		"long name":               {"customer-relationship-management-2", false},
		"path of a file":          {"/var/lib/sallyport/production/eu1/Access2026", false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := quote(c.value) == "[redacted]"; got != c.secret {
				t.Errorf("quote(%q) = %s, redacted: want %v", c.value, quote(c.value), c.secret)
			}
		})
	}
}

func TestTheNearestKeyIsSuggested(t *testing.T) {
	known := []string{"host", "public_port", "clock_skew", "url", "groups"}
	cases := map[string]string{
		"hots": "host", "Host": "host", "publicPort": "public_port", "public-port": "public_port", "clockskew": "clock_skew",
		"group": "groups", "ulr": "", "uri": "url", "verify": "", "": "", "x": "", "certificate": "",
	}
	for key, want := range cases {
		if got := nearest(key, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", key, got, want)
		}
	}
}
