package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/upstream"
)

// upstreamState is one upstream of a route in the status.
type upstreamState struct {
	Route   string    `json:"route"`
	Address string    `json:"address"`
	State   string    `json:"state"` // up, down, or draining
	Since   time.Time `json:"since"`
	// InFlight is how many requests it has under way.
	InFlight int64 `json:"requests_in_flight"`
	// Cause is why it is down.
	Cause string `json:"cause,omitempty"`
}

// upstreamStates lists them in the order of the configuration.
func upstreamStates(routes []proxy.RouteUpstreams) []upstreamState {
	var all []upstreamState
	for _, route := range routes {
		for _, up := range route.Upstreams {
			all = append(all, upstreamState{
				Route: route.Route, Address: up.Address, State: stateOf(up), Since: up.Since.UTC(), InFlight: up.InFlight, Cause: up.Cause,
			})
		}
	}
	return all
}

func stateOf(up upstream.Status) string {
	switch {
	case up.Draining:
		return "draining"
	case up.Healthy:
		return "up"
	}
	return "down"
}

// writeUpstreams writes those of a status for a person.
func writeUpstreams(w io.Writer, doc statusDocument) error {
	if len(doc.Upstreams) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "\nROUTE\tUPSTREAM\tSTATE\tFOR\tREQUESTS\tCAUSE")
	for _, up := range doc.Upstreams {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\n", up.Route, up.Address, up.State, readable(doc.Now.Sub(up.Since)), up.InFlight, orDash(up.Cause))
	}
	return table.Flush()
}
