package config

import (
	"strings"
	"testing"
	"time"
)

func TestHostAcceptsDNSNames(t *testing.T) {
	label := strings.Repeat("a", maxLabelLength)
	for _, name := range []string{
		"door", "door.example.com", "a-b.example.com", "1and1.example", "xn--bcher-kva.example",
		"headers.sallyport.localhost", "0x.example.com", "a.0xg", label + ".com",
		strings.Repeat(label+".", 3) + strings.Repeat("a", 61),
	} {
		var host Host
		if err := host.UnmarshalText([]byte(name)); err != nil || string(host) != name {
			t.Errorf("%s: got %q, error %v", name, host, err)
		}
	}
}

func TestHostRefusesWhatIsNoDNSName(t *testing.T) {
	cases := map[string]struct {
		name string
		want string // end of the error
	}{
		"empty":              {"", "such as grafana.example.com"},
		"IPv4":               {"127.0.0.1", "not an IP address"},
		"IPv4 in short":      {"127.1", "not an IP address"},
		"IPv4 in hex":        {"0x7F000001", "not an IP address"},
		"a number":           {"2130706433", "not an IP address"},
		"hex prefix alone":   {"a.0x", "not an IP address"},
		"IPv6":               {"::1", "not an IP address"},
		"IPv6 in brackets":   {"[fd00::1]", "not an IP address"},
		"port":               {"a.example.com:443", "without a port"},
		"scheme":             {"https://a.example.com", "without a scheme"},
		"final dot":          {"a.example.com.", "without the final dot"},
		"capitals":           {"A.example.com", "in lower case"},
		"wildcard":           {"*.example.com", "wildcards are not supported here"},
		"empty label":        {"a..b", "a label is empty"},
		"leading dot":        {".example.com", "a label is empty"},
		"leading hyphen":     {"-a.example.com", "begins or ends with a hyphen"},
		"final hyphen":       {"a-.example.com", "begins or ends with a hyphen"},
		"underscore":         {"a_b.example.com", "a-z, 0-9 and hyphens"},
		"space":              {"a b", "a-z, 0-9 and hyphens"},
		"line break":         {"a\nb", "a-z, 0-9 and hyphens"},
		"umlaut":             {"bücher.example", "xn--…"},
		"Kelvin sign":        {"\u212aelvin.example", "xn--…"},
		"long label":         {strings.Repeat("a", maxLabelLength+1), "more than 63 characters"},
		"long name":          {strings.Repeat("a.", maxHostLength/2) + "aa", "at most 253 characters"},
		"user information":   {"user@a.example.com", "a-z, 0-9 and hyphens"},
		"path":               {"a.example.com/x", "a-z, 0-9 and hyphens"},
		"bytes and no UTF-8": {"a\xff", "xn--…"},
	}
	for behaviour, c := range cases {
		t.Run(behaviour, func(t *testing.T) {
			host := Host("unchanged")
			err := host.UnmarshalText([]byte(c.name))
			if err == nil || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("error %v, want one that ends with %q", err, c.want)
			}
			if host != "unchanged" {
				t.Errorf("host became %q", host)
			}
		})
	}
}

func TestDurationReadsWhatItWrites(t *testing.T) {
	cases := map[string]struct {
		span time.Duration
		text string
	}{
		"0s":     {0, "0s"},
		"500ms":  {500 * time.Millisecond, "500ms"},
		"1500ms": {1500 * time.Millisecond, "1.5s"},
		"90s":    {90 * time.Second, "1m30s"},
		"1.5h":   {90 * time.Minute, "1h30m"},
		"60m":    {time.Hour, "1h"},
		"10m":    {10 * time.Minute, "10m"},
		"24h":    {24 * time.Hour, "24h"},
		"1h30s":  {time.Hour + 30*time.Second, "1h0m30s"},
		"20m20s": {20*time.Minute + 20*time.Second, "20m20s"},
	}
	for written, want := range cases {
		var first, second Duration
		if err := first.UnmarshalText([]byte(written)); err != nil {
			t.Errorf("%s: %v", written, err)
		}
		text, err := first.MarshalText()
		if err != nil || string(text) != want.text || first.Duration != want.span {
			t.Errorf("%s: %v, written as %s (error %v), want %v, written as %s", written, first.Duration, text, err, want.span, want.text)
		}
		if err := second.UnmarshalText(text); err != nil || second != first {
			t.Errorf("%s: read back as %v (error %v)", text, second, err)
		}
	}
}

func TestDurationRefusesWhatNobodyMeans(t *testing.T) {
	for _, text := range []string{"", "0", "30", "-1h", "+1h", "1d", "1 h", "1H", ".5h", "5.h", "1us", "1ns", "0.1ms", "h", "9999999h", "1h\n"} {
		d := Duration{time.Minute}
		if err := d.UnmarshalText([]byte(text)); err == nil || d.Duration != time.Minute {
			t.Errorf("%q: became %v, error %v", text, d, err)
		}
	}
}

func TestOriginReadsWhatItWrites(t *testing.T) {
	cases := map[string]Origin{
		"https://grafana":         {"https", "grafana", 443},
		"https://grafana/":        {"https", "grafana", 443},
		"http://grafana":          {"http", "grafana", 80},
		"http://127.0.0.1:3000":   {"http", "127.0.0.1", 3000},
		"https://[::1]:8443":      {"https", "::1", 8443},
		"https://[::1]":           {"https", "::1", 443},
		"https://a.example:65535": {"https", "a.example", 65535},
	}
	for written, want := range cases {
		var first, second Origin
		if err := first.UnmarshalText([]byte(written)); err != nil || first != want {
			t.Errorf("%s: got %+v (error %v), want %+v", written, first, err, want)
		}
		text, err := first.MarshalText()
		if err != nil {
			t.Errorf("%s: %v", written, err)
		}
		if err := second.UnmarshalText(text); err != nil || second != first {
			t.Errorf("%s: read back as %+v (error %v)", text, second, err)
		}
		if got := first.URL().String(); got != string(text) {
			t.Errorf("%s: URL %s, want %s", written, got, text)
		}
	}
	if text := (Origin{}).String(); text != "" {
		t.Errorf("the zero origin is written as %q", text)
	}
}

func TestOriginRefusesWhatItWouldDrop(t *testing.T) {
	for _, text := range []string{
		"", "grafana", "grafana:443", "//grafana", "https:grafana", "https:///x", "https://", "https://:443",
		"https://a/b", "https://a//", "https://a?", "https://a?b", "https://a#", "https://a#b", "https://u@a", "https://u:p@a",
		"https://a:", "https://a:0", "https://a:00443", "https://a:65536", "https://a:https", "https://a:1:2",
		"HTTPS://a", "ftp://a", "unix:///run/app.sock", "https://A", "https://a b", "https://a%2eb", "https://[::1", "https://::1", "https://[a]", "https://a\\b",
	} {
		origin := Origin{Scheme: "unchanged"}
		if err := origin.UnmarshalText([]byte(text)); err == nil || origin.Scheme != "unchanged" {
			t.Errorf("%q: became %+v, error %v", text, origin, err)
		}
	}
}

func TestLoopbackIsWhatNobodyElseReaches(t *testing.T) {
	cases := map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "localhost.example.com": false, "door.localhost": false,
	}
	for host, want := range cases {
		if got := isLoopback(host); got != want {
			t.Errorf("isLoopback(%q) = %v, want %v", host, got, want)
		}
	}
}
