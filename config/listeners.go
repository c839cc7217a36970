package config

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// listeners reports an address that two of the listeners at these keys would have,
// which the start of the process would find out too late: its introduction is used then.
func (c *collector) listeners(at []string, addresses []string) {
	for i := range at {
		for j := range i {
			if meet(addresses[i], addresses[j]) {
				c.refuse(at[i], fmt.Sprintf("an address of its own; %s is at the same port", c.saidAt(at[j])))
				break
			}
		}
	}
}

// saidAt names a key, with its line if it stands in the file.
func (c *collector) saidAt(key string) string {
	if !c.isGiven(key) {
		return key
	}
	return fmt.Sprintf("%s on line %d", key, c.line(key))
}

// meet reports whether one process cannot listen at both addresses. What is no address
// meets none.
func meet(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB {
		return false
	}
	return strings.EqualFold(hostA, hostB) || everywhere(hostA) || everywhere(hostB)
}

// everywhere reports a host that stands for every address of the machine.
func everywhere(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}
