package handover

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
)

// What a service manager is told, sd_notify(3).
const (
	// Ready says that every listener answers.
	Ready = "READY=1"
	// Stopping says that the stop has begun.
	Stopping = "STOPPING=1"
)

// Notify tells the service manager that started this process how it is, if there is
// one that wants to know (NOTIFY_SOCKET).
func Notify(ctx context.Context, state string) error {
	address := os.Getenv("NOTIFY_SOCKET")
	if address == "" {
		return nil
	}
	if abstract, ok := strings.CutPrefix(address, "@"); ok {
		address = "\x00" + abstract
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unixgram", address)
	if err != nil {
		return fmt.Errorf("telling the service manager %q: %w", state, err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("telling the service manager %q: %w", state, err)
	}
	return nil
}
