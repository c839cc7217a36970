package proxy_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy"
)

// TestSlowHTTPTestShutsNobodyOut has slowhttptest hold 400 connections open in each of its
// ways, while somebody works and its own probe asks whether there is an answer.
func TestSlowHTTPTestShutsNobodyOut(t *testing.T) {
	for name, flags := range map[string][]string{
		"slow headers": {"-H", "-i", "2"},
		"slow bodies":  {"-B", "-i", "2", "-s", "100000"},
		"slow readers": {"-X", "-w", "10", "-y", "20", "-n", "2", "-z", "32", "-k", "3"},
	} {
		t.Run(name, func(t *testing.T) { // one by one: the attacker itself measures how long answers take
			w := newWorld(t, func(cfg *proxy.Config) { cfg.Limits.Stall = 2 * time.Second })
			b := w.browser()
			b.signIn(w.origin(headersHost)+"/", "alice")
			_, port, _ := net.SplitHostPort(w.addr)
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			attack := exec.CommandContext(ctx, "slowhttptest", append(flags, "-c", "400", "-r", "200", "-l", "6", "-p", "3", "-u", "https://127.0.0.1:"+port+"/saml/acs")...)
			var told strings.Builder
			attack.Stdout, attack.Stderr = &told, &told
			if err := attack.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() { defer close(ended); _ = attack.Wait() }() // it ends with an error when all are gone
			served := 0                                           // while it goes on
			for running := true; running; {
				res := b.navigate(w.origin(headersHost) + "/")
				if res.StatusCode != http.StatusOK {
					t.Fatalf("answer %d", res.StatusCode)
				}
				select {
				case <-ended:
					running = false
				case <-time.After(100 * time.Millisecond):
					served++
				}
			}
			if served == 0 {
				t.Error("nobody was served before the attack had ended")
			}
			report := regexp.MustCompile(`\x1b\[[\d;]*m`).ReplaceAllString(told.String(), "")
			if probes := regexp.MustCompile(`service available:\s+(\w+)`).FindAllStringSubmatch(report, -1); len(probes) == 0 || strings.Contains(fmt.Sprint(probes), "NO") {
				t.Errorf("slowhttptest says:\n%s", report[max(0, len(report)-1500):])
			}
			t.Logf("%d requests served meanwhile", served)
		})
	}
}
