package secrets

// AtEachStep has f called after each step of writing, telling and cleaning up, with what
// was done. It is called concurrently.
func (cfg *Config) AtEachStep(f func(done string)) { cfg.passed = func(s step) { f(string(s)) } }

// Remembered is how many credentials are remembered that were replaced. Nothing else may
// happen meanwhile.
func Remembered(s *Secrets) int { return len(s.retired) }
