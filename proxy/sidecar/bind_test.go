package sidecar

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// listenOn listens, on a port of the system's choice if address has none.
func listenOn(t *testing.T, network, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return listener
}

// appAt is an application on the port of a listener.
func appAt(t *testing.T, listener net.Listener) *url.URL {
	t.Helper()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return &url.URL{Scheme: "http", Host: net.JoinHostPort("127.0.0.1", port)}
}

func TestAppOnLoopbackAloneIsGood(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "127.8.9.1:0", "[::1]:0"} {
		if err := CheckBind(appAt(t, listenOn(t, "tcp", address))); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	gone := listenOn(t, "tcp", "127.0.0.1:0")
	app := appAt(t, gone)
	_ = gone.Close()
	if err := CheckBind(app); err != nil {
		t.Errorf("nothing listens: %v", err)
	}
}

func TestAppThatOthersReachIsFound(t *testing.T) {
	for _, test := range []struct{ network, address, found string }{
		{"tcp4", "0.0.0.0:0", "0.0.0.0:"}, {"tcp", "[::]:0", "[::]:"},
	} {
		var exposed *ExposedError
		err := CheckBind(appAt(t, listenOn(t, test.network, test.address)))
		if !errors.As(err, &exposed) || !strings.Contains(exposed.Found, test.found) || !strings.Contains(exposed.Expected, "127.0.0.1:") {
			t.Errorf("%s: %v", test.address, err)
		}
	}
}

func TestSocketsThatOthersMayOpenAreFound(t *testing.T) {
	for name, test := range map[string]struct {
		folder, socket os.FileMode
		found          string
	}{
		"for the owner alone":                 {0o700, 0o600, ""},
		"for a group":                         {0o750, 0o660, ""},
		"for everybody in a folder for one":   {0o700, 0o777, ""},
		"for everybody":                       {0o755, 0o777, "everybody may connect"},
		"in a folder that everybody may fill": {0o777, 0o600, "everybody may write"},
		"in one with a sticky bit":            {0o777 | os.ModeSticky, 0o600, "everybody may write"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "run")
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(folder, "app.sock")
			listenOn(t, "unix", path)
			if err := errors.Join(os.Chmod(path, test.socket), os.Chmod(folder, test.folder)); err != nil {
				t.Fatal(err)
			}
			err := CheckBind(&url.URL{Scheme: "unix", Path: path})
			var exposed *ExposedError
			if errors.As(err, &exposed) != (test.found != "") || err != nil && !strings.Contains(err.Error(), test.found) {
				t.Errorf("%v, want %q", err, test.found)
			}
		})
	}
	folder := t.TempDir()
	if err := CheckBind(&url.URL{Scheme: "unix", Path: filepath.Join(folder, "none", "app.sock")}); err != nil {
		t.Errorf("before it is started: %v", err)
	}
	file := filepath.Join(folder, "app.sock")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var exposed *ExposedError
	if err := CheckBind(&url.URL{Scheme: "unix", Path: file}); !errors.As(err, &exposed) {
		t.Errorf("a file: %v", err)
	}
}

// TestAppThatBindsLaterIsFound: it is started after the sidecar.
func TestAppThatBindsLaterIsFound(t *testing.T) {
	probe := listenOn(t, "tcp4", "0.0.0.0:0")
	address, app := probe.Addr().String(), appAt(t, probe)
	_ = probe.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	looked := make(chan struct{}, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- WatchBind(ctx, func() *url.URL { looked <- struct{}{}; return app }, func(err error) { t.Error(err) })
	}()
	next(t, looked)
	listenOn(t, "tcp4", address)
	var exposed *ExposedError
	if err := next(t, ended); !errors.As(err, &exposed) {
		t.Errorf("ended with %v", err)
	}
}

func TestNobodyLooksWhereItDoesNotMatter(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	looked := make(chan struct{}, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- WatchBind(ctx, func() *url.URL { looked <- struct{}{}; return nil }, func(err error) { t.Error(err) })
	}()
	next(t, looked)
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("it does not end")
	}
}
