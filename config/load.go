package config

import (
	"github.com/goccy/go-yaml"
)

// LoadGateway reads the configuration of a gateway. source is a file name or a
// place in Vault; it only appears in messages. The error is a [*Faults] with
// everything that is wrong.
func LoadGateway(source string, text []byte) (*Gateway, error) {
	gateway := defaultGateway()
	if err := yaml.UnmarshalWithOptions(text, &gateway, yaml.Strict()); err != nil {
		return nil, &Faults{Source: source, List: []Fault{{Line: 1, Value: "no configuration", Expected: err.Error()}}}
	}
	gateway.complete()
	return &gateway, nil
}

// LoadSidecar reads the configuration of a sidecar; see [LoadGateway].
func LoadSidecar(source string, text []byte) (*Sidecar, error) {
	sidecar := defaultSidecar()
	if err := yaml.UnmarshalWithOptions(text, &sidecar, yaml.Strict()); err != nil {
		return nil, &Faults{Source: source, List: []Fault{{Line: 1, Value: "no configuration", Expected: err.Error()}}}
	}
	sidecar.complete()
	return &sidecar, nil
}
