//go:build !linux

package confine

// Apply confines nothing where there is no Landlock.
func Apply(cfg Config) (State, error) {
	if _, err := cfg.normal(); err != nil {
		return State{}, err
	}
	if cfg.Required {
		return found(), found().check()
	}
	return found(), nil
}

// found is what the kernel can do: nothing.
func found() State { return State{Missing: append(missing(0), "new privileges")} }
