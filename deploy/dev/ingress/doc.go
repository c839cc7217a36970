// Package ingress puts real ingresses in front of a tool, with the very files of
// deploy/ingress, and has them ask a real gateway whether requests may pass. Its tests
// are people who are let in, and attackers who say more than they should.
//
// Every process is a child of a test, on loopback and on ports of its own.
package ingress
