package join

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/index"
	"github.com/sallyport/sallyport/proxy/accesslog/audit/logtest"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// ours seals records of an instance, each "seconds action accessor duration id".
func ours(t *testing.T, records map[string][][5]any) *index.Index {
	t.Helper()
	var files []string
	for instance, all := range records {
		chain := logtest.NewChain(instance)
		var log []byte
		for _, r := range all {
			text := fmt.Sprintf(`{"@timestamp":"%s","event.action":"%s","service.name":"%s","event.duration":%d,"http.request.id":"%s"`,
				noon.Add(time.Duration(r[0].(float64)*float64(time.Second))).Format("2006-01-02T15:04:05.000000Z"), r[1], instance, time.Duration(r[3].(float64)*float64(time.Second)), r[4])
			if r[2] != "" {
				text += fmt.Sprintf(`,"sallyport.vault.accessor":"hmac-sha256:%s"`, r[2])
			}
			log = chain.Seal(log, []byte(text+"}"))
		}
		name := filepath.Join(t.TempDir(), instance)
		if err := os.WriteFile(name, log, 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, name)
	}
	x, err := index.Open(t.Context(), "", files...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = x.Close() })
	return x
}

// TestTheNearestCauseThatNamesTheTokenWins asks for the cause of single accesses.
func TestTheNearestCauseThatNamesTheTokenWins(t *testing.T) {
	log := ours(t, map[string][][5]any{
		"gateway": {
			{0.0, "vault_login", "aa", 0.0, "login"},
			{10.0, "access", "aa", 60.0, "long"},
			{20.0, "access", "aa", 1.0, "short"},
			{21.5, "access", "", 1.0, "names no token"},
			{100.0, "key_change", "", 0.0, "keys"},
			{101.0, "config_change", "", 0.0, "config"},
			{300.0, "vault_login", "bb", 0.0, "again"},
		},
		"sidecar": {
			{0.0, "vault_login", "cc", 0.0, "login"},
			{100.2, "key_change", "", 0.0, "another's"},
		},
	})
	tests := map[string]struct {
		at               float64
		accessor, issued string
		want             string
	}{
		"the login itself":                     {-0.5, "", "aa", "exact gateway login"},
		"a request that is under way":          {50, "aa", "", "exact gateway long"},
		"of two, the one that began last":      {20.5, "aa", "", "exact gateway short, one of 2"},
		"an event before it is written":        {99.5, "aa", "", "near gateway keys"},
		"of two events the nearer":             {100.8, "aa", "", "near gateway config"},
		"nothing near":                         {200, "aa", "", "process gateway "},
		"outside of the window":                {97.9, "aa", "", "process gateway "},
		"another process's event":              {100.2, "cc", "", "near sidecar another's"},
		"the second token of a process":        {300.1, "bb", "", "exact gateway again"},
		"a token that nobody of ours has":      {50, "dd", "", "unknown  "},
		"no token at all":                      {50, "", "", "unknown  "},
		"a token of ours that makes another's": {50, "aa", "dd", "exact gateway long"},
	}
	j := &joiner{window: 2 * time.Second, owners: make(map[string][]owner)}
	if err := j.load(t.Context(), log, Config{}); err != nil {
		t.Fatal(err)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := Access{Time: noon.Add(time.Duration(test.at * float64(time.Second)))}
			for to, value := range map[*string]string{&a.Accessor: test.accessor, &a.Issued: test.issued} {
				if value != "" {
					*to = hashedPrefix + value
				}
			}
			got := j.join(a)
			text := fmt.Sprint(got.How, " ", got.Service, " ", got.Cause.Value(audit.RequestID))
			if got.Candidates > 1 {
				text += fmt.Sprint(", one of ", got.Candidates)
			}
			if text != test.want {
				t.Errorf("%q, expected %q", text, test.want)
			}
		})
	}
}

// failing is a log that cannot be asked.
type failing struct{}

var errFailing = errors.New("no log")

func (failing) Query(context.Context, audit.Query) iter.Seq2[audit.Entry, error] {
	return func(yield func(audit.Entry, error) bool) { yield(audit.Entry{}, errFailing) }
}

func TestFailuresAreTold(t *testing.T) {
	for name, test := range map[string]struct {
		log  Log
		file string
		want error
	}{
		"our log":    {failing{}, os.DevNull, errFailing},
		"Vault's":    {ours(t, nil), filepath.Join(t.TempDir(), "nosuch"), os.ErrNotExist},
		"no failure": {ours(t, nil), os.DevNull, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var result Result
			var got error
			for _, err := range Join(t.Context(), test.log, Config{Files: []string{test.file}}, &result) {
				got = err
			}
			if !errors.Is(got, test.want) {
				t.Errorf("error %v, expected %v", got, test.want)
			}
		})
	}
}

func TestParseVault(t *testing.T) {
	got, isAccess, ok := parseVault([]byte(`{"time":"2026-11-26T12:00:00.5Z","type":"response","auth":{"accessor":"a","display_name":"approle"},"request":{"id":"r","operation":"read","path":"p","remote_address":"10.0.0.1"},"response":{"auth":{"accessor":"b"}},"error":"denied"}`))
	want := Access{Time: noon.Add(500 * time.Millisecond), Operation: "read", Path: "p", Accessor: "a", Issued: "b", DisplayName: "approle", RequestID: "r", RemoteAddress: "10.0.0.1", Error: "denied"}
	if diff := cmp.Diff(want, got); diff != "" || !isAccess || !ok {
		t.Errorf("access %v, %v (-want +got):\n%s", isAccess, ok, diff)
	}
	if _, isAccess, ok := parseVault([]byte(`{"time":"2026-11-26T12:00:00Z","type":"request"}`)); isAccess || !ok {
		t.Error("a request that has come is no access")
	}
}

// FuzzParseVault reads lines that are not Vault's.
func FuzzParseVault(f *testing.F) {
	f.Add([]byte(`{"time":"2026-11-26T12:00:00Z","type":"response","auth":null,"request":{"path":"p"},"response":{"wrap_info":{"wrapped_accessor":"w"}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if a, isAccess, ok := parseVault(text); isAccess && (!ok || a.Time.IsZero()) {
			t.Errorf("access %+v of %q", a, text)
		}
	})
}
