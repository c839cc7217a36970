package config

import "time"

// Checkpoints say how often Vault signs what the access log has, and with which key.
type Checkpoints struct {
	// Every is the longest that a record waits to be signed for: 1s to 1h. Default 1m.
	Every Duration `yaml:"every"`
	// Records is how many records wait at most, 100 to 10000000. Default 10000.
	Records int `yaml:"records"`
	// Mount is that of Vault's transit engine. Default "transit".
	Mount string `yaml:"mount"`
	// Key is the name of the key there. Default none: nothing is signed, and records
	// are a chain alone.
	Key string `yaml:"key"`
	// Path is where, in the mount of vault.kv_mount, each process publishes its latest
	// checkpoint, at a name of its own. Default "sallyport/log".
	Path string `yaml:"path"`
}

const (
	minCheckpointEvery   = time.Second
	maxCheckpointEvery   = time.Hour
	minCheckpointRecords = 100
	maxCheckpointRecords = 10_000_000
)

// On reports whether there are checkpoints.
func (c Checkpoints) On() bool { return c.Key != "" }

func defaultCheckpoints() Checkpoints {
	return Checkpoints{Every: Duration{time.Minute}, Records: 10_000, Mount: "transit", Path: "sallyport/log"}
}

// checkpoints reports what is wrong with them.
func (c *collector) checkpoints(at string, p Checkpoints) {
	c.within(join(at, "every"), p.Every, minCheckpointEvery, maxCheckpointEvery)
	c.count(join(at, "records"), p.Records, minCheckpointRecords, maxCheckpointRecords)
	c.mount(join(at, "mount"), p.Mount)
	c.role(join(at, "key"), p.Key)
	c.mount(join(at, "path"), p.Path)
}
