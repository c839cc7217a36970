package config

import _ "embed" // for the files below

// The annotated references are the one place where the meaning of each key is
// written for operators. The schemas and the table in docs/configuration.md
// are made from them and from the structs; tests hold all of these together.
var (
	//go:embed reference.yaml
	gatewayReference string
	//go:embed sidecar-reference.yaml
	sidecarReference string
	//go:embed provision-reference.yaml
	provisionReference string
	//go:embed secret-driver-reference.yaml
	secretDriverReference string
	//go:embed gateway.schema.json
	gatewaySchema string
	//go:embed sidecar.schema.json
	sidecarSchema string
	//go:embed provision.schema.json
	provisionSchema string
	//go:embed secret-driver.schema.json
	secretDriverSchema string
)

// GatewayReference returns an annotated file with every key of [Gateway], set
// to its default where it has one.
func GatewayReference() string {
	return gatewayReference
}

// SidecarReference returns an annotated file with every key of [Sidecar], set
// to its default where it has one.
func SidecarReference() string {
	return sidecarReference
}

// SecretDriverReference returns an annotated file with every key of
// [SecretDriver], set to its default where it has one.
func SecretDriverReference() string {
	return secretDriverReference
}

// GatewaySchema returns the JSON Schema (draft 2020-12) of a gateway's
// configuration, for editors and for checks before a deployment. It accepts
// everything that [LoadGateway] accepts; LoadGateway also refuses what a
// schema does not express, such as two routes with one host.
func GatewaySchema() []byte {
	return []byte(gatewaySchema)
}

// SidecarSchema returns the JSON Schema of a sidecar's configuration; see
// [GatewaySchema].
func SidecarSchema() []byte {
	return []byte(sidecarSchema)
}

// ProvisionReference returns an annotated file with every key of [Provision],
// set to its default where it has one.
func ProvisionReference() string {
	return provisionReference
}

// ProvisionSchema returns the JSON Schema of what Vault must hold; see
// [GatewaySchema].
func ProvisionSchema() []byte {
	return []byte(provisionSchema)
}

// SecretDriverSchema returns the JSON Schema of a secret driver's configuration;
// see [GatewaySchema].
func SecretDriverSchema() []byte {
	return []byte(secretDriverSchema)
}
