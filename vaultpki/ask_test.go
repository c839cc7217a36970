package vaultpki_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/vaultpki"
)

// TestAskSaysWhatKindOfFailureItIs, in terms that a caller can act on, and nothing of the
// body; an answer shows itself in no format.
func TestAskSaysWhatKindOfFailureItIs(t *testing.T) {
	t.Parallel()
	client := login(t, sidecarRole)
	turned := client.Turned()
	for path, want := range map[string]vaultpki.Reason{
		"secret/data/sallyport/session":         vaultpki.ReasonDenied,
		"secret/data/sallyport/sidecar/notes":   vaultpki.ReasonMissingSecret,
		"pki-backend/sign/sidecar-notes":        vaultpki.ReasonConfig,
		"secret/../sys/health":                  vaultpki.ReasonConfig,
		"secret/data/sallyport/sidecar/notes?x": vaultpki.ReasonConfig,
	} {
		ask := vaultpki.Ask{Method: "GET", Path: path}
		if strings.Contains(path, "sign") {
			ask.Method, ask.Body = "PUT", map[string]any{"csr": "canary-in-the-body"}
		}
		_, err := client.Ask(t.Context(), ask)
		if got := vaultpki.ReasonOf(err); got != want || strings.Contains(fmt.Sprint(err), "canary") {
			t.Errorf("%s: %v (%s), expected %s", path, err, got, want)
		}
	}
	answer, err := client.Ask(t.Context(), vaultpki.Ask{Method: "GET", Path: "auth/token/lookup-self"})
	if err != nil {
		t.Fatal(err)
	}
	token, _ := answer.Data["id"].(string)
	if shown := fmt.Sprintf("%v %+v %#v %s", answer, answer, answer, answer); token == "" || strings.Contains(shown, token) {
		t.Error("an answer shows what is in it")
	}
	if _, err := client.Ask(t.Context(), vaultpki.Ask{Method: "GET", Path: "auth/token/lookup-self", Token: "hvs.nobody"}); vaultpki.ReasonOf(err) != vaultpki.ReasonDenied {
		t.Errorf("with another token: %v", err)
	}
	select {
	case <-turned:
		t.Error("the token was turned")
	default:
	}
}
