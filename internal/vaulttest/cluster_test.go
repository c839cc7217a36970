package vaulttest

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// put and get go through one node of a cluster, until they work.
func (c *Cluster) put(t *testing.T, i int, value string) {
	t.Helper()
	err := poll(t.Context(), func() error {
		return c.Node(i).Call(t.Context(), "PUT", "kept/a", map[string]string{"value": value}, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (c *Cluster) get(t *testing.T, i int) string {
	t.Helper()
	var got secretAnswer
	if err := c.Node(i).Call(t.Context(), "GET", "kept/a", nil, &got); err != nil {
		t.Fatal(err)
	}
	return got.Data.Value
}

func (c *Cluster) leader(t *testing.T) int {
	t.Helper()
	leader, err := c.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return leader
}

func TestClusterSurvivesTheLossOfItsLeader(t *testing.T) {
	ctx := t.Context()
	c, err := StartCluster(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	if addresses := c.Addresses(); len(slices.Compact(slices.Sorted(slices.Values(addresses)))) != 3 {
		t.Errorf("addresses %q", addresses)
	}
	mount := map[string]any{"type": "kv", "options": map[string]string{"version": "1"}}
	if err := c.Node(0).Call(ctx, "POST", "sys/mounts/kept", mount, nil); err != nil {
		t.Fatal(err)
	}
	for i, value := range []string{"zero", "one", "two"} {
		c.put(t, i, value) // a standby passes it on
		if got := c.get(t, (i+1)%3); got != value {
			t.Errorf("written through node %d: %q, want %q", i, got, value)
		}
	}

	lost := c.leader(t)
	c.Kill(lost)
	c.Kill(lost) // a second time is harmless
	successor := c.leader(t)
	if successor == lost {
		t.Fatalf("node %d is dead and leads", lost)
	}
	c.put(t, successor, "without")
	if err := c.Restart(ctx, lost); err != nil {
		t.Fatal(err)
	}
	c.Kill(successor) // the one that came back counts again
	c.put(t, lost, "again")
	if err := c.Restart(ctx, successor); err != nil {
		t.Fatal(err)
	}
	if got := c.get(t, c.leader(t)); got != "again" {
		t.Errorf("after two losses: %q", got)
	}
	c.checkSealing(t)
}

// checkSealing seals all nodes and unseals them.
func (c *Cluster) checkSealing(t *testing.T) {
	t.Helper()
	if err := c.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range c.nodes {
		if status, err := c.Node(i).api.health(t.Context()); err != nil || status != 503 {
			t.Errorf("node %d: status %d, error %v, want 503", i, status, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Leader(ended); err == nil {
		t.Error("a sealed cluster has a leader")
	}
	if err := c.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := c.get(t, c.leader(t)); got != "again" {
		t.Errorf("after unsealing: %q", got)
	}
	var procs []*process
	for i := range c.nodes {
		procs = append(procs, c.Node(i).proc)
	}
	c.Stop()
	for i, proc := range procs {
		select {
		case <-proc.done:
		default:
			t.Errorf("Stop returned before node %d was reaped", i)
		}
	}
}

func TestPollReturnsWhatItSawLast(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	last := errors.New("not yet")
	err := poll(ctx, func() error { cancel(); return last })
	if !errors.Is(err, last) {
		t.Errorf("error %v, want %v", err, last)
	}
}
