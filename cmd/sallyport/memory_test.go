package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMemoryLimitIsTheLowestOfTheControlGroups(t *testing.T) {
	for name, c := range map[string]struct {
		groups string
		files  map[string]string
		want   int64
	}{
		"no control groups":      {},
		"in a container":         {"0::/\n", map[string]string{"memory.max": "268435456\n"}, 256 << 20},
		"no limit":               {"0::/\n", map[string]string{"memory.max": "max\n"}, 0},
		"a unit of systemd":      {"0::/system.slice/sallyport.service\n", map[string]string{"system.slice/memory.max": "max\n", "system.slice/sallyport.service/memory.max": "1048576\n"}, 1 << 20},
		"its parent is narrower": {"0::/a/b\n", map[string]string{"a/memory.max": "100\n", "a/b/memory.max": "200\n"}, 100},
		"slowed down below it":   {"0::/\n", map[string]string{"memory.max": "500\n", "memory.high": "400\n"}, 400},
		"beside older groups":    {"1:memory:/x\n0::/a\n", map[string]string{"a/memory.max": "300\n", "x/memory.max": "1\n"}, 300},
		"nonsense":               {"0::/../..\n", map[string]string{"memory.max": "-5\n"}, 0},
	} {
		root := t.TempDir()
		put := func(file, content string) {
			t.Helper()
			file = filepath.Join(root, file)
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if c.groups != "" {
			put("proc/self/cgroup", c.groups)
		}
		for file, content := range c.files {
			put(filepath.Join("sys/fs/cgroup", file), content)
		}
		if got := groupMemory(root); got != c.want {
			t.Errorf("%s: %d, expected %d", name, got, c.want)
		}
	}
}
