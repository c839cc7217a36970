package main

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestMemoryIsGivenBackOnlyWhileNobodyAsks: a process that is asked something needs what
// it has.
func TestMemoryIsGivenBackOnlyWhileNobodyAsks(t *testing.T) {
	for _, tt := range []struct {
		name   string
		share  float64       // of a processor that the process takes
		busy   time.Duration // for so long from the start
		mapped int
		within time.Duration
		want   []string
	}{
		{"idle, with little", 0.001, time.Hour, 1 << 20, time.Minute + 4*time.Second, []string{"3s all", "33s all", "1m3s all"}},
		{"idle, with much", 0.001, time.Hour, 9 << 20, 8 * time.Second, []string{"3s all", "5s pages", "7s pages"}},
		{"busy", 0.02, time.Hour, 9 << 20, time.Minute, []string{"3s all"}},
		{"busy, and then idle", 0.02, 40 * time.Second, 9 << 20, 46 * time.Second, []string{"3s all", "43s all", "45s pages"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tt.within)
				defer cancel()
				began := time.Now()
				var did []string
				note := func(what string) func() {
					return func() { did = append(did, time.Since(began).String()+" "+what) }
				}
				thrift{
					worked: func() time.Duration { return time.Duration(tt.share * float64(min(time.Since(began), tt.busy))) },
					mapped: func() int { return tt.mapped },
					all:    note("all"), pages: note("pages"),
				}.whileIdle(ctx)
				if !slices.Equal(did, tt.want) {
					t.Errorf("did %q, expected %q", did, tt.want)
				}
			})
		})
	}
}

// TestWhatThisProcessTakesIsKnown asks the kernel.
func TestWhatThisProcessTakesIsKnown(t *testing.T) {
	if worked() <= 0 || mapped() <= 0 {
		t.Errorf("worked %s, %d bytes of files", worked(), mapped())
	}
}
