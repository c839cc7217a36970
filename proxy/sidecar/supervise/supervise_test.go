package supervise

import (
	"bytes"
	"context"
	"errors"
	"testing"
)

func TestSmoke(t *testing.T) {
	var out bytes.Buffer
	c, err := New(Config{Command: []string{"sh", "-c", "echo hello; echo $X; cat; exit 3"}, Env: []string{"X=1"}, Stdin: []byte("in"), Output: JSON, Stdout: &out, Service: "a"})
	if err != nil {
		t.Fatal(err)
	}
	err = c.Run(context.Background())
	var e *ExitedError
	if !errors.As(err, &e) || e.Code != 3 {
		t.Fatal(err)
	}
	t.Log(err, out.String())
}
