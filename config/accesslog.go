package config

// What a record of the access log may have survived when its request ends.
const (
	DurabilityNone  = "none"
	DurabilityBatch = "batch"
	DurabilityFsync = "fsync"
)

// What may become of requests while nothing can be recorded.
const (
	OnFailureDeny = "deny"
	OnFailureDrop = "drop"
)

var durabilities = [...]string{DurabilityNone, DurabilityBatch, DurabilityFsync}

// maxBuffer is the most that may wait to be written, in MiB.
const maxBuffer = 4096

func defaultAccessLog() AccessLog {
	return AccessLog{
		File: standardOutput, Rotate: defaultRotate(), Durability: DurabilityBatch, OnFailure: OnFailureDeny, BufferMiB: 8,
		Checkpoints: defaultCheckpoints(), AuditPage: defaultAuditPage(),
	}
}

// waiting judges how records wait to be written.
func (c *collector) waiting(at string, a AccessLog) {
	c.oneOf(join(at, "durability"), a.Durability, durabilities[:])
	c.oneOf(join(at, "on_failure"), a.OnFailure, sinkFailures[:])
	c.count(join(at, "buffer_mib"), a.BufferMiB, 1, maxBuffer)
}

// warnings tells what an operator should have wanted.
func (a AccessLog) warnings() []string {
	if a.OnFailure != OnFailureDrop {
		return nil
	}
	return []string{"access_log.on_failure: people are let in while nothing can be recorded, and records may be lost"}
}
