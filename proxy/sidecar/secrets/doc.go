// Package secrets gives an unmodified application what it needs from Vault, in the form
// that it knows: files, environment variables or its standard input, rendered from
// templates in the language of consul-template, and keeps all of it fresh.
//
// [New] renders everything once, or fails and leaves nothing behind: an application never
// starts half-configured. [Secrets.Run] then renews leases, replaces those that near their
// end before they end, reads again what may have changed, and tells the application of
// what changed by the action that its file names. Credentials that were replaced stay
// valid until the application has moved on.
//
// Of consul-template this package uses the language alone: its template engine and the
// types that templates see. What templates ask for is fetched here, through the session
// that the process has anyway, for consul-template's own fetching logs in a second time,
// reads its settings from the environment, replaces a lease after its end and not before
// it, and revokes none. Its functions that reach anything but Vault, such as file, key and
// plugin, are refused: see [Functions].
//
// Hostile inputs: what Vault answers, the folder in which files are put, and the output of
// commands. Templates are the operator's. No secret gets into an error, a log line, or a
// file that is not in memory.
//
// Specifications: the consul-template templating language,
// https://github.com/hashicorp/consul-template/blob/main/docs/templating-language.md; Vault's
// leases, https://developer.hashicorp.com/vault/docs/concepts/lease.
package secrets
