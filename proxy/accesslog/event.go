package accesslog

import "time"

// Event is what a line says that is about no request: a session that was revoked, a new
// configuration or new keys, a certificate, how the process came to Vault. Fields that are
// empty are left out. It must not be changed once it was given to [Log.WriteEvent].
type Event struct {
	Time   time.Time // "@timestamp"; zero for the moment of writing
	Action Action    // "event.action": one of those of events
	Alert  bool      // "event.kind" is alert
	// Failed says that what was tried did not come about: "event.outcome" is failure.
	Failed bool
	Reason string // "event.reason": a stable code
	// Decision is "sallyport.decision": what became of all requests that the line stands
	// for, and Repeated how many those are. Empty for any other line.
	Decision string
	Repeated Repeated

	RequestID string // "http.request.id" of the request that brought it about
	Client    string // "client.address" of whoever asked
	User      string // "user.name": whose session
	SessionID string // "sallyport.session.id"
	SubjectID string // "sallyport.subject.id"
	IdP       string // "sallyport.idp"

	// Object is what has changed, or would have.
	Object Object
	// Certificate is which one.
	Certificate Certificate
	// Vault is how the process stands to it.
	Vault Vault

	Cause string // "error.message"
}

// Object is a thing that has versions.
type Object struct {
	Kind     string   // "sallyport.object.kind": "configuration", "session_keys"
	Name     string   // "sallyport.object.name": its place
	Version  string   // "sallyport.object.version": the new one
	Before   string   // "sallyport.object.version_before": the one that was in use
	Sections []string // "sallyport.object.sections": what of it has changed
}

// Certificate is one of ours.
type Certificate struct {
	Name     string    // "sallyport.certificate.name"
	Serial   string    // "sallyport.certificate.serial", as Vault writes it
	NotAfter time.Time // "sallyport.certificate.not_after"
}

// Vault is how a process was introduced to Vault and what it was granted.
type Vault struct {
	Method string // "sallyport.vault.auth_method"
	// Accessor is "sallyport.vault.accessor": that of the token, in the form in which
	// Vault's own audit log has it. The accessor itself lets revoke, and is never written.
	Accessor string
	Policies []string // "sallyport.vault.policies"
	// Source is "sallyport.introduction.source": where the introduction was found; and
	// Hash is "sallyport.introduction.hash": a part of its SHA-256.
	Source, Hash string
}

// encode appends what follows the time.
func (v *Event) encode(e *encoder, action Action, service string) {
	kind := `","ecs.version":"8.17.0","event.kind":"event"`
	if v.Alert {
		kind = `","ecs.version":"8.17.0","event.kind":"alert"`
	}
	e.buf = append(e.buf, kind...)
	k := kindOf(action)
	e.raw("event.category", k.category)
	e.raw("event.type", k.types)
	e.text("event.action", string(action))
	result := "success"
	if v.Failed {
		result = "failure"
	}
	e.text("event.outcome", result)
	e.text("service.name", service)
	e.optional("http.request.id", v.RequestID)
	e.optional("sallyport.decision", v.Decision)
	e.optional("event.reason", v.Reason)
	e.optional("user.name", v.User)
	e.optional("sallyport.session.id", v.SessionID)
	e.optional("sallyport.subject.id", v.SubjectID)
	e.optional("sallyport.idp", v.IdP)
	e.optional("client.address", v.Client)
	v.Repeated.encode(e)
	v.Object.encode(e)
	v.Certificate.encode(e)
	v.Vault.encode(e)
	e.optional("error.message", v.Cause)
}

func (r *Repeated) encode(e *encoder) {
	if r.Count == 0 {
		return
	}
	e.number("sallyport.refused.count", r.Count)
	e.text("event.start", r.From.UTC().Format(timeFormat))
	e.text("event.end", r.To.UTC().Format(timeFormat))
}

func (o *Object) encode(e *encoder) {
	e.optional("sallyport.object.kind", o.Kind)
	e.optional("sallyport.object.name", o.Name)
	e.optional("sallyport.object.version", o.Version)
	e.optional("sallyport.object.version_before", o.Before)
	e.list("sallyport.object.sections", o.Sections)
}

func (c *Certificate) encode(e *encoder) {
	e.optional("sallyport.certificate.name", c.Name)
	e.optional("sallyport.certificate.serial", c.Serial)
	if !c.NotAfter.IsZero() {
		e.text("sallyport.certificate.not_after", c.NotAfter.UTC().Format(timeFormat))
	}
}

func (v *Vault) encode(e *encoder) {
	e.optional("sallyport.vault.auth_method", v.Method)
	e.optional("sallyport.vault.accessor", v.Accessor)
	e.list("sallyport.vault.policies", v.Policies)
	e.optional("sallyport.introduction.source", v.Source)
	e.optional("sallyport.introduction.hash", v.Hash)
}

// WriteEvent writes v as one line. There is room for it as for the record of somebody who was
// let in (see [Log.Write]), but it waits for nothing: it is called by whoever logs, and what
// keeps a process going must not wait for a disk.
func (l *Log) WriteEvent(v *Event) error {
	r := Record{Time: v.Time, Action: v.Action, Event: v}
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	return l.putNow(l.line(nil, &r))
}
