package launch

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"syscall"
)

// maxMessage is more than the kernel gives a program at its start: 2 MiB of arguments and
// environment, which base64 writes longer.
const maxMessage = 16 << 20

// Config is what a helper may start. It must not be modified after [Start].
type Config struct {
	Commands []Command `json:"commands"`
	// Names are those variables of the environment that may have other values than in the
	// helper's own, which is this process's at the time of [Start].
	Names octets `json:"names"`
}

// Command is a program that may be started.
type Command struct {
	// Argv is the program with its arguments. One without a slash is looked up on the
	// helper's PATH, each time that it is started.
	Argv []string
	// Dir is the folder that it is started in; "" is this process's own.
	Dir string
}

// commandMessage is a Command as it is sent.
type commandMessage struct {
	Argv octets `json:"argv"`
	Dir  []byte `json:"dir"`
}

// MarshalJSON implements [json.Marshaler].
func (c Command) MarshalJSON() ([]byte, error) {
	return json.Marshal(commandMessage{c.Argv, []byte(c.Dir)}) //nolint:wrapcheck // frame's caller says of what
}

// UnmarshalJSON implements [json.Unmarshaler].
func (c *Command) UnmarshalJSON(text []byte) error {
	var sent commandMessage
	if err := json.Unmarshal(text, &sent); err != nil {
		return err //nolint:wrapcheck // readText's caller says of what
	}
	*c = Command{sent.Argv, string(sent.Dir)}
	return nil
}

// octets are strings as the kernel knows them, of any bytes. JSON would alter what is not
// UTF-8, so they are sent in base64.
type octets []string

// MarshalJSON implements [json.Marshaler].
func (o octets) MarshalJSON() ([]byte, error) {
	list := make([][]byte, len(o))
	for i, text := range o {
		list[i] = []byte(text)
	}
	return json.Marshal(list) //nolint:wrapcheck // as Command
}

// UnmarshalJSON implements [json.Unmarshaler].
func (o *octets) UnmarshalJSON(text []byte) error {
	var list [][]byte
	if err := json.Unmarshal(text, &list); err != nil {
		return err //nolint:wrapcheck // as Command
	}
	*o = make(octets, len(list))
	for i, one := range list {
		(*o)[i] = string(one)
	}
	return nil
}

// equal says whether two are the same program with the same arguments and folder.
func (c Command) equal(other Command) bool {
	return slices.Equal(c.Argv, other.Argv) && c.Dir == other.Dir
}

// request is what the guard asks for.
type request struct {
	Command int    `json:"command"`
	Env     octets `json:"env"`
	// Group makes the program the leader of a process group, Session of a session.
	Group   bool `json:"group"`
	Session bool `json:"session"`
}

// answer is what it is told: the process, or why there is none.
type answer struct {
	PID   int    `json:"pid"`
	Error string `json:"error,omitempty"`
	// Errno is the kernel's number of Error, 0 if it has none.
	Errno syscall.Errno `json:"errno,omitempty"`
}

// refusal is the answer with an error, without what the standard library says around it.
func refusal(err error) answer {
	var look *exec.Error
	if errors.As(err, &look) {
		err = look.Err
	}
	told := answer{Error: err.Error()}
	if errors.As(err, &told.Errno) {
		told.Error = told.Errno.Error()
	}
	return told
}

// err is the error of an answer, nil if it has none.
func (a answer) err() error {
	switch {
	case a.Errno != 0:
		return a.Errno
	case a.Error != "":
		return errors.New(a.Error)
	}
	return nil
}

// judge returns the command that a request means, or what is wrong with the request. own is
// the helper's environment. An error has no value of a variable in it.
func (c Config) judge(r request, own []string) (Command, error) {
	if r.Command < 0 || r.Command >= len(c.Commands) || len(c.Commands[r.Command].Argv) == 0 {
		return Command{}, fmt.Errorf("command %d of %d", r.Command, len(c.Commands))
	}
	for _, variable := range r.Env {
		name, _, found := strings.Cut(variable, "=")
		switch {
		case !found || name == "" || strings.ContainsRune(variable, 0):
			return Command{}, errors.New("a variable without a name or a value")
		case !slices.Contains(own, variable) && !slices.Contains(c.Names, name):
			return Command{}, fmt.Errorf("variable %q is none of those that may be set", name)
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
