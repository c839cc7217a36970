// Package handover is how listening sockets go from one process of ours to the
// next, so that an upgrade costs nobody a connection.
//
// There are two ways. systemd holds the socket and gives it to each process in
// turn ([Inherited]; sd_listen_fds(3)): what arrives between two of them waits in
// the socket's queue. Or old and new listen side by side on one address
// (SO_REUSEPORT, socket(7)): then each has a queue of its own, and the one that
// stops has to empty its queue before it closes the socket, since the kernel
// resets what is left in it ([Listener.Quiet]).
//
// It speaks no TLS and no HTTP, and decides nothing about who connects. Its input
// is the environment of the process, which whoever starts it vouches for; strangers
// only reach the sockets.
package handover
