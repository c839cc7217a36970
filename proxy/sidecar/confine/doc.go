// Package confine takes from this process what it does not need, for good: by
// no_new_privs, after which no program that it could start is given privileges, and by
// Landlock (landlock(7)), after which the kernel lets it open only the files that were
// listed, and bind and connect to only the TCP ports that were.
//
// It is for the guard beside a backend, which reads what comes from the network: whoever
// takes it over finds a process that can open a handful of files, start nothing, and reach
// Vault and its own application. Both are inherited by what a process starts, so that an
// application is not started by a confined process but by package launch.
//
// A kernel may know less than is asked for (files since Linux 5.13, ports since 6.7, abstract
// sockets and signals since 6.12), or nothing. [Apply] then does what can be done and
// [State.Missing] names the rest; with [Config].Required it is an error. Not confined, by no
// kernel that this package asks: UDP, Unix sockets that have a path, and what is open already.
//
// Its inputs are paths and ports of the operator; nothing hostile. It knows neither
// configuration nor Vault.
package confine
