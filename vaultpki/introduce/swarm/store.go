package swarm

import (
	"context"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/vaultpki"
)

// Labels of the secrets that Store makes and that Driver reads.
const (
	labelPrefix   = "sallyport."
	LabelRole     = labelPrefix + "role"
	labelAccessor = labelPrefix + "accessor-hash"
	labelEnds     = labelPrefix + "ends"
)

// Storage is a place for one introduction: the name of a Docker secret.
type Storage struct {
	Engine *Engine // required
	Name   string  // of the secret; required
	// Replace removes a secret of that name first, if it holds an introduction of
	// the same role and no service uses it. For a moment there is none.
	Replace bool

	old *Secret // what is there, and may be replaced
}

// Prepare finds out whether an introduction of role could be stored, before one is
// minted: no engine, no manager, and a name that is taken cost nothing then.
func (s *Storage) Prepare(ctx context.Context, role string) error {
	if err := CheckSecretName(s.Name); err != nil {
		return err
	}
	found, err := s.Engine.Find(ctx, s.Name)
	switch {
	case err != nil:
		return err
	case found == nil:
		return nil
	case !s.Replace:
		return fmt.Errorf("creating the docker secret %s: %w", s.Name, ErrNameTaken)
	case found.Labels[LabelRole] != role || found.Labels[labelAccessor] == "":
		return fmt.Errorf("replacing the docker secret %s: %w, and it is no introduction of role %s", s.Name, ErrNameTaken, role)
	}
	s.old = found
	return nil
}

// Store creates the secret and returns its ID. Prepare was called before.
func (s *Storage) Store(ctx context.Context, role string, wrapped vaultpki.Wrapped) (string, error) {
	if s.old != nil {
		if err := s.Engine.Remove(ctx, *s.old); err != nil {
			return "", err
		}
	}
	return s.Engine.Create(ctx, s.Name, map[string]string{
		LabelRole:     role,
		labelAccessor: wrapped.AccessorHash(),
		labelEnds:     time.Now().Add(wrapped.TTL).UTC().Format(time.RFC3339),
	}, []byte(wrapped.Token))
}
