// Package verify runs the verifiers of docs/backends, as they stand there, against
// assertions that the product signed and against forgeries. It is tests alone.
package verify
