package secrets

// Remembered is how many credentials are remembered that were replaced. Nothing else may
// happen meanwhile.
func Remembered(s *Secrets) int { return len(s.retired) }
