package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	markdownLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	markdownHeading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notInAnchors    = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// anchorsOf are the places of a page that links may lead to, as GitHub names them.
func anchorsOf(page string) map[string]bool {
	anchors := map[string]bool{}
	for _, heading := range markdownHeading.FindAllStringSubmatch(page, -1) {
		text := markdownLink.ReplaceAllString(strings.ReplaceAll(heading[1], "[", ""), "")
		anchors[strings.ReplaceAll(notInAnchors.ReplaceAllString(strings.ToLower(text), ""), " ", "-")] = true
	}
	return anchors
}

// TestLinksLeadSomewhere follows the links between our own pages.
func TestLinksLeadSomewhere(t *testing.T) {
	root, pages := filepath.Join("..", ".."), 0
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case filepath.Ext(path) != ".md":
			return nil
		}
		pages++
		page := read(t, path)
		for _, link := range markdownLink.FindAllStringSubmatch(page, -1) {
			file, anchor, _ := strings.Cut(link[1], "#")
			if strings.Contains(link[1], "://") || strings.HasPrefix(link[1], "mailto:") {
				continue
			}
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s leads nowhere", path, link[1])
			} else if anchor != "" && filepath.Ext(target) == ".md" && !anchorsOf(read(t, target))[anchor] {
				t.Errorf("%s: %s has no such heading", path, link[1])
			}
		}
		return nil
	})
	if err != nil || pages < 40 {
		t.Errorf("%d pages, %v", pages, err)
	}
}
