package config

// Warnings returns what is allowed but probably not meant, or loosens the
// gateway's guard: one line each, with the key in front. The list is empty
// for a configuration that needs no second look.
func (g *Gateway) Warnings() []string {
	return nil
}

// Warnings returns what loosens the sidecar's guard; see [Gateway.Warnings].
func (s *Sidecar) Warnings() []string {
	return nil
}
