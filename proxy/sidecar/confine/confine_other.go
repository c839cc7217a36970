//go:build !linux

package confine

import "fmt"

// Apply confines nothing where there is no Landlock.
func Apply(cfg Config) (State, error) {
	if _, err := cfg.normal(); err != nil {
		return State{}, err
	}
	state := State{Missing: append(missing(0), "new privileges")}
	if cfg.Required {
		return state, fmt.Errorf("%w: it is not Linux", ErrMissing)
	}
	return state, nil
}
