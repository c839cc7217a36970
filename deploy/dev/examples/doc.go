// Package examples runs the examples of deploy/examples as their READMEs say: with a
// real Vault, real MariaDB and PostgreSQL servers, and real sidecars, each of which
// starts the example's own application.
//
// Everything is in its tests. What they run is what an operator copies: the scripts for
// Vault, the statements for the database, the sidecar's configuration and the command of
// the Compose file, with addresses and folders of this machine in place of a
// container's. Requests are made with the gateway's certificate, under load and while
// credentials change, Vault is away, or a lease is revoked; what the databases have
// logged says who was there and when.
package examples
