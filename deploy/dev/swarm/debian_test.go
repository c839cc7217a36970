//go:build swarm

package swarm

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// debianImage is what the examples are built on. No image can be pulled in here, so one
// of this name is made of the packages that this machine has installed.
const debianImage = "debian:12-slim"

// top are the folders that a merged /usr has links for.
var top = []string{"bin", "lib", "lib32", "lib64", "libx32", "sbin"}

// debian knows the installed packages: what each needs, and which are in every system.
type debian struct {
	needs     map[string][]string // each one's alternatives, separated by |
	provided  map[string]string   // names that a package has besides its own
	essential []string
}

// packages asks dpkg.
func (s *stand) packages(t *testing.T) *debian {
	t.Helper()
	d := &debian{needs: map[string][]string{}, provided: map[string]string{}}
	known := s.run(t, "dpkg-query", "--show", "--showformat", `${Package}\t${Essential}\t${Pre-Depends},${Depends}\t${Provides}\n`)
	for line := range strings.Lines(known) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(fields) != 4 {
			t.Fatalf("dpkg says %q", line)
		}
		d.needs[fields[0]] = strings.Split(fields[2], ",")
		if fields[1] == "yes" {
			d.essential = append(d.essential, fields[0])
		}
		for other := range strings.SplitSeq(fields[3], ",") {
			d.provided[bare(other)] = fields[0]
		}
	}
	return d
}

// bare is a package's name without the version and the architecture that are wanted.
func bare(wanted string) string {
	name, _, _ := strings.Cut(strings.TrimSpace(wanted), " ")
	name, _, _ = strings.Cut(name, ":")
	return name
}

// find is the installed package of a name.
func (d *debian) find(wanted string) (string, bool) {
	name := bare(wanted)
	if _, there := d.needs[name]; there {
		return name, true
	}
	name, there := d.provided[name]
	return name, there
}

// closure is packages with everything that they need.
func (d *debian) closure(t *testing.T, names ...string) []string {
	t.Helper()
	var all []string
	for i := 0; i < len(names); i++ {
		name, there := d.find(names[i])
		if !there {
			t.Fatalf("package %s is not installed: run `make swarm` as root", names[i])
		}
		if slices.Contains(all, name) {
			continue
		}
		all = append(all, name)
		for _, need := range d.needs[name] {
			for alternative := range strings.SplitSeq(need, "|") {
				if other, there := d.find(alternative); there {
					names = append(names, other)
					break
				}
			}
		}
	}
	return all
}

// pack writes the files of packages into a tar file, without what nobody runs.
func (s *stand) pack(t *testing.T, file string, names []string) {
	t.Helper()
	paths := map[string]bool{}
	for path := range strings.Lines(s.run(t, "dpkg", append([]string{"--listfiles"}, names...)...)) {
		path = strings.TrimSuffix(path, "\n")
		if !strings.HasPrefix(path, "/") || slices.ContainsFunc([]string{"/usr/share/doc", "/usr/share/man", "/usr/share/locale"}, func(left string) bool {
			return strings.HasPrefix(path, left)
		}) {
			continue
		}
		folder, err := filepath.EvalSymlinks(filepath.Dir(path)) // /bin leads to /usr/bin
		path = filepath.Join(folder, filepath.Base(path))
		if _, missing := os.Lstat(path); err != nil || missing != nil || path == "/" {
			continue // what this machine's administrator has left out
		}
		paths[strings.TrimPrefix(path, "/")] = true
	}
	for _, name := range top {
		delete(paths, name)
	}
	s.archive(t, file, paths)
}

// archive has tar take just these paths of this machine's.
func (s *stand) archive(t *testing.T, file string, paths map[string]bool) {
	t.Helper()
	var list strings.Builder
	for path := range paths {
		list.WriteString(path + "\n")
	}
	s.run(t, "tar", "--create", "--file", file, "--directory", "/", "--no-recursion", "--sort=name", "--verbatim-files-from",
		"--files-from", write(t, file+".list", list.String()))
}

// importDebian makes the image.
func (s *stand) importDebian(t *testing.T) {
	t.Helper()
	s.debian = s.packages(t)
	s.pack(t, "debian.tar", s.debian.closure(t, s.debian.essential...))
	links := map[string]bool{}
	for _, name := range top {
		if info, err := os.Lstat("/" + name); err == nil && info.Mode().Type() == os.ModeSymlink {
			links[name] = true
		}
	}
	s.archive(t, "links.tar", links)
	s.run(t, "tar", "--concatenate", "--file", "debian.tar", "links.tar")
	s.run(t, "docker", "import", "debian.tar", debianImage)
}

// withoutApt replaces the one line of a Dockerfile that wants a network, and returns the
// packages that it installs.
func withoutApt(t *testing.T, text, instead string) (changed string, installed []string) {
	t.Helper()
	_, rest, found := strings.Cut(text, "\nRUN apt-get update")
	if !found {
		t.Fatalf("no apt-get in\n%s", text)
	}
	var line strings.Builder
	line.WriteString("RUN apt-get update")
	for part := range strings.Lines(rest) {
		line.WriteString(part)
		if !strings.HasSuffix(part, "\\\n") {
			break
		}
	}
	_, names, _ := strings.Cut(line.String(), "--no-install-recommends")
	names, _, _ = strings.Cut(names, "\\\n")
	if installed = strings.Fields(names); len(installed) == 0 {
		t.Fatalf("no package is installed by\n%s", line.String())
	}
	return strings.Replace(text, line.String(), fmt.Sprintf("ADD %s /\n", instead), 1), installed
}
