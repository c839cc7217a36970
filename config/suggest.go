package config

import "strings"

// suggest says which keys are known where an unknown one was found, and which
// of them was probably meant.
func suggest(key string, known []string) string {
	text := "one of " + strings.Join(known, ", ")
	if near := nearest(key, known); near != "" {
		text += "; did you mean " + near + "?"
	}
	return text
}

// nearest returns the known key that differs from key by the fewest edits, or
// "" if none is near. Case and separators do not count: "clockSkew" is
// "clock_skew".
func nearest(key string, known []string) string {
	best, fewest := "", 3
	for _, candidate := range known {
		edits := distance(fold(key), fold(candidate))
		// In a very short key two edits make another word.
		if edits < fewest && edits*2 <= len(candidate) {
			best, fewest = candidate, edits
		}
	}
	return best
}

func fold(key string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(key))
}

// distance is the Levenshtein distance of two short strings, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
