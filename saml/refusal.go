package saml

// Refusal is every error of [ReadPost] and [ServiceProvider.Verify]. Error is
// for the log only: it may quote what the browser sent, bounded and escaped,
// and the person at the browser must not see it.
type Refusal struct {
	Code string // one of the Code constants: stable, fit for metrics
	Err  error  // what exactly was wrong
}

// Error returns the code and the private cause.
func (r *Refusal) Error() string { return r.Code + ": " + r.Err.Error() }

// Unwrap returns the private cause.
func (r *Refusal) Unwrap() error { return r.Err }

func refuse(code string, err error) *Refusal { return &Refusal{Code: code, Err: err} }

// CodeInternal: a fault of ours.
const CodeInternal = "internal"
