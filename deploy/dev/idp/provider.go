package idp

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/crewjam/saml"
)

// maxMetadata is far above what a service provider describes itself with.
const maxMetadata = 1 << 20

// MetadataSource fetches the service provider's metadata. It is called at every
// sign-in, concurrently: the gateway may start after the IdP, and may change.
type MetadataSource func(ctx context.Context) ([]byte, error)

// FromFile reads the metadata from a file.
func FromFile(path string) MetadataSource {
	return func(context.Context) ([]byte, error) { return os.ReadFile(path) }
}

// FromURL fetches the metadata from an address, with client.
func FromURL(client *http.Client, address string) MetadataSource {
	return func(ctx context.Context) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, fmt.Errorf("asking %q: %w", address, err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err // an *url.Error, which names the address
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("asking %s: status %s", address, resp.Status)
		}
		return io.ReadAll(io.LimitReader(resp.Body, maxMetadata))
	}
}

// providers is the one service provider that this IdP knows, in the shape that
// crewjam asks for.
type providers struct {
	source MetadataSource
}

// GetServiceProvider implements [saml.ServiceProviderProvider].
func (p providers) GetServiceProvider(r *http.Request, id string) (*saml.EntityDescriptor, error) {
	descriptor, err := p.get(r.Context())
	if err != nil {
		return nil, err
	}
	if descriptor.EntityID != id {
		// crewjam compares with ==, so this error cannot be wrapped.
		return nil, os.ErrNotExist
	}
	return descriptor, nil
}

// get reads the service provider's metadata.
func (p providers) get(ctx context.Context) (*saml.EntityDescriptor, error) {
	data, err := p.source(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the service provider's metadata: %w", err)
	}
	var descriptor saml.EntityDescriptor
	if err := xml.Unmarshal(data, &descriptor); err != nil {
		return nil, fmt.Errorf("parsing the service provider's metadata: %w", err)
	}
	return &descriptor, nil
}

// signsRequests says whether the provider's metadata promises that its requests are
// signed (saml-metadata 2.4.4).
func signsRequests(descriptor *saml.EntityDescriptor) bool {
	for _, role := range descriptor.SPSSODescriptors {
		if role.AuthnRequestsSigned != nil && *role.AuthnRequestsSigned {
			return true
		}
	}
	return false
}

// serviceName is what the login page calls the service: the host in its entity ID
// when that is a URL, else the ID itself.
func serviceName(entityID string) string {
	if u, err := url.Parse(entityID); err == nil && u.Host != "" {
		return u.Host
	}
	return entityID
}
