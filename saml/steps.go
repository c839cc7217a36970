package saml

// stepOf is one check of a message: a name in words, for traces, and a function, whose
// error is a *[Refusal]. A step is passed over if when says so. J is the message on its
// way through the checks; what is looked at in both kinds has one name in both.
type stepOf[J any] struct {
	name string
	when func(J) bool // nil: always
	run  func(J) error
}

// phaseOf is some steps that belong together.
type phaseOf[J any] struct {
	prefix string       // of the names of its steps
	when   func(J) bool // nil: always
	steps  []stepOf[J]
}

// The steps of a response, and of a logout message.
type (
	step        = stepOf[*judgement]
	phase       = phaseOf[*judgement]
	logoutStep  = stepOf[*logoutJudgement]
	logoutPhase = phaseOf[*logoutJudgement]
)

// judged is a message on its way through the checks.
type judged interface {
	// tell records a check in the trace, if there is one; err is nil if it passed.
	tell(prefix, name string, err error)
	// traced is the trace; nil if nobody wants to know.
	traced() *Trace
}

// runSteps makes the checks until one refuses, and tells the trace of each. All of
// this reads what a stranger wrote, by libraries that have panicked on that before: a
// panic is a refusal.
func runSteps[J judged](j J, phases []phaseOf[J]) (err error) {
	current := ""
	defer func() {
		if p := recover(); p != nil {
			err = refusef(CodeInternal, "checking the %s: panic: %.300v", current, p)
			j.traced().fail(current, err)
		}
	}()
	for _, p := range phases {
		if p.when != nil && !p.when(j) {
			continue
		}
		for _, s := range p.steps {
			if s.when != nil && !s.when(j) {
				continue
			}
			current = s.name
			err := s.run(j)
			j.tell(p.prefix, s.name, err)
			if err != nil {
				return err
			}
		}
	}
	return nil
}
