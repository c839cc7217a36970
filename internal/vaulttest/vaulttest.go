// Package vaulttest runs a real Vault server on loopback, for tests and for the
// development stack: TLS with a certificate authority made on the spot,
// integrated storage of one node (Vault's minimal build has no file storage),
// initialised with one key share, unsealed. A [Cluster] is three such servers with
// one storage, for tests in which one of them goes away.
//
// It is not a way to run Vault for real work: the unseal key and the root token
// lie in a file beside the data, and the server dies with the process that
// started it. It imports nothing of testing, so that ordinary programs may use
// it, and needs only the standard library.
//
// Its inputs are a folder and the Vault (or OpenBao) binary; see [Binary] for
// where that is looked for. Its outputs are an address, a CA file and a root
// token, and in the folder: data/, vault.json, tls.crt, tls.key, ca.pem,
// init.json and vault.log.
package vaulttest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Options of Start.
type Options struct {
	// Dir holds the server's state and logs. Required; made if absent. A folder
	// that an earlier Start initialised is taken up where it was left.
	Dir string
	// Addr is the listen address; default is a free port of 127.0.0.1.
	Addr string
	// PluginDir is where the server may run plugins from, such as the folder of what
	// [Plugin] returns; default is none. Links that lead out of it do not count.
	PluginDir string
}

// Server is a running Vault. Its fields do not change; its methods must not be
// called concurrently, except that any number of clients may use the server.
type Server struct {
	Address   string // https://127.0.0.1:PORT
	CAFile    string // PEM file with the CA of the server's certificate
	RootToken string // a token that may do everything
	Dir       string // Options.Dir
	LogFile   string // where the server's output goes, across restarts

	binary  string
	plugins string // Options.PluginDir
	node    node
	api     *api
	key     string // the one unseal key share
	proc    *process
}

// node is what tells the members of a cluster apart. A server by itself has no
// peers.
type node struct {
	id    string
	peers []string // base URLs of all members, this one included
}

// startTimeout bounds how long a fresh process may take to answer.
const startTimeout = 30 * time.Second

// Statuses of sys/health.
const (
	statusActive  = 200
	statusStandby = 429
	statusFresh   = 501 // not initialised, or not yet in its cluster
)

// initFile keeps what initialising returned, so that a folder can be used again.
type initFile struct {
	UnsealKey string `json:"unseal_key"`
	RootToken string `json:"root_token"`
}

// Start runs a Vault in opts.Dir and returns once it is unsealed. The caller
// must call [Server.Stop]; should the calling process die first, the kernel
// kills the server.
func Start(ctx context.Context, opts Options) (*Server, error) {
	if opts.Dir == "" {
		return nil, errors.New("starting vault: no Dir given")
	}
	binary, err := Binary()
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("resolving %q: %w", opts.Dir, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
		return nil, fmt.Errorf("making the state folder: %w", err)
	}
	addr := opts.Addr
	if addr == "" {
		if addr, err = freeAddr(ctx); err != nil {
			return nil, err
		}
	}
	if err := writeTLS(dir, addr); err != nil {
		return nil, fmt.Errorf("making the server's certificate: %w", err)
	}
	s := &Server{
		Address: "https://" + addr,
		CAFile:  filepath.Join(dir, "ca.pem"),
		Dir:     dir,
		LogFile: filepath.Join(dir, "vault.log"),
		binary:  binary,
		plugins: opts.PluginDir,
		node:    node{id: "one"},
	}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	if err := s.launch(ctx); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// prepare writes the configuration and makes the API client. The certificate lies
// beside the CA's.
func (s *Server) prepare(ctx context.Context) error {
	addr, tls := strings.TrimPrefix(s.Address, "https://"), filepath.Dir(s.CAFile)
	cluster, err := freeAddr(ctx)
	if err != nil {
		return err
	}
	raft := map[string]any{
		"path":                   filepath.Join(s.Dir, "data"),
		"node_id":                s.node.id,
		"performance_multiplier": 1, // elections as fast as they can be
	}
	var join []map[string]string
	for _, peer := range s.node.peers {
		join = append(join, map[string]string{"leader_api_addr": peer, "leader_ca_cert_file": s.CAFile})
	}
	if join != nil {
		raft["retry_join"] = join
		// How soon a node that has joined is seen to do well, and may vote.
		raft["autopilot_update_interval"], raft["autopilot_reconcile_interval"] = "200ms", "200ms"
	}
	settings := map[string]any{
		"disable_mlock": true,
		"ui":            false,
		"api_addr":      s.Address,
		"cluster_addr":  "https://" + cluster,
		"storage":       map[string]any{"raft": raft},
		"listener": map[string]any{"tcp": map[string]any{
			"address":         addr,
			"cluster_address": cluster,
			"tls_cert_file":   filepath.Join(tls, "tls.crt"),
			"tls_key_file":    filepath.Join(tls, "tls.key"),
		}},
	}
	if s.plugins != "" {
		settings["plugin_directory"] = s.plugins
	}
	config, err := json.MarshalIndent(settings, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the configuration: %w", err)
	}
	if err := os.WriteFile(filepath.Join(s.Dir, "vault.json"), config, 0o600); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	s.api, err = newAPI(s.Address, s.CAFile)
	return err
}

// launch starts the process, initialises it if its storage is empty, and unseals
// it.
func (s *Server) launch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := s.execute(ctx); err != nil {
		return err
	}
	if err := s.initialise(ctx); err != nil {
		return err
	}
	return s.Unseal(ctx)
}

// execute starts the process and waits until it answers, sealed as it is.
func (s *Server) execute(ctx context.Context) error {
	proc, err := startProcess(ctx, s.binary, s.Dir, s.LogFile)
	if err != nil {
		return err
	}
	s.proc = proc
	return s.awaitAnswer(ctx)
}

// awaitAnswer polls the health endpoint until the process says anything.
func (s *Server) awaitAnswer(ctx context.Context) error {
	for {
		_, err := s.api.health(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.proc.done:
			return fmt.Errorf("vault exited while starting; its output is in %s: %w", s.LogFile, err)
		case <-ctx.Done():
			return fmt.Errorf("waiting for vault to answer, output in %s: %w", s.LogFile, err)
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// initialise makes key and root token, or reads those of an earlier run. They are the
// storage's: a server that is started again has them, and others may be reading them.
func (s *Server) initialise(ctx context.Context) error {
	if s.key != "" {
		return nil
	}
	path := filepath.Join(s.Dir, "init.json")
	var kept initFile
	raw, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if kept, err = s.api.initialise(ctx); err != nil {
			return err
		}
		if raw, err = json.Marshal(kept); err != nil {
			return fmt.Errorf("encoding the unseal key: %w", err)
		}
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			return fmt.Errorf("keeping the unseal key: %w", err)
		}
	case err != nil:
		return fmt.Errorf("reading the unseal key: %w", err)
	default:
		if err := json.Unmarshal(raw, &kept); err != nil {
			return fmt.Errorf("reading the unseal key from %s: %w", path, err)
		}
	}
	s.key, s.RootToken = kept.UnsealKey, kept.RootToken
	return nil
}

// Seal seals the server: it keeps running and answers 503 to everything.
func (s *Server) Seal(ctx context.Context) error {
	return s.api.call(ctx, request{method: "PUT", path: "sys/seal", token: s.RootToken}, nil)
}

// Unseal opens the storage again and returns once the server is active, or, in a
// cluster, standby.
func (s *Server) Unseal(ctx context.Context) error {
	body := map[string]string{"key": s.key}
	if err := s.api.call(ctx, request{method: "PUT", path: "sys/unseal", body: body}, nil); err != nil {
		return fmt.Errorf("unsealing: %w", err)
	}
	for {
		status, err := s.api.health(ctx)
		if err == nil && (status == statusActive || status == statusStandby && len(s.node.peers) > 0) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the unsealed vault, health status %d: %w", status, ctx.Err())
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// Stop ends the process and waits for it; the state stays in Dir. It may be
// called again, and after a failed Restart.
func (s *Server) Stop() {
	if s.proc == nil {
		return
	}
	s.proc.stop()
	s.proc = nil
	s.api.http.CloseIdleConnections()
}

// Restart stops the process, if it runs, and starts it again on the same
// address and storage, unsealed.
func (s *Server) Restart(ctx context.Context) error {
	s.Stop()
	return s.launch(ctx)
}

// Pause freezes the process, so that its address accepts connections and never
// answers; Resume thaws it.
func (s *Server) Pause() error { return s.proc.pause() }

// Resume ends a Pause.
func (s *Server) Resume() error { return s.proc.resume() }

// Call does one API call with the root token, for a test's preparations:
// method, path below /v1/ and a body that is encoded as JSON unless nil. The
// answer's JSON is decoded into out unless that is nil.
func (s *Server) Call(ctx context.Context, method, path string, body, out any) error {
	return s.api.call(ctx, request{method: method, path: path, token: s.RootToken, body: body}, out)
}

// Register has the server run the program at path, which lies in its PluginDir, as
// its plugin called name of a kind: auth, database or secret.
func (s *Server) Register(ctx context.Context, kind, name, path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading a plugin: %w", err)
	}
	sum := sha256.Sum256(raw)
	body := map[string]string{"sha256": hex.EncodeToString(sum[:]), "command": filepath.Base(path)}
	return s.Call(ctx, "PUT", "sys/plugins/catalog/"+kind+"/"+name, body, nil)
}

// freeAddr returns a loopback address whose port was free a moment ago.
func freeAddr(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
