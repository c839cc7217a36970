package swarm

import "errors"

// What an engine says that a caller acts on.
var (
	// ErrNoEngine: nobody answers on the socket.
	ErrNoEngine = errors.New("no container engine answers")
	// ErrNoManager: the engine is not a manager of a Swarm.
	ErrNoManager = errors.New("this engine is not a manager of a Swarm")
	// ErrNameTaken: there is a secret of that name.
	ErrNameTaken = errors.New("there is a secret of that name already")
	// ErrInUse: a service uses the secret, so that it cannot be removed.
	ErrInUse = errors.New("a service uses the secret")
)
