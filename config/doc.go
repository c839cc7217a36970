// Package config is what an operator may write: it turns the YAML of a gateway
// or a sidecar into a checked value with every default filled in, or into the
// list of everything that is wrong with it.
package config
