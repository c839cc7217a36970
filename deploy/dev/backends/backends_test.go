package backends

import (
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rows are header lines by which somebody would pass for somebody else at some server,
// or have the gateway's own headers removed.
var rows = map[string][]string{
	"the name itself":        {"X-Forwarded-User: root", "x-forwarded-user: root", "X-FORWARDED-USER: root"},
	"underscores":            {"X_Forwarded_User: root", "X-Forwarded_User: root", "X_FORWARDED-USER: root"},
	"dots":                   {"X.Forwarded.User: root", "X-Forwarded.User: root"},
	"other signs":            {"X~Forwarded~User: root", "X!Forwarded!User: root", "X+Forwarded+User: root", "X'Forwarded'User: root"},
	"groups and addresses":   {"X_Forwarded_Groups: wheel", "X.Forwarded.Groups: wheel", "X_Forwarded_Email: root", "X_Forwarded_Preferred_Username: root"},
	"hop by hop":             {"Connection: close, X-Forwarded-User, X-My-User, Remote-User", "X_Forwarded_User: root"},
	"names of other proxies": {"Remote-User: root", "Remote_User: root", "REMOTE.USER: root", "X-Remote-User: root", "X_Auth_Request_User: root", "X_WEBAUTH_USER: root"},
	"names of the route's":   {"X-My-User: root", "X_My_User: root", "X.My.User: root", "x-MY_user: root"},
	"a client's address":     {"X_Forwarded_For: 203.0.113.1", "X_Real_IP: 203.0.113.1", "X.Forwarded.Proto: http", "Forwarded: for=203.0.113.1"},
	"httpoxy":                {"Proxy: http://evil.example", "PROXY: http://evil.example"},
	"script name":            {"Script-Name: /admin", "SCRIPT_NAME: /admin", "X_Script_Name: /admin"},
	"the sidecar's list":     {"X-Sallyport-Set: X-My-User,X-Remote-User", "X_Sallyport_Set: X-My-User", "X-Remote-User: root"},
}

// TestServersTellAliasesApartBehindTheDoor sends each row to each server, through gateway
// and sidecar, and compares all variables that say who somebody is.
func TestServersTellAliasesApartBehindTheDoor(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		t.Run(name, func(t *testing.T) {
			address := servers[name].start(t)
			d := newDoor(t, address)
			for row, lines := range rows {
				for _, host := range []string{plainHost, customHost} {
					status, told, err := d.send(t, host, lines)
					if err != nil || status != http.StatusOK {
						t.Errorf("%s at %s: status %d, %v", row, host, status, err)
						continue
					}
					if diff := cmp.Diff(d.expected(host), persons(told)); diff != "" {
						t.Errorf("%s at %s (-want +got):\n%s", row, host, diff)
					}
				}
			}
		})
	}
}

// TestServersAreFooledWithoutTheDoor shows that the rows are no straw men: whoever reaches
// these servers directly, beside a proxy that sets X-Forwarded-User and strips that alone,
// is root.
func TestServersAreFooledWithoutTheDoor(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		t.Run(name, func(t *testing.T) {
			address := servers[name].start(t)
			for _, alias := range servers[name].aliases {
				conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				// Go writes headers sorted, so an alias comes last.
				request := fmt.Sprintf("GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nX-Forwarded-User: alice\r\n%s\r\n\r\n", address, alias)
				status, told, err := exchange(t.Context(), conn, request)
				if err != nil || !strings.Contains(told["HTTP_X_FORWARDED_USER"], "root") {
					t.Errorf("%s: status %d, %v, HTTP_X_FORWARDED_USER is %q", alias, status, err, told["HTTP_X_FORWARDED_USER"])
				}
			}
		})
	}
}

// persons are the variables that say who somebody is, where from, or how.
func persons(told map[string]string) map[string]string {
	out := map[string]string{}
	for name, value := range told {
		switch {
		case name == "HTTP_X_REQUEST_ID", name == "REMOTE_ADDR", name == "REMOTE_PORT", name == "HTTP_PROXY_SUPPORT":
		case strings.HasPrefix(name, "HTTP_X_"), strings.Contains(name, "REMOTE"), strings.Contains(name, "FORWARDED"),
			strings.HasPrefix(name, "HTTP_PROXY"), strings.HasPrefix(name, "HTTP_SCRIPT"), strings.Contains(value, "root"), strings.Contains(value, "wheel"),
			strings.Contains(value, "203.0.113.1"), strings.Contains(value, "evil"), strings.Contains(value, "/admin"):
			out[name] = value
		}
	}
	return out
}

// expected is what the application is told of alice.
func (d *door) expected(host string) map[string]string {
	out := map[string]string{
		"HTTP_X_FORWARDED_FOR": "127.0.0.1", "HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_HOST": net.JoinHostPort(host, d.port),
	}
	if host == customHost {
		out["HTTP_X_MY_USER"] = "alice@example.com"
		return out
	}
	maps.Copy(out, map[string]string{
		"HTTP_X_FORWARDED_USER": "alice@example.com", "HTTP_X_FORWARDED_EMAIL": "alice@example.com",
		"HTTP_X_FORWARDED_PREFERRED_USERNAME": "Alice Archer", "HTTP_X_FORWARDED_GROUPS": "engineers",
	})
	return out
}

// send has alice send a request with these lines.
func (d *door) send(t *testing.T, host string, lines []string) (status int, told map[string]string, err error) {
	t.Helper()
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: d.pool, ServerName: host, MinVersion: tls.VersionTLS13}}
	conn, err := dialer.DialContext(t.Context(), "tcp", d.address)
	if err != nil {
		t.Fatal(err)
	}
	return exchange(t.Context(), conn, fmt.Sprintf("GET / HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\n%s\r\n\r\n",
		net.JoinHostPort(host, d.port), d.cookies[host], strings.Join(lines, "\r\n")))
}
