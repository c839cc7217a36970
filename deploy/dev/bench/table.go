package main

import (
	"fmt"
	"slices"
	"strings"
)

// series are the values of one figure by peer, round by round.
type series map[string][]float64

// base is what the others are told as multiples of.
const base = "nginx"

// table is one in Markdown: for each figure and peer the median, its multiple of
// nginx's (the median of the rounds' ratios), and between what these lie.
func table(at place, peers []string, measured map[string]series) string {
	var b strings.Builder
	b.WriteString("\n" + at.title + ":\n\n| figure | " + strings.Join(peers, " | ") + " |\n|---" + strings.Repeat("|---", len(peers)) + "|\n")
	for _, f := range at.figures {
		values := measured[f.name]
		if len(values) == 0 {
			continue
		}
		b.WriteString("| " + f.title + ", " + f.unit + " |")
		for _, p := range peers {
			b.WriteString(" " + cell(values[p], values[base]) + " |")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// cell is a median, and the median ratio to base with its range.
func cell(values, of []float64) string {
	if len(values) == 0 {
		return "–"
	}
	text := fmt.Sprintf("%.4g", median(values))
	if len(of) != len(values) {
		return text
	}
	ratios := make([]float64, len(values))
	for i := range values {
		ratios[i] = values[i] / of[i]
	}
	return fmt.Sprintf("%s, ×%.2f (%.2f–%.2f)", text, median(ratios), slices.Min(ratios), slices.Max(ratios))
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}
