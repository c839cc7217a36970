package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/config"
)

// publisher serves metadata as an identity provider does, over TLS with an
// authority of its own, and returns a configuration that fetches from it.
func publisher(t *testing.T, handler http.HandlerFunc) (*httptest.Server, *config.Gateway) {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	cfg := &config.Gateway{}
	cfg.SAML.MetadataURL = server.URL + "/metadata"
	cfg.SAML.MetadataCAFile = writeFile(t, t.TempDir(), "ca.pem", string(ca))
	return server, cfg
}

func TestMetadataIsFetched(t *testing.T) {
	_, cfg := publisher(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metadata" {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
			return
		}
		_, _ = w.Write([]byte("<metadata/>"))
	})
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // is not asked
	got, err := newFetcher().metadata(t.Context(), cfg.SAML.Providers()[0])
	if err != nil || string(got.text) != "<metadata/>" {
		t.Errorf("fetched %v, %v", got, err)
	}
}

func TestMetadataThatCannotBeFetched(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"not there": {http.NotFound, "status 404"},
		"too large": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(bytes.Repeat([]byte("x"), metadataBytes+1))
		}, "more than 2097152 bytes"},
		"redirected out of TLS": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain.URL, http.StatusFound) }, `redirected to scheme "http"`},
		"redirected for ever":   {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, "redirected more than 3 times"},
		"broken off in the middle": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = w.Write([]byte("<"))
		}, "unexpected EOF"},
		"hung up on":                {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"an answer that is no page": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, "status 204"},
	} {
		t.Run(name, func(t *testing.T) {
			_, cfg := publisher(t, tt.answer)
			if _, err := newFetcher().metadata(t.Context(), cfg.SAML.Providers()[0]); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, expected one with %q", err, tt.want)
			}
		})
	}
	t.Run("an authority that is not trusted", func(t *testing.T) {
		_, cfg := publisher(t, http.NotFound)
		cfg.SAML.MetadataCAFile = "" // the public ones
		if _, err := newFetcher().metadata(t.Context(), cfg.SAML.Providers()[0]); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("error %v", err)
		}
	})
	for want, file := range map[string]string{"no such file": "/nosuch/ca.pem", "expected PEM certificates": writeFile(t, t.TempDir(), "ca.pem", "x")} {
		_, cfg := publisher(t, http.NotFound)
		cfg.SAML.MetadataCAFile = file
		if _, err := newFetcher().metadata(t.Context(), cfg.SAML.Providers()[0]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, expected one with %q", err, want)
		}
	}
}

func TestMetadataOfASlowPublisherIsGivenUp(t *testing.T) {
	done := make(chan struct{})
	_, cfg := publisher(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-done
	})
	defer close(done)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := newFetcher().metadata(ctx, cfg.SAML.Providers()[0]); err == nil {
		t.Error("a publisher that never ends was waited for")
	}
}
