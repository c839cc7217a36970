// Package swarm tests in a real Docker engine, beside a real Vault: the Docker plugin in a
// Swarm, with the product's own sidecar as the service whose tasks are introduced; a
// sidecar with its application in one container, from which everything is taken that an
// engine can take; the stack of deploy/sidecar; and the container of an example, beside a
// real PostgreSQL, as its Dockerfile and its Compose file say, and the images of the others.
//
// Images cannot be pulled in there. The product's is made of its binary, and Debian's of the
// packages that this machine has installed; in an example's Dockerfile the line that would
// install packages adds them as files instead.
//
// The tests need root, the packages that the Makefile lists for them, and the build tag
// swarm; `make swarm` runs them, and `make test` does when it runs as root. They touch no
// engine that runs on the machine: the test binary starts itself again in network,
// mount and process namespaces of its own, in which everything else runs. When the
// tests end, however they end, the kernel ends every process in there, and with
// them go mounts and interfaces.
package swarm
