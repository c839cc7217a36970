// Package swarm tests the Docker plugin in a real Swarm: a real engine, a real
// Vault, and the product's own sidecar as the service whose tasks are introduced. Before, the
// engine runs a sidecar with its application in one container, from which everything is taken
// that an engine can take.
//
// The tests need root, Debian's docker.io and iproute2, and the build tag swarm;
// `make swarm` runs them, and `make test` does when it runs as root. They touch no
// engine that runs on the machine: the test binary starts itself again in network,
// mount and process namespaces of its own, in which everything else runs. When the
// tests end, however they end, the kernel ends every process in there, and with
// them go mounts and interfaces.
package swarm
