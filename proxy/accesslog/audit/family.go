package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// rotated is what stands behind the name of a log, or between it and its extension,
// once the file was rotated: a number, a date or both, and how it is compressed.
var rotated = regexp.MustCompile(`^[.-][0-9][0-9A-Za-z:_.+-]*$`)

// Family returns the log of a name and its rotated files beside it, compressed or
// not, in the order of their names: of "access.log" also "access.log.1",
// "access.log.2.gz", "access.log-20261126" and "access-20261126.log.gz". It is an
// error if there is none at all.
func Family(name string) ([]string, error) {
	folder, base := filepath.Split(name)
	entries, err := os.ReadDir(filepath.Clean(or(folder, ".")))
	if err != nil {
		return nil, fmt.Errorf("looking for rotated files: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if entry.Type().IsDir() || !related(entry.Name(), base) {
			continue
		}
		names = append(names, folder+entry.Name())
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("looking for %s and its rotated files: %w", name, os.ErrNotExist)
	}
	slices.Sort(names)
	return names, nil
}

// related reports whether a file of that name is the log, or was.
func related(name, base string) bool {
	if strings.HasSuffix(name, ".tmp") {
		return false // is just being compressed, and stands there once more
	}
	plain := strings.TrimSuffix(name, ".gz")
	if plain == base {
		return true
	}
	if rest, ok := strings.CutPrefix(plain, base); ok {
		return rotated.MatchString(rest)
	}
	extension := filepath.Ext(base)
	rest, ok := strings.CutPrefix(plain, strings.TrimSuffix(base, extension))
	rest, extended := strings.CutSuffix(rest, extension)
	return ok && extended && extension != "" && rotated.MatchString(rest)
}

func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}
