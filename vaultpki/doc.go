// Package vaultpki is the identity of the machine: it turns a response-wrapped
// introduction into a Vault token, the token into secrets and certificates, and
// the certificates into ready [crypto/tls.Config] values.
//
// The way is always the same. [Login] proves the process to Vault by a [Method].
// For an [AppRole] it reads a wrapping token from a file, asks Vault where that
// token comes from, unwraps it exactly once and logs in. [Client.Run] keeps the
// process logged in: it renews the token, and gets another one when that ends.
// [Client.ReadKV] reads KV version 2. [NewCertificates] makes keys in this
// process, has Vault sign them and holds the certificates in memory;
// [Certificates.Run] renews them when they are due and follows the roots of the
// PKI mount. [Certificates.EdgeTLS], [Certificates.GuardTLS] and
// [Certificates.DialTLS] are the three ways to use them, and [Certificates.Shown]
// holds on to the client certificate of one moment. [Certificates.CertifyKey] has a
// key of the caller's certified.
//
// It is not a secret store, it knows no SAML, no HTTP routes and no
// configuration file. It writes two files: that of the introduction, which it
// empties, and that of the [Heir], the credential of the next login, which must
// be in memory; a lock lies beside the heir. It reads four more, if it is told
// to: the CA of Vault, the pair of certificate and key shown to Vault, the token
// of a [JWT], and the token that an agent keeps for a [TokenFile].
//
// Hostile or faulty inputs are the token file, everything that the other end of
// the Vault connection says (it may be slow, sealed, lying, huge, or somebody
// else), and the certificates of peers. No environment variable has any
// influence: what Vault's own client library would read from there is
// overwritten or cleared.
//
// One-time operations are sent once. A wrapping token and a single-use SecretID
// that were already spent are the only trace that an interceptor leaves, so a
// retry by a client library would forge the alarm, and a lost answer is reported
// as what it is: ambiguous. Calls that may be repeated are repeated by this
// package alone, with jittered backoff.
//
// Every failure is an [*Error] with a [Reason] that a caller can branch on, a
// place, and a hint that says what to do. No error and no log line holds a
// secret.
//
// Specifications: Vault HTTP API (AppRole, response wrapping, KV version 2,
// PKI); RFC 5280 and RFC 6125 for certificates; RFC 8555 (ACME) for those of
// browsers, if so wanted; RFC 8446 for TLS 1.3; SPIFFE-ID for the names of
// workloads.
package vaultpki
