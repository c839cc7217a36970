package main

import "testing"

func TestCollectorHasRoomAndNoMoreThanThat(t *testing.T) {
	for name, c := range map[string]struct {
		room, live int64
		want       int
	}{
		"a small heap":  {64 << 20, 8 << 20, 800},
		"a large heap":  {64 << 20, 1 << 30, 100},
		"at the start":  {64 << 20, 0, 6400},
		"little memory": {8 << 20, 8 << 20, 100},
	} {
		if got := percentFor(c.room, c.live); got != c.want {
			t.Errorf("%s: %d %%, expected %d", name, got, c.want)
		}
	}
}
