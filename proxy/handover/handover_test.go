package handover

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// asChild is set in the process that a test starts with sockets.
const asChild = "HANDOVER_TEST_CHILD"

// TestMain is also the process that is given sockets: it greets whoever connects to
// the first of its names, and says what went wrong.
func TestMain(m *testing.M) {
	names, child := os.LookupEnv(asChild)
	if !child {
		os.Exit(m.Run())
	}
	if err := greet(strings.Split(names, ",")); err != nil {
		_, _ = os.Stdout.WriteString(err.Error())
	}
}

func greet(names []string) error {
	if names[0] == "a" { // as if it were meant for this process
		if err := os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid())); err != nil {
			return err
		}
	}
	sockets, err := Inherited("a", "b")
	if err != nil {
		return err
	}
	defer sockets.Close()
	if len(names) > 1 {
		return echo(sockets)
	}
	if _, left := os.LookupEnv("LISTEN_FDS"); left {
		return errors.New("the variables are left to children")
	}
	l, err := sockets.Listener("a")
	if err != nil || l == nil {
		return errors.Join(err, errors.New("no socket a"))
	}
	defer l.Close()
	l.Quiet(context.Background()) // nothing may become of it: the socket is not ours alone
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte("hello, still there: " + strings.Join(sockets.Names(), ",")))
	return err
}

// echo sends back what comes to the datagram socket.
func echo(sockets *Sockets) error {
	conn, err := sockets.PacketConn("a")
	if err != nil || conn == nil {
		return errors.Join(err, errors.New("no socket a"))
	}
	defer conn.Close()
	buf := make([]byte, 100)
	n, peer, err := conn.ReadFrom(buf)
	if err != nil {
		return err
	}
	_, err = conn.WriteTo(buf[:n], peer)
	return err
}

// child starts this test's program with files from descriptor 3 on.
func child(t *testing.T, role string, files []*os.File, env ...string) (wait func() string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(env, asChild+"="+role)
	cmd.ExtraFiles = files
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() string { _ = cmd.Wait(); return out.String() }
}

func socketFile(t *testing.T, network string) (address string, file *os.File) {
	t.Helper()
	l, err := net.Listen(network, map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")}[network])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	switch l := l.(type) {
	case *net.TCPListener:
		file, err = l.File()
	case *net.UnixListener:
		file, err = l.File()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return l.Addr().String(), file
}

// The socket is the one that the parent holds: it outlives the process.
func TestSocketsAreInherited(t *testing.T) {
	address, file := socketFile(t, "tcp")
	_, other := socketFile(t, "tcp")
	for range 2 { // one process after the other
		wait := child(t, "a", []*os.File{file, other}, "LISTEN_FDS=2", "LISTEN_FDNAMES=a:b")
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 100)
		n, err := conn.Read(buf)
		if got := string(buf[:n]); got != "hello, still there: b" {
			t.Errorf("got %q, %v, the process says %q", got, err, wait())
		}
		_ = conn.Close()
		if out := wait(); out != "" {
			t.Errorf("the process says %q", out)
		}
	}
}

func TestDatagramSocketsAreInherited(t *testing.T) {
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	file, err := socket.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	client, err := net.Dial("udp", socket.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write([]byte("before the process")); err != nil { // it waits in the queue
		t.Fatal(err)
	}
	wait := child(t, "a,datagrams", []*os.File{file}, "LISTEN_FDS=1", "LISTEN_FDNAMES=a")
	_ = client.SetDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 100)
	if n, err := client.Read(buf); string(buf[:n]) != "before the process" {
		t.Errorf("got %q, %v", buf[:n], err)
	}
	if out := wait(); out != "" {
		t.Errorf("the process says %q", out)
	}
}

func TestOddSocketsAreRefused(t *testing.T) {
	_, tcp := socketFile(t, "tcp")
	_, unix := socketFile(t, "unix")
	tests := map[string]struct {
		role  string
		files []*os.File
		env   []string
		want  string
	}{
		"an unknown name":      {"a", []*os.File{tcp}, []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=c"}, `one is called "c", expected one of ["a" "b"]`},
		"two of one name":      {"a", []*os.File{tcp, tcp}, []string{"LISTEN_FDS=2", "LISTEN_FDNAMES=a:a"}, `two are called "a"`},
		"no names":             {"a", []*os.File{tcp}, []string{"LISTEN_FDS=1"}, `one is called ""`},
		"fewer names":          {"a", []*os.File{tcp, tcp}, []string{"LISTEN_FDS=2", "LISTEN_FDNAMES=a"}, "expected one for each"},
		"a number that is not": {"a", []*os.File{tcp}, []string{"LISTEN_FDS=x", "LISTEN_FDNAMES=a"}, "expected a number"},
		"too many":             {"a", []*os.File{tcp}, []string{"LISTEN_FDS=1000", "LISTEN_FDNAMES=a"}, "expected a number up to 16"},
		"no socket":            {"a", nil, []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=a"}, `taking over the socket "a"`},
		"one of another kind":  {"a", []*os.File{unix}, []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=a"}, "expected one of TCP"},
		"none":                 {"a", nil, nil, "LISTEN_FDS is"},
		"another process's":    {"none", []*os.File{tcp}, []string{"LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=a"}, "no socket a"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if out := child(t, test.role, test.files, test.env...)(); !strings.Contains(out, test.want) {
				t.Errorf("the process says %q, expected %q", out, test.want)
			}
		})
	}
}

func TestListenersStandBesideEachOther(t *testing.T) {
	first, err := Listen(t.Context(), "127.0.0.1:0", true)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := Listen(t.Context(), first.Addr().String(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if third, err := Listen(t.Context(), first.Addr().String(), false); err == nil {
		third.Close()
		t.Error("one that does not share stands beside others")
	}
}

// A listener that is quiet takes nobody new, and whoever it had is still there.
func TestQuietListenerKeepsWhatItHas(t *testing.T) {
	l, err := Listen(t.Context(), "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	before, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	l.Quiet(t.Context())
	if late, err := net.DialTimeout("tcp", l.Addr().String(), 100*time.Millisecond); err == nil {
		late.Close()
		t.Error("somebody new has connected")
	}
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if conn.RemoteAddr().String() != before.LocalAddr().String() {
		t.Errorf("accepted %s, expected %s", conn.RemoteAddr(), before.LocalAddr())
	}
}

func TestServiceManagerIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	for _, address := range []string{path, "@sallyport-test-" + strconv.Itoa(os.Getpid())} {
		t.Setenv("NOTIFY_SOCKET", address)
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, state := range []string{Ready, Stopping} {
			if err := Notify(t.Context(), state); err != nil {
				t.Errorf("Notify(%s) = %v", state, err)
			}
			buf := make([]byte, 100)
			n, err := conn.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(buf[:n]))
		}
		if !slices.Equal(got, []string{"READY=1", "STOPPING=1"}) {
			t.Errorf("%s: told %q", address, got)
		}
		_ = conn.Close()
		if address[0] == '@' {
			if err := Notify(t.Context(), Ready); err == nil {
				t.Error("nobody listens, and nobody says so")
			}
		}
	}
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Notify(t.Context(), Ready); err != nil {
		t.Errorf("without a service manager: %v", err)
	}
}
