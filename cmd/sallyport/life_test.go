package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestWhatAStopBeginsWithIsToldBeforeItsEnd: however long it takes to tell.
func TestWhatAStopBeginsWithIsToldBeforeItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		told := false
		settled := onEnd(ctx, func() {
			<-time.After(time.Minute)
			told = true
		})
		cancel()
		if settled(); !told {
			t.Error("the stop has ended before anybody was told that it begins")
		}
		ctx, cancel = context.WithCancel(t.Context())
		defer cancel()
		settled = onEnd(ctx, func() { t.Error("told of a stop that is none") })
		settled()
		cancel()
		synctest.Wait()
	})
}
