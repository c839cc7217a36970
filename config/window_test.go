package config

import (
	"strings"
	"testing"
	"time"
)

func TestWindowReadsWhatItWrites(t *testing.T) {
	cases := map[string]Window{
		"any":                 {},
		"02:00-05:00":         {time.Sunday, time.Saturday, 2 * time.Hour, 5 * time.Hour},
		"Sat-Sun 02:00-05:30": {time.Saturday, time.Sunday, 2 * time.Hour, 5*time.Hour + 30*time.Minute},
		"Wed 00:00-24:00":     {time.Wednesday, time.Wednesday, 0, 24 * time.Hour},
		"Mon-Fri 22:45-01:15": {time.Monday, time.Friday, 22*time.Hour + 45*time.Minute, time.Hour + 15*time.Minute},
	}
	for text, want := range cases {
		var got Window
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s: got %+v, error %v", text, got, err)
		}
		if written, err := got.MarshalText(); err != nil || string(written) != text {
			t.Errorf("%s: written as %s, error %v", text, written, err)
		}
	}
	for text, want := range map[string]string{"Sat-Sat 02:00-05:00": "Sat 02:00-05:00", "Sun-Sat 02:00-05:00": "02:00-05:00"} {
		var got Window
		if err := got.UnmarshalText([]byte(text)); err != nil || got.String() != want {
			t.Errorf("%s: written as %s, error %v", text, got, err)
		}
	}
}

func TestWindowRefusesWhatNobodyMeans(t *testing.T) {
	for _, text := range []string{
		"", "none", "02:00", "2:00-5:00", "02:00-05:00Z", "02:00 - 05:00", "02:00-05:60", "24:00-05:00", "02:00-24:01", "25:00-05:00",
		"02:00-02:00", "Sat", "sat 02:00-05:00", "Saturday 02:00-05:00", "Sat-Sun", "Sat, Sun 02:00-05:00", "Sat-Sun-Mon 02:00-05:00",
		" 02:00-05:00", "02:00-05:00\n", "Xyz 02:00-05:00", "any 02:00-05:00",
	} {
		window := Window{First: time.Friday}
		if err := window.UnmarshalText([]byte(text)); err == nil || window != (Window{First: time.Friday}) {
			t.Errorf("%q: got %+v, error %v", text, window, err)
		}
	}
}

func TestLongestTimeWithoutAWindow(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"02:00-05:00": 21 * time.Hour, "22:00-02:00": 20 * time.Hour, "00:00-24:00": 0,
		"Sat 02:00-05:00": 165 * time.Hour, "Sat-Sun 02:00-05:00": 141 * time.Hour, "Mon-Sat 22:00-02:00": 44 * time.Hour,
	} {
		var window Window
		if err := window.UnmarshalText([]byte(text)); err != nil || window.closed() != want {
			t.Errorf("%s: closed for %s, error %v, want %s", text, window.closed(), err, want)
		}
	}
}

func TestWindowThatCannotBeKeptIsWarnedOf(t *testing.T) {
	for text, want := range map[string]string{
		"{ttl: 84h, renewal_window: '02:00-05:00'}": "",
		"{ttl: 24h, renewal_window: any}":           "",
		"{ttl: 24h, renewal_window: '02:00-05:00'}": "pki: renewal_window 02:00-05:00 cannot always be kept with ttl 24h; 84h is enough",
		"{renewal_window: 'Sat 02:00-05:00'}":       "pki: renewal_window Sat 02:00-05:00 cannot always be kept with ttl 24h; 660h is enough",
	} {
		sidecar, err := LoadSidecar("f", []byte("name: a.internal\napp: http://127.0.0.1:3000\npki: "+text))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(sidecar.Warnings(), "\n"); got != want {
			t.Errorf("%s: warnings %q, want %q", text, got, want)
		}
		gateway, err := LoadGateway("f", []byte("door: {host: a.example.com}\nvault: {edge_pki: "+text+", backend_pki: "+text+"}"))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(strings.Join(gateway.Warnings(), "\n"), "renewal_window"); (got == 2) != (want != "") {
			t.Errorf("%s: warnings of a gateway %q", text, gateway.Warnings())
		}
	}
}

func FuzzWindow(f *testing.F) {
	for _, seed := range []string{"any", "02:00-05:00", "Sat-Sun 23:59-24:00", "Sat-Sun 02:00-02:00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var first, second Window
		if first.UnmarshalText([]byte(text)) != nil {
			return
		}
		if err := second.UnmarshalText([]byte(first.String())); err != nil || first != second {
			t.Errorf("%q: %+v, written as %s, read as %+v, error %v", text, first, first, second, err)
		}
	})
}

func TestPeerIsADNSNameOrASPIFFEID(t *testing.T) {
	for name, label := range map[string]string{
		"gateway.sallyport.internal": "gateway", "notes": "notes",
		"spiffe://example.com/gateway": "gateway", "spiffe://trust_1.example/a/B.c-D": "B.c-D",
	} {
		var peer Peer
		if err := peer.UnmarshalText([]byte(name)); err != nil || string(peer) != name || peer.Label() != label {
			t.Errorf("%s: got %q with label %q, error %v", name, peer, peer.Label(), err)
		}
	}
}

func TestPeerRefusesWhatIsNeither(t *testing.T) {
	cases := map[string]struct{ name, want string }{
		"empty":             {"", "such as grafana.example.com"},
		"wildcard":          {"*.example.com", "wildcards are not supported here"},
		"another scheme":    {"https://example.com/a", "without a scheme"},
		"scheme in capital": {"Spiffe://example.com/a", "letters, digits and . _ -"},
		"no path":           {"spiffe://example.com", "letters, digits and . _ -"},
		"final slash":       {"spiffe://example.com/a/", "letters, digits and . _ -"},
		"empty segment":     {"spiffe://example.com//a", "letters, digits and . _ -"},
		"dot segment":       {"spiffe://example.com/a/./b", "without the segments . and .."},
		"climbing segment":  {"spiffe://example.com/..", "without the segments . and .."},
		"port":              {"spiffe://example.com:8443/a", "letters, digits and . _ -"},
		"user":              {"spiffe://a@example.com/a", "letters, digits and . _ -"},
		"query":             {"spiffe://example.com/a?b", "letters, digits and . _ -"},
		"fragment":          {"spiffe://example.com/a#b", "letters, digits and . _ -"},
		"percent":           {"spiffe://example.com/%61", "letters, digits and . _ -"},
		"domain in capital": {"spiffe://Example.com/a", "letters, digits and . _ -"},
		"line break":        {"spiffe://example.com/a\n", "letters, digits and . _ -"},
		"long domain":       {"spiffe://" + strings.Repeat("a", 256) + "/a", "at most 255 characters"},
		"long":              {"spiffe://a/" + strings.Repeat("a", 2038), "at most 2048 characters"},
	}
	for behaviour, c := range cases {
		t.Run(behaviour, func(t *testing.T) {
			peer := Peer("unchanged")
			err := peer.UnmarshalText([]byte(c.name))
			if err == nil || !strings.HasSuffix(err.Error(), c.want) || peer != "unchanged" {
				t.Errorf("%q: got %q, error %v, want one that ends with %q", c.name, peer, err, c.want)
			}
		})
	}
}
