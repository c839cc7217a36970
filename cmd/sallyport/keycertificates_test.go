package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// certifyingVault signs certificates of a life, or fails.
type certifyingVault struct {
	life time.Duration

	mu     sync.Mutex
	signed map[string]int // by key
	fault  error
}

func (v *certifyingVault) sign(_ context.Context, key assertionKey, _ bool) ([]*x509.Certificate, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fault != nil {
		return nil, v.fault
	}
	v.signed[key.id]++
	now := time.Now()
	return []*x509.Certificate{{SerialNumber: big.NewInt(int64(v.signed[key.id])), NotBefore: now, NotAfter: now.Add(v.life)}}, nil
}

func (v *certifyingVault) fail(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fault = err
}

func (v *certifyingVault) count(id string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.signed[id]
}

// holder is keyCertificates beside such a Vault, with their log.
type holder struct {
	*keyCertificates
	vault   *certifyingVault
	log     buffer
	renewed atomic.Int64
}

func newHolder(t *testing.T, ids ...string) *holder {
	t.Helper()
	h := &holder{vault: &certifyingVault{life: 24 * time.Hour, signed: map[string]int{}}}
	var keys assertionKeys
	for _, id := range ids {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, assertionKey{id, key})
	}
	h.keyCertificates = &keyCertificates{
		sign: h.vault.sign, inUse: func() assertionKeys { return keys }, name: "assertion.internal",
		renewed: func(context.Context) error { h.renewed.Add(1); return nil },
		log:     slog.New(slog.NewTextHandler(&h.log, nil)), wakeup: make(chan struct{}, 1), held: map[string]*keyCertificate{},
	}
	if err := h.certify(t.Context(), keys, true); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h
}

// after lets the bubble's clock run, and everybody come to rest.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestKeyCertificatesAreRenewedAtHalfOfTheirLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHolder(t, "current", "next")
		first := h.chain("current")[0]
		after(11*time.Hour + 59*time.Minute)
		if h.vault.count("current") != 1 || h.renewed.Load() != 0 {
			t.Errorf("renewed %d times before half of the life", h.vault.count("current"))
		}
		after(90 * time.Minute)
		if h.vault.count("current") != 2 || h.vault.count("next") != 2 || h.renewed.Load() == 0 || h.chain("current")[0] == first {
			t.Errorf("signed %d and %d times, put in use %d times", h.vault.count("current"), h.vault.count("next"), h.renewed.Load())
		}
		h.renewAll()
		after(time.Second)
		if h.vault.count("current") != 3 || h.vault.count("next") != 3 {
			t.Error("a change of the authority has nothing renewed")
		}
	})
}

// While Vault is away what is held goes on; it is tried again at least once a minute,
// and louder the less time is left.
func TestKeyCertificatesOutlastVault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHolder(t, "current")
		first := h.chain("current")[0]
		h.vault.fail(errors.New("vault is away"))
		after(13*time.Hour + 30*time.Minute)
		if h.chain("current")[0] != first || h.renewed.Load() != 0 {
			t.Error("what was held is not held any more")
		}
		all := h.artefacts()
		if len(all) != 1 || !strings.Contains(all[0].Fault, "vault is away") || !all[0].Hard || !all[0].Until.Equal(first.NotAfter) {
			t.Errorf("status %+v", all)
		}
		if text := h.log.String(); strings.Count(text, "level=WARN") < 10 || strings.Contains(text, "level=ERROR") || !strings.Contains(text, "key_id=current") {
			t.Errorf("log with more than a quarter of the life left:\n%.500s", text)
		}
		after(6 * time.Hour)
		if !strings.Contains(h.log.String(), "level=ERROR") {
			t.Error("less than a quarter of the life is left, and it is as quiet as before")
		}
		after(6 * time.Hour)
		h.vault.fail(nil)
		h.wake()
		after(time.Second)
		if h.chain("current")[0] == first || h.renewed.Load() != 1 || h.artefacts()[0].Fault != "" {
			t.Error("nothing is renewed when Vault is back")
		}
	})
}

func TestKeysWithoutACertificateAreNotPutInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHolder(t, "current")
		h.vault.fail(errors.New("permission denied"))
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		err = h.certify(t.Context(), assertionKeys{{"other", key}}, false)
		if err == nil || !strings.Contains(err.Error(), "assertion key other: permission denied") {
			t.Errorf("error %v", err)
		}
		h.vault.fail(nil)
		if err := h.certify(t.Context(), assertionKeys{{"other", key}}, false); err != nil || h.chain("other") == nil {
			t.Errorf("error %v", err)
		}
		after(25 * time.Hour) // it was not put in use, and is let go of
		if h.chain("other") != nil || h.chain("current") == nil {
			t.Error("certificates of keys that nobody has are kept, or others are not")
		}
	})
}
