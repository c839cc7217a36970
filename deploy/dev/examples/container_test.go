package examples

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// contained is a shell script that mounts what it is told to and becomes the rest.
const contained = `set -e
mount --make-rprivate /
mount -t proc proc /proc
while [ "$1" != -- ]; do
	mount -t tmpfs -o "$2" tmpfs "$1"
	shift 2
done
shift
exec "$@"`

// contain has a command run as process 1 of its own, with the tmpfs mounts that the
// Compose file has: what an engine does of it that matters to secrets.
func (s *sidecar) contain(container service, path string, args []string) (string, []string) {
	wrapped := []string{"--mount", "--pid", "--fork", "--kill-child"}
	owner := "uid=" + strconv.Itoa(nobody) + ",gid=" + strconv.Itoa(nobody)
	if os.Geteuid() != 0 {
		wrapped = append(wrapped, "--user", "--map-root-user")
		owner = "uid=0,gid=0" // as whom who runs the tests is mapped
	}
	wrapped = append(wrapped, "sh", "-c", contained, "sh")
	for _, mount := range container.Tmpfs {
		place, options, _ := strings.Cut(mount, ":")
		if ours := s.memory[place]; ours != "" {
			wrapped = append(wrapped, ours, strings.Replace(options, "uid=65532,gid=65532", owner, 1))
		}
	}
	path, args = program(path, args...)
	return "unshare", append(append(wrapped, "--", path), args...)
}

// inside is where a folder of a contained sidecar's can be looked at from here.
func (s *sidecar) inside(t *testing.T, folder string) string {
	t.Helper()
	outer := s.child.PID()
	children := strings.Fields(string(readFile(t, fmt.Sprintf("/proc/%d/task/%d/children", outer, outer))))
	if len(children) != 1 {
		t.Fatalf("processes %q where one was started", children)
	}
	return "/proc/" + children[0] + "/root" + s.memory[folder]
}
