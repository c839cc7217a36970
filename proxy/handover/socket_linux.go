package handover

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// listenBeside lets others listen on the address too.
func listenBeside(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return fmt.Errorf("sharing the address with other processes (SO_REUSEPORT): %w", err)
	}
	return nil
}

// refuseNew has the kernel drop, unseen, each packet that would begin a connection.
// Everything else passes, so that what was begun comes to be. Neither a backlog of
// zero nor shutdown(2) does this: the one still takes a connection, the other resets
// those that wait.
func refuseNew(fd int) error {
	const (
		tcpFlags = 13 // in the header of TCP (RFC 9293 section 3.1), where a filter begins to read
		syn, ack = 0x02, 0x10
		keep     = 1 << 18 // no packet is longer
	)
	program := [...]unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: tcpFlags},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: syn | ack},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: syn, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: keep},
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &filter); err != nil {
		return fmt.Errorf("refusing new connections (SO_ATTACH_FILTER): %w", err)
	}
	return nil
}
