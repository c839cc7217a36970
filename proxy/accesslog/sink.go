package accesslog

import "context"

// Batch is some sealed lines in order, each ended by a line break: about a mebibyte at
// most. It is used again for other lines once Write has returned: a sink that keeps
// lines keeps a copy.
type Batch struct {
	// Lines are the lines.
	Lines []byte
	// First and Last are the sequence numbers of the first and the last line.
	First, Last uint64
	// Count is the number of lines, at least one.
	Count int
	// Instance is whose lines these are.
	Instance string

	raw int // how many bytes the lines were before they were sealed
}

// Sink takes batches, in order, one call at a time. Each has a goroutine of its own, so
// that it may take its time: none waits for another.
type Sink interface {
	// Write returns when the batch is as safe as the sink promises: written, or kept
	// until a collector takes it. After an error it is called with the same batch
	// again, until that is written whole, and goes on exactly where it stopped: no byte
	// of a line is lost or repeated. When ctx ends, it gives up.
	Write(ctx context.Context, b *Batch) error
	// Close is called once, after the last Write.
	Close() error
	// Name is what errors and metrics call it.
	Name() string
}

// Judge is a Sink that knows better than by a Write that has failed whether there is room
// for more records. Err says why nobody should be let in whose records it is to get; it is
// called for every request, concurrently.
type Judge interface {
	Err() error
}

// Syncer is a Sink whose batches outlive the machine only after a Sync; it is called
// between two Writes, as [Durability] says, and again after an error. Nil says that all
// that was written is on disk: after a sync that failed the system may have dropped what
// it could not write, and the next succeeds without it.
type Syncer interface {
	Sync(ctx context.Context) error
}

// Durability is what a record has survived when its request ends.
type Durability int

// The zero value is the default.
const (
	// DurabilityBatch: records are written at once, together with what has come
	// meanwhile, and synced at most once a second. The end of the process loses what
	// was not written, some milliseconds under load; the end of the machine a second.
	DurabilityBatch Durability = iota
	// DurabilityNone never syncs.
	DurabilityNone
	// DurabilityFsync has each request wait at its end until its record is synced,
	// together with those of all others that wait.
	DurabilityFsync
)
