package vaultpki_test

import (
	"errors"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/vaultpki"
)

// clientOf returns a Client with the given token.
func clientOf(t *testing.T, token string) *vaultpki.Client {
	t.Helper()
	client, err := vaultpki.WithToken(vaultpki.Server{Address: vault.Address, CAFile: vault.CAFile}, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// networks parses CIDRs.
func networks(t *testing.T, texts ...string) []netip.Prefix {
	t.Helper()
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

func TestSecretIDIsBoundToItsNetworks(t *testing.T) {
	for name, test := range map[string]struct {
		cidrs  []netip.Prefix
		reason vaultpki.Reason // ReasonUnknown: the login succeeds
	}{
		"this network":        {networks(t, "127.0.0.0/8"), vaultpki.ReasonUnknown},
		"one of two networks": {networks(t, "192.0.2.0/24", "127.0.0.1/32"), vaultpki.ReasonUnknown},
		"another network":     {networks(t, "192.0.2.0/24"), vaultpki.ReasonLoginRefused},
	} {
		t.Run(name, func(t *testing.T) {
			wrapped, err := clientOf(t, vault.RootToken).Mint(t.Context(), vaultpki.Minting{Role: gatewayRole, CIDRs: test.cidrs})
			if err != nil {
				t.Fatal(err)
			}
			_, err = vaultpki.Login(t.Context(), configFor(gatewayRole, tokenFile(t, wrapped.Token)))
			if vaultpki.ReasonOf(err) != test.reason {
				t.Fatalf("login: %v, expected reason %s", err, test.reason)
			}
		})
	}
}

// TestMetadataIsInVaultsView unwraps by the bare API: what Vault joins to every
// use of the token that the SecretID logs in for is what the deployer said.
func TestMetadataIsInVaultsView(t *testing.T) {
	metadata := map[string]string{"service": "stack_gateway", "odd": `quote " and \ and ü`}
	wrapped, err := clientOf(t, vault.RootToken).Mint(t.Context(), vaultpki.Minting{Role: gatewayRole, Metadata: metadata})
	if err != nil {
		t.Fatal(err)
	}
	var unwrapped struct {
		Data struct {
			SecretID string `json:"secret_id"`
		} `json:"data"`
	}
	if err := vault.Call(t.Context(), "PUT", "sys/wrapping/unwrap", map[string]string{"token": wrapped.Token}, &unwrapped); err != nil {
		t.Fatal(err)
	}
	var login struct {
		Auth struct {
			Metadata map[string]string `json:"metadata"`
		} `json:"auth"`
	}
	body := map[string]string{"role_id": roleID(gatewayRole), "secret_id": unwrapped.Data.SecretID}
	if err := vault.Call(t.Context(), "PUT", "auth/approle/login", body, &login); err != nil {
		t.Fatal(err)
	}
	want := maps.Clone(metadata)
	want["role_name"] = gatewayRole // Vault's own
	if diff := cmp.Diff(want, login.Auth.Metadata); diff != "" {
		t.Errorf("metadata of the token (-minted +logged in):\n%s", diff)
	}
}

func TestFaultyMintingIsRefusedBeforeVaultIsAsked(t *testing.T) {
	loose := netip.PrefixFrom(netip.MustParseAddr("10.1.2.3"), 8)
	_, err := clientOf(t, "hvs.not-used").Mint(t.Context(), vaultpki.Minting{Role: "app", CIDRs: []netip.Prefix{loose, {}}})
	if vaultpki.ReasonOf(err) != vaultpki.ReasonConfig || !strings.Contains(err.Error(), `network "10.1.2.3/8": expected one such as "10.0.0.0/8"`) {
		t.Errorf("error %v, expected the network named, and the one that was meant", err)
	}
}

func TestUndeliveredIntroductionIsRevoked(t *testing.T) {
	root := clientOf(t, vault.RootToken)
	wrapped, err := root.Mint(t.Context(), vaultpki.Minting{Role: gatewayRole})
	if err != nil {
		t.Fatal(err)
	}
	powerless := clientOf(t, tokenOf(t, gatewayRole))
	err = powerless.RevokeWrapped(t.Context(), wrapped)
	if vaultpki.ReasonOf(err) != vaultpki.ReasonDenied || strings.Contains(err.Error(), wrapped.Accessor) {
		t.Errorf("without the power: %v, expected denied, and no accessor in it", err)
	}
	if err := root.RevokeWrapped(t.Context(), wrapped); err != nil {
		t.Fatal(err)
	}
	_, err = vaultpki.Login(t.Context(), configFor(gatewayRole, tokenFile(t, wrapped.Token)))
	if vaultpki.ReasonOf(err) != vaultpki.ReasonIntercepted {
		t.Errorf("login with what was revoked: %v, expected the interception alarm", err)
	}
}

func TestWrappedSecretIsReadByWhoeverUnwraps(t *testing.T) {
	putKV(t, "secret/data/wrapped/app", map[string]any{"password": "c4nary"})
	wrapped, err := clientOf(t, vault.RootToken).WrapKV(t.Context(), "secret", "wrapped/app", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if wrapped.CreationPath != "secret/data/wrapped/app" || wrapped.TTL != time.Minute || len(wrapped.AccessorHash()) != 12 {
		t.Errorf("wrapped %+v, accessor hash %q", wrapped, wrapped.AccessorHash())
	}
	var answer struct {
		Data struct {
			Data map[string]any `json:"data"`
		} `json:"data"`
	}
	if err := vault.Call(t.Context(), "PUT", "sys/wrapping/unwrap", map[string]string{"token": wrapped.Token}, &answer); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"password": "c4nary"}, answer.Data.Data); diff != "" {
		t.Errorf("unwrapped (-want +got):\n%s", diff)
	}
}

func TestSecretThatCannotBeWrappedIsNotDelivered(t *testing.T) {
	for name, test := range map[string]struct {
		token, path string
		ttl         time.Duration
		reason      vaultpki.Reason
	}{
		"absent":    {vault.RootToken, "wrapped/absent", time.Minute, vaultpki.ReasonMissingSecret},
		"forbidden": {tokenOf(t, sidecarRole), "wrapped/app", time.Minute, vaultpki.ReasonDenied},
		"bad path":  {vault.RootToken, "../sys/x", time.Minute, vaultpki.ReasonConfig},
		"no ttl":    {vault.RootToken, "wrapped/app", 0, vaultpki.ReasonConfig},
	} {
		t.Run(name, func(t *testing.T) {
			wrapped, err := clientOf(t, test.token).WrapKV(t.Context(), "secret", test.path, test.ttl)
			var e *vaultpki.Error
			if !errors.As(err, &e) || e.Reason != test.reason || wrapped.Token != "" {
				t.Errorf("wrapped %v, error %v; expected %s", wrapped, err, test.reason)
			}
		})
	}
}
