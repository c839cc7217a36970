package vaultpki_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/vaultpki"
)

// newTransit makes a transit engine with a key of each kind, for one test.
func newTransit(t *testing.T) (mount string) {
	t.Helper()
	mount = "transit-" + strings.ToLower(t.Name())
	prepare(t, "POST", "sys/mounts/"+mount, map[string]string{"type": "transit"}, nil)
	prepare(t, "POST", mount+"/keys/edwards", map[string]string{"type": "ed25519"}, nil)
	prepare(t, "POST", mount+"/keys/curve", map[string]string{"type": "ecdsa-p256"}, nil)
	return mount
}

func TestTransitSignsWithTheLatestVersion(t *testing.T) {
	t.Parallel()
	mount := newTransit(t)
	client := operator(t, serverOfTests())
	for name, verify := range map[string]func(public string, message, signature []byte) bool{
		"edwards": func(public string, message, signature []byte) bool {
			key, err := base64.StdEncoding.DecodeString(public)
			return err == nil && ed25519.Verify(key, message, signature)
		},
		"curve": func(public string, message, signature []byte) bool {
			block, _ := pem.Decode([]byte(public))
			key, err := x509.ParsePKIXPublicKey(block.Bytes)
			curve, _ := key.(*ecdsa.PublicKey)
			digest := sha256.Sum256(message)
			return err == nil && ecdsa.VerifyASN1(curve, digest[:], signature)
		},
	} {
		key, err := vaultpki.NewTransitKey(client, mount, name)
		if err != nil {
			t.Fatal(err)
		}
		message := func(version int) []byte { return fmt.Appendf(nil, "message for version %d", version) }
		for want := 1; want < 4; want++ {
			version, signature, err := key.Sign(t.Context(), message)
			if err != nil || version != want {
				t.Fatalf("%s: version %d, %v; expected %d", name, version, err, want)
			}
			public, err := key.PublicKeys(t.Context())
			if err != nil || len(public) != want {
				t.Fatalf("%s: %d public keys, %v", name, len(public), err)
			}
			if !verify(public[version], message(version), signature) {
				t.Errorf("%s version %d: the signature does not verify", name, version)
			}
			prepare(t, "POST", mount+"/keys/"+name+"/rotate", nil, nil)
		}
	}
}

func TestTransitThatDoesNotSign(t *testing.T) {
	t.Parallel()
	mount := newTransit(t)
	prepare(t, "POST", mount+"/keys/secret", map[string]string{"type": "aes256-gcm96"}, nil)
	message := func(int) []byte { return []byte("x") }
	for name, test := range map[string]struct {
		token, key string
		reason     vaultpki.Reason
		hint       string
	}{
		"denied":                  {tokenOf(t, gatewayRole), "edwards", vaultpki.ReasonDenied, "provision plan"},
		"absent":                  {vault.RootToken, "none", vaultpki.ReasonConfig, `there is no transit key "none"`},
		"one that does not sign":  {vault.RootToken, "secret", vaultpki.ReasonConfig, "provision plan"},
		"on a mount that is none": {vault.RootToken, "", vaultpki.ReasonConfig, "provision plan"},
	} {
		client, err := vaultpki.WithToken(serverOfTests(), test.token)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		at := mount
		if test.key == "" {
			at, test.key = "no-such-mount", "edwards"
		}
		key, err := vaultpki.NewTransitKey(client, at, test.key)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = key.Sign(t.Context(), message)
		checkReason(t, name+", signing", err, test.reason, test.hint)
		if _, err = key.PublicKeys(t.Context()); err == nil {
			t.Errorf("%s: it has public keys", name)
		}
	}
	for _, bad := range []string{"a/b", "", "..", "a*"} {
		if _, err := vaultpki.NewTransitKey(nil, "transit", bad); vaultpki.ReasonOf(err) != vaultpki.ReasonConfig {
			t.Errorf("a key called %q: %v", bad, err)
		}
	}
}

// checkReason looks at an error's reason and hint.
func checkReason(t *testing.T, what string, err error, reason vaultpki.Reason, hint string) {
	t.Helper()
	var e *vaultpki.Error
	if vaultpki.ReasonOf(err) != reason {
		t.Errorf("%s: %v (%v), expected %v", what, err, vaultpki.ReasonOf(err), reason)
		return
	}
	if !errors.As(err, &e) || hint != "" && !strings.Contains(e.Hint, hint) {
		t.Errorf("%s: %+v, expected the hint %q", what, e, hint)
	}
}

// TestTransitThatIsNone answers in Vault's place what Vault would not.
func TestTransitThatIsNone(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"nothing":            `{}`,
		"no signature":       `{"data":{"signature":7}}`,
		"another form":       `{"data":{"signature":"AAAA"}}`,
		"version 0":          `{"data":{"signature":"vault:v0:AAAA"}}`,
		"no version":         `{"data":{"signature":"vault:vx:AAAA"}}`,
		"no base64":          `{"data":{"signature":"vault:v1:%%"}}`,
		"keys without any":   `{"data":{"keys":{}}}`,
		"keys that are none": `{"data":{"keys":{"1":1732000000}}}`,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, answer) }))
		client, err := vaultpki.WithToken(vaultpki.Server{Address: server.URL, UnsafeHTTP: true}, "token")
		if err != nil {
			t.Fatal(err)
		}
		key, err := vaultpki.NewTransitKey(client, "transit", "log")
		if err != nil {
			t.Fatal(err)
		}
		if _, signature, err := key.Sign(t.Context(), func(int) []byte { return nil }); err == nil || signature != nil {
			t.Errorf("%s: signed %x, %v", name, signature, err)
		}
		if keys, err := key.PublicKeys(t.Context()); err == nil {
			t.Errorf("%s: public keys %v", name, keys)
		}
		client.Close()
		server.Close()
	}
}

func TestBoard(t *testing.T) {
	t.Parallel()
	client := operator(t, serverOfTests())
	board, err := vaultpki.NewBoard(client, "secret", "board-of-test/log")
	if err != nil {
		t.Fatal(err)
	}
	if names, err := board.Names(t.Context()); err != nil || names != nil {
		t.Errorf("names of an empty board: %v, %v", names, err)
	}
	for _, name := range []string{"b", "a", "b"} {
		if taken, err := board.Put(t.Context(), name, map[string]string{"checkpoint": "of " + name}); err != nil || taken {
			t.Fatal(taken, err)
		}
	}
	names, err := board.Names(t.Context())
	if diff := cmp.Diff([]string{"a", "b"}, names); err != nil || diff != "" {
		t.Errorf("names: %v (-want +got):\n%s", err, diff)
	}
	kv, err := board.Get(t.Context(), "b")
	if text, _ := kv.Optional("checkpoint"); err != nil || text != "of b" || kv.Version != 2 {
		t.Errorf("what is at a name: %q of version %d, %v", text, kv.Version, err)
	}
	if _, err := board.Get(t.Context(), "c"); vaultpki.ReasonOf(err) != vaultpki.ReasonMissingSecret {
		t.Errorf("a name with nothing: %v", err)
	}
	denied, err := vaultpki.WithToken(serverOfTests(), tokenOf(t, gatewayRole))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(denied.Close)
	other, err := vaultpki.NewBoard(denied, "secret", "board-of-test/log")
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.Names(t.Context())
	checkReason(t, "listing", err, vaultpki.ReasonDenied, "provision plan")
	_, err = other.Put(t.Context(), "b", nil)
	checkReason(t, "writing", err, vaultpki.ReasonDenied, "provision plan")
	checkReason(t, "removing", other.Remove(t.Context(), "b"), vaultpki.ReasonDenied, "may delete")
	for _, bad := range []string{"a/b", "", "..", "a*"} {
		if _, err := board.Get(t.Context(), bad); vaultpki.ReasonOf(err) != vaultpki.ReasonConfig {
			t.Errorf("the name %q: %v", bad, err)
		}
		if _, err := board.Put(t.Context(), bad, nil); vaultpki.ReasonOf(err) != vaultpki.ReasonConfig {
			t.Errorf("the name %q: %v", bad, err)
		}
		if err := board.Remove(t.Context(), bad); vaultpki.ReasonOf(err) != vaultpki.ReasonConfig {
			t.Errorf("the name %q: %v", bad, err)
		}
	}
}

// TestABoardTellsWhoElseWrites: somebody else's version is replaced, and told of; and all
// versions can be read.
func TestABoardTellsWhoElseWrites(t *testing.T) {
	t.Parallel()
	client := operator(t, serverOfTests())
	boards := [2]*vaultpki.Board{}
	for n := range boards {
		var err error
		if boards[n], err = vaultpki.NewBoard(client, "secret", "board-of-two/log"); err != nil {
			t.Fatal(err)
		}
	}
	for n, step := range []struct {
		by    int
		taken bool
	}{{0, false}, {0, false}, {1, true}, {0, true}, {0, false}} {
		taken, err := boards[step.by].Put(t.Context(), "a", map[string]string{"checkpoint": fmt.Sprint(n)})
		if err != nil || taken != step.taken {
			t.Errorf("step %d: taken is %v, %v", n, taken, err)
		}
	}
	versions, err := boards[0].Versions(t.Context(), "a")
	var got []string
	for _, kv := range versions {
		text, _ := kv.Optional("checkpoint")
		got = append(got, text)
	}
	if diff := cmp.Diff([]string{"0", "1", "2", "3", "4"}, got); diff != "" || err != nil {
		t.Errorf("versions: %v (-want +got):\n%s", err, diff)
	}
	if err := boards[0].Remove(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if names, err := boards[0].Names(t.Context()); err != nil || len(names) > 0 {
		t.Errorf("names after the removal: %v, %v", names, err)
	}
}

// TestABoardKnowsItsOwnLostAnswer: a write whose answer did not come is nobody else's.
func TestABoardKnowsItsOwnLostAnswer(t *testing.T) {
	t.Parallel()
	front := newStandIn(t)
	client, err := vaultpki.WithToken(vaultpki.Server{Address: front.URL, CAFile: front.CAFile}, vault.RootToken)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	board, err := vaultpki.NewBoard(client, "secret", "board-of-lost/log")
	if err != nil {
		t.Fatal(err)
	}
	for n, f := range []fault{nil, dropAfter, nil, dropAfter, once(dropAfter), dropBefore, nil} {
		front.on("secret/data/board-of-lost/log/a", f)
		if taken, _ := board.Put(t.Context(), "a", map[string]string{"checkpoint": fmt.Sprint(n)}); taken {
			t.Errorf("step %d: an own write is taken for somebody else's", n)
		}
	}
	kv, err := board.Get(t.Context(), "a")
	if text, _ := kv.Optional("checkpoint"); err != nil || text != "6" {
		t.Errorf("what is there in the end: %q, %v", text, err)
	}
}
