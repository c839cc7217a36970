// Package swarm introduces the tasks of a Docker Swarm to Vault, in two ways.
//
// [Engine] stores one introduction as a Docker secret, through the engine's API.
// Such a secret has one value for all tasks that mount it, for ever: it is for
// services of one task that is never restarted.
//
// [Driver] is a secret provider: the engine asks it for the value of a secret
// each time that a task starts, so that each task has an introduction of its own.
// It also hands out fields of KV secrets. What it hands to whom is decided by its
// own allow-list, with nothing in it by default.
//
// It is not a login and it knows no configuration file. [Listen] makes the socket,
// which somebody else serves. What it keeps is in memory, for as long as the
// introductions live.
//
// Hostile or faulty inputs are the engine's requests (size, depth and alphabet are
// bounded; labels are written by whoever deploys), its answers, and Vault's. An
// engine hears a short public reason for a refusal, the log the whole one; neither
// holds a secret.
//
// Who may create services in a Swarm can give any service any name and label, and
// can read its secrets: against him the allow-list is no guard, and nothing is.
// It guards against mistakes, and keeps the roles apart that this Swarm has from
// those that Vault has.
//
// Specifications: Docker Engine API (secrets), Docker plugin API, interface
// docker.secretprovider/1.0.
package swarm
