package checkpoint_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
)

// example is a checkpoint in which every member is set.
func example(t *testing.T) *checkpoint.Checkpoint {
	t.Helper()
	head, err := checkpoint.HeadOf("abcdefghijklmnopqrstuvwx27", 17, strings.Repeat("A", 42)+"E")
	if err != nil {
		t.Fatal(err)
	}
	other, err := checkpoint.HeadOf("other2other2other2other2ot", 3, strings.Repeat("A", 43))
	if err != nil {
		t.Fatal(err)
	}
	return &checkpoint.Checkpoint{
		Head: head, Time: time.Date(2026, 11, 22, 9, 30, 0, 1000, time.UTC), Others: []checkpoint.Head{other, other},
		Key: "transit/transit/log/v1", Signature: []byte("signature"),
	}
}

func TestWhatIsSigned(t *testing.T) {
	const object = `{"instance":"abcdefghijklmnopqrstuvwx27","sequence":17,"hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE",` +
		`"time":"2026-11-22T09:30:00.000001Z","others":[{"instance":"other2other2other2other2ot","sequence":3,"hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},` +
		`{"instance":"other2other2other2other2ot","sequence":3,"hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}],"key":"transit/transit/log/v1"`
	c := example(t)
	if diff := cmp.Diff(object+`,"signature":"c2lnbmF0dXJl"}`, string(c.AppendJSON(nil))); diff != "" {
		t.Errorf("as it stands in a record (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("sallyport checkpoint v1\n"+object+"}", string(c.Message())); diff != "" {
		t.Errorf("what is signed (-want +got):\n%s", diff)
	}
	got, err := checkpoint.Parse(c.AppendJSON(nil))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
}

func TestACheckpointIsReadInOneFormOnly(t *testing.T) {
	whole := string(example(t).AppendJSON(nil))
	many := example(t)
	many.Others = nil
	for range checkpoint.MaxOthers + 1 {
		many.Others = append(many.Others, many.Head)
	}
	for name, text := range map[string]string{
		"nothing":              "",
		"no object":            "[]",
		"white space":          strings.Replace(whole, ":17", ": 17", 1),
		"another order":        strings.Replace(whole, `"sequence":17,"hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"`, `"hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE","sequence":17`, 1),
		"a member twice":       strings.Replace(whole, `"sequence":17`, `"sequence":16,"sequence":17`, 1),
		"a member more":        strings.Replace(whole, `"sequence":17`, `"sequence":17,"x":1`, 1),
		"capitals":             strings.Replace(whole, `"sequence"`, `"Sequence"`, 1),
		"an escape":            strings.Replace(whole, `"log/v1"`, `"log\/v1"`, 1)[:len(whole)-1],
		"sequence 0":           strings.Replace(whole, ":17", ":0", 1),
		"a negative sequence":  strings.Replace(whole, ":17", ":-1", 1),
		"a hash with padding":  strings.Replace(whole, `AE"`, `AE="`, 1),
		"a hash that is odd":   strings.Replace(whole, `AE"`, `AF"`, 1),
		"another instance":     strings.Replace(whole, "abc", "ab1", 1),
		"a time of less":       strings.Replace(whole, ".000001Z", "Z", 1),
		"no key":               strings.Replace(whole, "transit/transit/log/v1", "", 1),
		"a key with a quote":   strings.Replace(whole, "transit/transit/log/v1", `\"`, 1),
		"a long key":           strings.Replace(whole, "transit/transit/log/v1", strings.Repeat("k", 300), 1),
		"a long signature":     strings.Replace(whole, "c2lnbmF0dXJl", strings.Repeat("AAAA", 100), 1),
		"too many others":      string(many.AppendJSON(nil)),
		"something behind it":  whole + " ",
		"more than may be":     strings.Repeat(" ", 20<<10) + whole,
		"null instead of list": strings.Replace(string((&checkpoint.Checkpoint{Head: many.Head, Key: "k"}).AppendJSON(nil)), "[]", "null", 1),
	} {
		if c, err := checkpoint.Parse([]byte(text)); !errors.Is(err, checkpoint.ErrMalformed) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
	}
}

func TestKeys(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(curve.Public())
	if err != nil {
		t.Fatal(err)
	}
	read, err := checkpoint.ReadKeys(strings.NewReader("# keys\n\ntransit/transit/log/v1 " + base64.StdEncoding.EncodeToString(public) + "\n" +
		"transit/transit/log/v2 " + base64.StdEncoding.EncodeToString(der) + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if fromPEM, err := checkpoint.ParseKey(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))); err != nil || !curve.PublicKey.Equal(fromPEM) {
		t.Errorf("in PEM: %v, %v", fromPEM, err)
	}
	var written bytes.Buffer
	if err := checkpoint.WriteKeys(&written, read); err != nil {
		t.Fatal(err)
	}
	keys, err := checkpoint.ReadKeys(&written)
	if err != nil || len(keys) != 2 {
		t.Fatalf("written and read again: %v, %v", keys, err)
	}
	c := example(t)
	c.Signature = ed25519.Sign(private, c.Message())
	if err := keys.Verify(c); err != nil {
		t.Errorf("Ed25519: %v", err)
	}
	c.Sequence++
	if err := keys.Verify(c); !errors.Is(err, checkpoint.ErrForged) {
		t.Errorf("of another record: %v", err)
	}
	c.Key = "transit/transit/log/v2"
	digest := sha256.Sum256(c.Message())
	if c.Signature, err = ecdsa.SignASN1(rand.Reader, curve, digest[:]); err != nil {
		t.Fatal(err)
	}
	if err := keys.Verify(c); err != nil {
		t.Errorf("P-256: %v", err)
	}
	c.Key = "transit/transit/log/v3"
	if err := keys.Verify(c); !errors.Is(err, checkpoint.ErrUnknownKey) {
		t.Errorf("by nobody: %v", err)
	}
	for _, bad := range []string{"", "# none\n", "instance AAAA\n", "transit/a/b/v1\n", "transit/a/b/v1 AAAA\n", "transit/a/b/v1 %%\n",
		"transit/a/b/v1 " + base64.StdEncoding.EncodeToString(public) + "\ntransit/a/b/v1 " + base64.StdEncoding.EncodeToString(public)} {
		if keys, err := checkpoint.ReadKeys(strings.NewReader(bad)); err == nil {
			t.Errorf("%q gave %v", bad, keys)
		}
	}
}

func TestPromise(t *testing.T) {
	for _, p := range []checkpoint.Promise{{time.Minute, 10_000, "transit/a/b"}, {1500 * time.Millisecond, 1, "k"}} {
		if got, err := checkpoint.ParsePromise(p.AppendJSON(nil)); err != nil || got != p {
			t.Errorf("%+v read back: %+v, %v", p, got, err)
		}
	}
	for _, bad := range []string{``, `{}`, `{"every":0,"records":1,"signer":"k"}`, `{"every":1e300,"records":1,"signer":"k"}`, `{"every":60,"records":0,"signer":"k"}`,
		`{"every":60,"records":1,"signer":""}`, `{"every":60,"records":1e18,"signer":"k"}`, `{"every":60,"records":1,"signer":"a\nb"}`} {
		if got, err := checkpoint.ParsePromise([]byte(bad)); !errors.Is(err, checkpoint.ErrMalformed) {
			t.Errorf("%s gave %+v, %v", bad, got, err)
		}
	}
}

// FuzzParse: what is read as a checkpoint is written the same, to the letter.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"instance":"abcdefghijklmnopqrstuvwx27","sequence":17,"hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE","time":"2026-11-22T09:30:00.000001Z","others":[],"key":"k","signature":"c2lnbmF0dXJl"}`))
	f.Add([]byte(`{"every":60,"records":10000,"signer":"transit/a/b"}`))
	f.Fuzz(func(t *testing.T, object []byte) {
		if c, err := checkpoint.Parse(object); err == nil && !bytes.Equal(c.AppendJSON(nil), object) {
			t.Errorf("%s is written as %s", object, c.AppendJSON(nil))
		}
		_, _ = checkpoint.ParsePromise(object)
		_, _ = checkpoint.ParseHead(object)
		_, _ = checkpoint.ReadKeys(bytes.NewReader(object))
	})
}
