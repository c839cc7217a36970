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
		share  float64 // of a processor that the process takes
		mapped int
		want   []string
	}{
		{"idle, with little", 0.001, 1 << 20, []string{"3s all", "33s all", "1m3s all"}},
		{"idle, with much", 0.001, 9 << 20, []string{"3s all", "5s pages", "7s pages"}},
		{"busy", 0.02, 9 << 20, []string{"3s all"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 64*time.Second)
				defer cancel()
				began := time.Now()
				var did []string
				note := func(what string) func() {
					return func() { did = append(did, time.Since(began).String()+" "+what) }
				}
				thrift{
					worked: func() time.Duration { return time.Duration(tt.share * float64(time.Since(began))) },
					mapped: func() int { return tt.mapped },
					all:    note("all"), pages: note("pages"),
				}.whileIdle(ctx)
				if got := did[:min(len(did), len(tt.want))]; !slices.Equal(got, tt.want) || tt.mapped < mostUnused && len(did) > len(tt.want) || tt.share > idleProcessing && len(did) > 1 {
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
