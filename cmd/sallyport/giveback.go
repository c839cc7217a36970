package main

import (
	"context"
	"time"
)

// afterStart is when everything has run once that a start sets going.
const afterStart = 3 * time.Second

// giveBackOnce has a process that has begun to serve give back what its start has needed.
func giveBackOnce(ctx context.Context) {
	timer := time.NewTimer(afterStart)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		giveBack()
	}
}
