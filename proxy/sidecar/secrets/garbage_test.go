package secrets_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
)

// oracle stands in for a Vault that says what a test has it say.
type oracle struct {
	do      func(ctx context.Context, call secrets.Call) (*secrets.Answer, error)
	session func() secrets.Session // nil for one that lives for ever
}

func (o oracle) Do(ctx context.Context, call secrets.Call) (*secrets.Answer, error) {
	return o.do(ctx, call)
}

func (o oracle) Session() secrets.Session {
	if o.session == nil {
		return secrets.Session{}
	}
	return o.session()
}

// certificateUntil is the answer of an engine that issues one that ends then.
func certificateUntil(t *testing.T, end time.Time) *secrets.Answer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.Add(-time.Hour), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &secrets.Answer{Data: map[string]any{
		"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), "private_key": "key",
		"expiration": json.Number(strconv.FormatInt(end.Unix(), 10)),
	}}
}

// object is a text of JSON, as the client of Vault reads it.
func object(t *testing.T, text string) (data map[string]any) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&data); err != nil {
		t.Fatal(err)
	}
	return data
}

// TestACertificateThatHasEndedIsNone: the clocks of this machine and of Vault's differ by more
// than its life. It is not rendered, and Vault is not asked for others without a pause.
func TestACertificateThatHasEndedIsNone(t *testing.T) {
	const most = 100
	for name, test := range map[string]struct {
		life     time.Duration
		template string
	}{
		"has ended":              {-time.Minute, `{{ with pkiCert "pki/issue/app" }}{{ .Cert }}{{ end }}`},
		"has ended, as a secret": {-time.Minute, `{{ with secret "pki/issue/app" "ttl=1m" }}{{ .Data.certificate }}{{ end }}`},
		"ends at once":           {time.Millisecond, `{{ with pkiCert "pki/issue/app" }}{{ .Cert }}{{ end }}`},
		"ends soon, as a secret": {time.Second, `{{ with secret "pki/issue/app" "ttl=1m" }}{{ .Data.certificate }}{{ end }}`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var issued atomic.Int32
				good := certificateUntil(t, time.Now().Add(time.Minute))
				vault := oracle{do: func(_ context.Context, call secrets.Call) (*secrets.Answer, error) {
					if strings.HasPrefix(call.Path, "sys/internal/ui/mounts/") {
						return &secrets.Answer{Data: map[string]any{"path": "pki/", "type": "pki"}}, nil
					}
					switch n := issued.Add(1); {
					case n == 1:
						return good, nil
					case n > 2*most:
						return nil, refusal(secrets.Away, "it has had enough")
					}
					return certificateUntil(t, time.Now().Add(test.life)), nil
				}}
				s, err := secrets.New(t.Context(), secrets.Config{
					Vault: vault, App: &app{}, Files: []secrets.File{{Path: filepath.Join(memory(t), "a"), Template: test.template}},
				})
				if err != nil {
					t.Fatal(err)
				}
				stop := begin(t, s)
				defer stop()
				pass(2 * time.Minute)
				if n := issued.Load(); n > most {
					t.Errorf("%d certificates were issued in two minutes", n)
				}
				if state := s.State(); test.life < 0 && (len(state.Faults) != 1 || !strings.Contains(state.Faults[0], "clock")) {
					t.Errorf("faults %q, expected one about clocks", state.Faults)
				}
			})
		})
	}
}

// TestAMountThatIsNotNamedIsAFault, and not one in which every path is.
func TestAMountThatIsNotNamedIsAFault(t *testing.T) {
	for name, data := range map[string]map[string]any{
		"nothing":       {},
		"another mount": {"path": "other/", "type": "kv"},
		"a number":      {"path": 5},
	} {
		t.Run(name, func(t *testing.T) {
			vault := oracle{do: func(_ context.Context, call secrets.Call) (*secrets.Answer, error) {
				if strings.HasPrefix(call.Path, "sys/internal/ui/mounts/") {
					return &secrets.Answer{Data: data}, nil
				}
				return nil, refusal(secrets.Absent, "nothing is here")
			}}
			_, err := secrets.New(t.Context(), secrets.Config{
				Vault: vault, Files: []secrets.File{{Path: filepath.Join(memory(t), "a"), Template: database}},
			})
			if err == nil || !strings.Contains(err.Error(), "does not say what is mounted") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestALeaseWithoutALifeIsRefused: to read it again would give other credentials each time,
// which nobody revokes.
func TestALeaseWithoutALifeIsRefused(t *testing.T) {
	for _, life := range []time.Duration{0, -time.Second} {
		vault := oracle{do: func(_ context.Context, call secrets.Call) (*secrets.Answer, error) {
			if strings.HasPrefix(call.Path, "sys/internal/ui/mounts/") {
				return &secrets.Answer{Data: map[string]any{"path": "database/", "type": "database"}}, nil
			}
			return &secrets.Answer{LeaseID: "database/creds/notes/1", Lease: life, Data: map[string]any{"username": "user-1"}}, nil
		}}
		_, err := secrets.New(t.Context(), secrets.Config{
			Vault: vault, Files: []secrets.File{{Path: filepath.Join(memory(t), "a"), Template: database}},
		})
		if err == nil || !strings.Contains(err.Error(), "no life") {
			t.Errorf("a lease of %s: error %v", life, err)
		}
	}
}

// TestNoNumberOfVaultsIsTooLarge: what would overflow is taken for very long.
func TestNoNumberOfVaultsIsTooLarge(t *testing.T) {
	const most = 100
	for name, data := range map[string]string{
		"a static role": `"rotation_period": 1, "ttl": 9223372036`,
		"a secret id":   `"secret_id": "id", "secret_id_ttl": 18446744074`, // a fraction of a second, modulo 2^64 nanoseconds
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int32
				vault := oracle{do: func(_ context.Context, call secrets.Call) (*secrets.Answer, error) {
					switch {
					case strings.HasPrefix(call.Path, "sys/internal/ui/mounts/"):
						return &secrets.Answer{Data: map[string]any{"path": "database/", "type": "database"}}, nil
					case asked.Add(1) > most:
						return nil, refusal(secrets.Away, "it has had enough")
					}
					return &secrets.Answer{Data: object(t, `{"username": "user", `+data+`}`)}, nil
				}}
				s, err := secrets.New(t.Context(), secrets.Config{
					Vault: vault, App: &app{}, Files: []secrets.File{{Path: filepath.Join(memory(t), "a"), Template: database}},
				})
				if err != nil {
					t.Fatal(err)
				}
				stop := begin(t, s)
				defer stop()
				pass(10 * time.Minute)
				if n := asked.Load(); n > 12 {
					t.Errorf("asked %d times in ten minutes", n)
				}
			})
		})
	}
}
