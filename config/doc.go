// Package config is what an operator may write. It turns the YAML of a gateway,
// of a sidecar, of a secret driver, or of what Vault must hold, into a checked
// value with every default filled in, or into the list of everything that is
// wrong with it, each fault with its line, its key, what was found and what was
// expected.
//
// # Where a setting comes from
//
// Later wins:
//
//  1. the default, which is written beside each field and in the references
//     that [GatewayReference], [SidecarReference], [SecretDriverReference] and
//     [ProvisionReference]
//     return;
//  2. the file, or the field "config" of a secret in Vault;
//  3. an environment variable;
//  4. a flag.
//
// This package is about the first two. No key of the file can be set by a
// variable or a flag as well: those exist only for what must be known before a
// file from Vault can be read, namely where the file is, where Vault is, and
// how to introduce oneself to it. Nothing in a file refers to the environment,
// so that what a reviewer reads is what runs.
//
// # What it is not
//
// It does not open files, ask Vault or look at the network: the caller brings
// the bytes. It knows nothing of the domain either. Names of attributes,
// groups and peers stay text, and their owners judge them further. It imports
// no other package of this project, and is the only one that knows YAML.
//
// # Strictness
//
// A file is written by people who can make mistakes, and may be replaced by
// someone who wants one to be overlooked. So nothing is ignored: unknown keys,
// keys that stand twice, a second document, a value of another type, empty
// values, anchors, aliases, merge keys and tags are faults. Numbers are plain
// decimal, and names are compared as written: nothing is lowered, trimmed or
// otherwise repaired. Before the parser sees a byte, the size of the file, the
// length of its lines, the number of its tokens and the depth of its brackets
// are limited.
//
// Routes that are left open by omission do not exist: a route without an allow
// lets nobody in. A key that loosens the guard begins with "unsafe_", and
// Warnings lists each one that is on.
//
// # Secrets
//
// No key takes a secret, so what is loaded may be logged. Because
// people paste in the wrong place, a fault does not repeat what looks like a
// credential.
//
// The syntax is the subset of YAML 1.2.2 that is described above; hosts follow
// RFC 1035 section 2.3.1 and RFC 1123 section 2.1.
package config
