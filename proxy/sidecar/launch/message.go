package launch

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxMessage is more than the kernel gives a program at its start: 2 MiB of arguments and
// environment, which JSON writes longer.
const maxMessage = 16 << 20

// Config is what a helper may start. It must not be modified after [Start].
type Config struct {
	// Commands are the programs with their arguments. A program without a slash is looked
	// up on the helper's PATH, each time that it is started.
	Commands [][]string `json:"commands"`
	// Names are those variables of the environment that may have other values than in the
	// helper's own, which is this process's at the time of [Start].
	Names []string `json:"names"`
}

// request is what the guard asks for.
type request struct {
	Command int      `json:"command"`
	Env     []string `json:"env"`
	// Group makes the program the leader of a process group, Session of a session.
	Group   bool `json:"group"`
	Session bool `json:"session"`
}

// answer is what it is told: the process, or why there is none.
type answer struct {
	PID   int    `json:"pid"`
	Error string `json:"error,omitempty"`
}

// judge returns the command line that a request means, or what is wrong with the request.
// own is the helper's environment. An error has no value of a variable in it.
func (c Config) judge(r request, own []string) ([]string, error) {
	if r.Command < 0 || r.Command >= len(c.Commands) {
		return nil, fmt.Errorf("command %d of %d", r.Command, len(c.Commands))
	}
	for _, variable := range r.Env {
		name, _, found := strings.Cut(variable, "=")
		switch {
		case !found || name == "" || strings.ContainsRune(variable, 0):
			return nil, errors.New("a variable without a name or a value")
		case !slices.Contains(own, variable) && !slices.Contains(c.Names, name):
			return nil, fmt.Errorf("variable %q is none of those that may be set", name)
		}
	}
	return c.Commands[r.Command], nil
}

// frame is a message as it is sent: its length in four bytes, and its text.
func frame(message any) (head [4]byte, text []byte, err error) {
	if text, err = json.Marshal(message); err != nil {
		return head, nil, err
	}
	if len(text) > maxMessage {
		return head, nil, fmt.Errorf("a message of %d bytes, expected at most %d", len(text), maxMessage)
	}
	binary.BigEndian.PutUint32(head[:], uint32(len(text))) //nolint:gosec // was just compared
	return head, text, nil
}

// readText reads the rest of a message whose head is known.
func readText(from io.Reader, head [4]byte, message any) error {
	length := binary.BigEndian.Uint32(head[:])
	if length > maxMessage {
		return fmt.Errorf("a message of %d bytes, expected at most %d", length, maxMessage)
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(from, text); err != nil {
		return err
	}
	return json.Unmarshal(text, message)
}
