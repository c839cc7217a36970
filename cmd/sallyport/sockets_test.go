package main

import (
	"net"
	"testing"
)

func TestTheAdminSocketStaysInside(t *testing.T) {
	for _, test := range []struct {
		configured, held string
		refused          bool
	}{
		{"127.0.0.1:9090", "127.0.0.1:9090", false},
		{"127.0.0.1:9090", "[::1]:9091", false},
		{"localhost:9090", "0.0.0.0:9090", true},
		{"127.0.0.1:9090", "0.0.0.0:9090", true},
		{"127.0.0.1:9090", "[::]:443", true},
		{"[::1]:9090", "192.0.2.7:9090", true},
		{":9090", "[::]:9090", false}, // unsafe_admin_not_loopback
		{"192.0.2.7:9090", "192.0.2.7:9090", false},
	} {
		held, err := net.ResolveTCPAddr("tcp", test.held)
		if err != nil {
			t.Fatal(err)
		}
		if err := keepsInside(test.configured, held); (err != nil) != test.refused {
			t.Errorf("%s held as %s: %v", test.configured, test.held, err)
		}
	}
}
