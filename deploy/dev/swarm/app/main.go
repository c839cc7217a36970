// Command app is an application for a sidecar that is process 1 of a container: it answers
// on the container's own loopback, and leaves orphans behind. It is static, because there is
// nothing else in its container.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

// run serves, or does what the first argument says: ask a URL, dial an address, or be one of
// two generations of orphans.
func run(args []string) error {
	if len(args) == 0 {
		return serve("127.0.0.1:3000")
	}
	switch target := args[len(args)-1]; args[0] {
	case "ask":
		return ask(target)
	case "dial":
		conn, err := net.DialTimeout("tcp", target, 10*time.Second) //nolint:gosec,noctx // what a test has it try
		if err != nil {
			return err
		}
		return conn.Close()
	case "parent": // whose children are nobody's when it ends
		for range 5 {
			if err := exec.Command("/proc/self/exe", "orphan").Start(); err != nil { //nolint:noctx // nobody ends it
				return err
			}
		}
	case "orphan":
		for os.Getppid() != 1 { // its parent has not ended
			runtime.Gosched()
		}
	}
	return nil
}

// serve answers who asked, and makes orphans.
func serve(address string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "hello %s", r.Header.Get("X-Forwarded-User")) //nolint:gosec // text of a test
	})
	mux.HandleFunc("GET /orphans", func(w http.ResponseWriter, r *http.Request) {
		if err := exec.CommandContext(r.Context(), "/proc/self/exe", "parent").Run(); err != nil { //nolint:gosec // this program
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	server := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServe()
}

// ask prints what is answered with status 200.
func ask(url string) error {
	client := &http.Client{Timeout: 10 * time.Second}
	res, err := client.Get(url) //nolint:gosec,noctx // what a test has it ask; it has a timeout
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	_, err = io.Copy(os.Stdout, res.Body)
	return err
}
