package assertion

// MostBytes is what an Issuer remembers at most.
const MostBytes = parts * mostPerPart

// Remembered says how much it remembers.
func Remembered(i *Issuer) (entries, bytes int) {
	for n := range i.memory.part {
		p := &i.memory.part[n]
		p.mu.RLock()
		entries, bytes = entries+len(p.entries), bytes+p.bytes
		p.mu.RUnlock()
	}
	return entries, bytes
}
