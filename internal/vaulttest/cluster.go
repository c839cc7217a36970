package vaulttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// clusterSize is the least that survives the loss of a node.
const clusterSize = 3

// Cluster is three running Vaults with one Raft storage, unsealed with one key.
// Nodes are counted from 0. Its methods must not be called concurrently, except
// that any number of clients may use the servers.
type Cluster struct {
	CAFile    string // PEM file with the CA of all nodes' certificates
	RootToken string // a token that may do everything
	Dir       string // holds a folder for each node

	nodes []*Server
}

// StartCluster runs three Vaults in dir, which must be empty or absent, and
// returns once all of them are unsealed and vote: from then on the cluster
// survives the loss of one. The caller must call [Cluster.Stop].
func StartCluster(ctx context.Context, dir string) (*Cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*startTimeout)
	defer cancel()
	c, err := newCluster(ctx, dir)
	if err != nil {
		return nil, err
	}
	if err := c.launch(ctx); err != nil {
		c.Stop()
		return nil, fmt.Errorf("starting a cluster: %w", err)
	}
	return c, nil
}

// newCluster writes everything that the nodes need; nothing runs yet.
func newCluster(ctx context.Context, dir string) (*Cluster, error) {
	binary, err := Binary()
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, fmt.Errorf("resolving %q: %w", dir, err)
	}
	c := &Cluster{Dir: dir, CAFile: filepath.Join(dir, "ca.pem")}
	var addresses []string
	for i := range clusterSize {
		addr, err := freeAddr(ctx)
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, "https://"+addr)
		home := filepath.Join(dir, fmt.Sprintf("node-%d", i))
		if err := os.MkdirAll(filepath.Join(home, "data"), 0o700); err != nil {
			return nil, fmt.Errorf("making the state folder: %w", err)
		}
		c.nodes = append(c.nodes, &Server{
			Address: addresses[i], CAFile: c.CAFile, Dir: home, LogFile: filepath.Join(home, "vault.log"),
			binary: binary, node: node{id: fmt.Sprintf("node-%d", i)},
		})
	}
	if err := writeTLS(dir, "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("making the servers' certificate: %w", err)
	}
	for _, s := range c.nodes {
		s.node.peers = addresses
		if err := s.prepare(ctx); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// launch starts the nodes: the first is initialised, the others join it.
func (c *Cluster) launch(ctx context.Context) error {
	first := c.nodes[0]
	for _, s := range c.nodes[1:] {
		if err := s.execute(ctx); err != nil {
			return err
		}
	}
	if err := first.launch(ctx); err != nil {
		return err
	}
	c.RootToken = first.RootToken
	if _, err := c.Leader(ctx); err != nil {
		return err
	}
	// By default a node votes only after ten seconds of good conduct.
	conduct := map[string]string{"server_stabilization_time": "500ms"}
	if err := first.Call(ctx, "POST", "sys/storage/raft/autopilot/configuration", conduct, nil); err != nil {
		return err
	}
	for _, s := range c.nodes[1:] {
		s.key, s.RootToken = first.key, first.RootToken
		if err := s.join(ctx); err != nil {
			return err
		}
	}
	return c.awaitVoters(ctx)
}

// join unseals a node once it has found its cluster.
func (s *Server) join(ctx context.Context) error {
	err := poll(ctx, func() error {
		if status, err := s.api.health(ctx); err != nil || status == statusFresh {
			return errors.Join(err, fmt.Errorf("health status %d", status))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("waiting for %s to find its cluster: %w", s.node.id, err)
	}
	return s.Unseal(ctx)
}

// awaitVoters waits until the active node counts on all.
func (c *Cluster) awaitVoters(ctx context.Context) error {
	err := poll(ctx, func() error {
		var answer struct {
			Data struct {
				Config struct {
					Servers []struct{ Voter bool }
				}
			}
		}
		if err := c.nodes[0].Call(ctx, "GET", "sys/storage/raft/configuration", nil, &answer); err != nil {
			return err
		}
		voters := 0
		for _, server := range answer.Data.Config.Servers {
			if server.Voter {
				voters++
			}
		}
		if voters != clusterSize {
			return fmt.Errorf("%d of %d nodes vote", voters, clusterSize)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("waiting for voters: %w", err)
	}
	return nil
}

// Node returns one node, to call it or to look at its log. Its own methods that
// start and stop must not be called.
func (c *Cluster) Node(i int) *Server { return c.nodes[i] }

// Addresses returns the base URLs of the nodes.
func (c *Cluster) Addresses() []string {
	var addresses []string
	for _, s := range c.nodes {
		addresses = append(addresses, s.Address)
	}
	return addresses
}

// Leader waits until a node is active, and returns which. A node that has just
// lost its place may believe for a moment that it has it.
func (c *Cluster) Leader(ctx context.Context) (int, error) {
	leader := -1
	err := poll(ctx, func() error {
		for i, s := range c.nodes {
			if s.proc == nil {
				continue
			}
			if status, err := s.api.health(ctx); err == nil && status == statusActive {
				leader = i
				return nil
			}
		}
		return errors.New("no node is active")
	})
	if err != nil {
		return -1, fmt.Errorf("waiting for a leader: %w", err)
	}
	return leader, nil
}

// Kill ends a node as a power cut does.
func (c *Cluster) Kill(i int) {
	s := c.nodes[i]
	if s.proc == nil {
		return
	}
	s.proc.kill()
	s.Stop()
}

// Restart starts a node again, after Kill or in its place, and unseals it.
func (c *Cluster) Restart(ctx context.Context, i int) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	s := c.nodes[i]
	s.Stop()
	if err := s.execute(ctx); err != nil {
		return err
	}
	return s.Unseal(ctx)
}

// Seal seals all nodes. Only an active node can be told to; once two have been,
// nobody can become active any more, and the third is sealed by a restart.
func (c *Cluster) Seal(ctx context.Context) error {
	sealed := map[int]bool{}
	for len(sealed) < clusterSize-1 {
		leader, err := c.Leader(ctx)
		if err != nil {
			return err
		}
		if err := c.nodes[leader].Seal(ctx); err != nil {
			return fmt.Errorf("sealing node %d: %w", leader, err)
		}
		sealed[leader] = true
	}
	for i, s := range c.nodes {
		if !sealed[i] {
			s.Stop()
			return s.execute(ctx)
		}
	}
	return nil
}

// Unseal unseals all nodes and waits until one is active.
func (c *Cluster) Unseal(ctx context.Context) error {
	for _, s := range c.nodes {
		if err := s.Unseal(ctx); err != nil {
			return err
		}
	}
	_, err := c.Leader(ctx)
	return err
}

// Stop ends all nodes at once and waits for them: one after the other, the last
// would look for the rest first. It may be called again.
func (c *Cluster) Stop() {
	var ending sync.WaitGroup
	for _, s := range c.nodes {
		ending.Go(s.Stop)
	}
	ending.Wait()
}

// poll repeats ok until it returns nil, or ctx ends; then it returns what ok said
// last.
func poll(ctx context.Context, ok func() error) error {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
