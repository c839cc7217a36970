package vaultpki

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
)

func TestZapWritesToSlogOneLevelLower(t *testing.T) {
	var buf bytes.Buffer
	handler := slog.NewTextHandler(&buf, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	log := newZap(t.Context(), slog.New(handler)).Named("maintenance").With(zap.String("b", "2"), zap.String("a", "1"))
	log.Debug("dropped: below slog's debug")
	log.Info("locks", zap.Strings("names", []string{"x", "y"}), zap.Duration("wait", time.Second))
	log.Warn("soon", zap.Int("n", 3))
	log.Error("could not", zap.Error(errors.New("cause")))
	want := strings.Join([]string{
		`level=DEBUG msg="certmagic: locks" a=1 b=2 names="[x y]" wait=1s`,
		`level=INFO msg="certmagic: soon" a=1 b=2 n=3`,
		`level=WARN msg="certmagic: could not" a=1 b=2 error=cause`,
		"",
	}, "\n")
	if diff := cmp.Diff(want, buf.String()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestZapAsksSlogWhetherALineIsWanted(t *testing.T) {
	log := newZap(t.Context(), slog.New(slog.NewTextHandler(&bytes.Buffer{}, nil)))
	for level, want := range map[string]bool{"debug": false, "info": false, "warn": true, "error": true} {
		parsed, err := zap.ParseAtomicLevel(level)
		if err != nil {
			t.Fatal(err)
		}
		if got := log.Core().Enabled(parsed.Level()); got != want {
			t.Errorf("%s is enabled: %t, expected %t", level, got, want)
		}
	}
}
