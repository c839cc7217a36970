package accesslog

// Action is what a line is about.
type Action string

// The actions of requests.
const (
	ActionAccess      Action = "access"       // a request for a tool
	ActionStream      Action = "stream_begin" // a request for a tool whose answer goes on
	ActionSignInBegin Action = "signin_begin" // somebody is sent to the identity provider
	ActionSignIn      Action = "signin"       // the identity provider answered
	ActionTicket      Action = "signin_carry" // a sign-on reaches a tool's host
	ActionSignOut     Action = "signout"
	ActionFormKept    Action = "form_kept"  // a form is kept until its sender has signed in
	ActionForm        Action = "form"       // the page from where it is sent, or thrown away
	ActionPortal      Action = "portal"     // the door's own pages
	ActionAuditView   Action = "audit_view" // somebody looks into this very log
	ActionRefused     Action = "refused"
)

// The actions of events, which are no requests; see [Event].
const (
	ActionRevoked      Action = "session_revoked"    // a session ends before its time
	ActionConfig       Action = "config_change"      // a new configuration is in use, or refused
	ActionKeys         Action = "key_change"         // keys, metadata or credentials are in use, or refused
	ActionCertificate  Action = "certificate_change" // one of our own, or what we trust
	ActionIntroduction Action = "introduction"       // what the process was given to log in with
	ActionLogin        Action = "vault_login"        // the process has proved itself to Vault
	ActionAlarm        Action = "introduction_alarm" // somebody else may have used that
	ActionTokenLost    Action = "vault_token_lost"   // Vault does not know the process any more
	ActionStart        Action = "process_start"      // it serves
	ActionStop         Action = "process_stop"       // it stops, or has
	ActionOperator     Action = "operator_request"   // somebody at the host asked for something
	ActionRepeated     Action = "refused_again"      // many refusals of one address that have no lines of their own
)

// Kind is what all lines with one action have in common.
type Kind struct {
	Action   Action
	IsEvent  bool // no request
	IsLog    bool // what the log says of itself
	Meaning  string
	category string // JSON, of "event.category"
	types    string // JSON, of "event.type"
}

// The values of "event.category" and "event.type".
const (
	aboutWeb           = `["web"]`
	aboutSignOn        = `["web","authentication"]`
	aboutSession       = `["web","session"]`
	aboutConfiguration = `["configuration"]`
	aboutProcess       = `["process"]`
	aboutMachine       = `["authentication","iam"]`

	typeAccess      = `["access"]`
	typeAccessBegin = `["access","start"]`
	typeAccessEnd   = `["access","end"]`
	typeChange      = `["change"]`
	typeEnd         = `["end"]`
	typeInfo        = `["info"]`
	typeStart       = `["start"]`
)

// Kinds are all that lines are about, in the order of the documentation.
func Kinds() []Kind {
	return []Kind{
		{ActionAccess, false, false, "a request for a tool, when it has ended", aboutWeb, typeAccess},
		{ActionStream, false, false, "the beginning of one whose answer goes on: an upgraded connection, an event stream, gRPC, and any answer of which something is still sent 30 seconds after the request came. Its end is the line `access` with the same `http.request.id`", aboutWeb, typeAccessBegin},
		{ActionSignInBegin, false, false, "somebody is sent to sign in", aboutSignOn, typeInfo},
		{ActionSignIn, false, false, "the identity provider has answered", aboutSignOn, typeStart},
		{ActionTicket, false, false, "a sign-on reaches the host of a tool", aboutSession, typeStart},
		{ActionSignOut, false, false, "somebody signs out, or the identity provider demands it, or answers that it has done so", aboutSession, typeEnd},
		{ActionFormKept, false, false, "a form is kept until whoever sent it has signed in", aboutWeb, typeAccess},
		{ActionForm, false, false, "the page from where a kept form is sent, or thrown away", aboutWeb, typeAccess},
		{ActionPortal, false, false, "the door's own pages", aboutWeb, typeAccess},
		{ActionAuditView, false, false, "somebody looks into the log on the [audit page](audit-page.md), or tries to: `url.query` is what was looked for", aboutWeb, typeAccess},
		{ActionRefused, false, false, "a request that was refused before it was known what for", aboutWeb, typeAccess},
		{ActionRepeated, true, false, "further requests of one address were refused, for the same `event.reason`, within [ten seconds](#one-line-for-many) of one that has its line: `sallyport.refused.count` says how many. No other line stands for more than one decision", aboutWeb, typeAccess},
		{ActionRevoked, true, false, "a session has ended before its time, by `event.reason`: `logout` of the person, `logout_request` of the identity provider, `replaced` by another person's sign-on in the same browser", `["session"]`, typeEnd},
		{ActionConfig, true, false, "a configuration was read at the start, a newer one is in use, or was refused: then `event.outcome` is `failure` and `error.message` says why", aboutConfiguration, typeChange},
		{ActionKeys, true, false, "the same of the secrets that the gateway lives from: keys of sessions, of SAML, of assertions, metadata of identity providers, credentials for tools", aboutConfiguration, typeChange},
		{ActionCertificate, true, false, "a certificate was `issued`, `renewed`, `revoked`, has `expired`, or the authorities that are trusted have `changed`", aboutConfiguration, typeChange},
		{ActionIntroduction, true, false, "what the process was introduced to Vault with: where it was `found`, that it was `checked` and, of a wrapped SecretID, `unwrapped`; and the `heir` that the next start may use", aboutMachine, typeInfo},
		{ActionLogin, true, false, "the process has logged in to Vault, at its `start` or `again`", aboutMachine, typeStart},
		{ActionAlarm, true, false, "the introduction may have been used by somebody else: `event.reason` is the alarm's code in [operations.md](operations.md)", aboutMachine, typeInfo},
		{ActionTokenLost, true, false, "Vault does not know the token any more: it was revoked, or has ended", aboutMachine, typeEnd},
		{ActionStart, true, false, "the process serves", aboutProcess, typeStart},
		{ActionStop, true, false, "the process was asked to stop (`stopping`), or has stopped (`stopped`)", aboutProcess, typeEnd},
		{ActionLogStart, false, true, "an instance of the log begins: one run of a process", aboutConfiguration, typeStart},
		{ActionLogEnd, false, true, "it ends; an instance without this line was killed", aboutConfiguration, typeEnd},
		{ActionLogGap, false, true, "records were lost here, since there was no room for them", aboutConfiguration, typeInfo},
		{ActionCheckpoint, false, true, "what came before is signed", aboutConfiguration, typeInfo},
		{ActionOperator, true, false, "somebody at the host asked for something: a renewal of certificates (`renewal`), a look for new versions (`reload`)", aboutConfiguration, typeInfo},
	}
}

// kinds are Kinds by their actions. It is never written to.
var kinds = func() map[Action]Kind { //nolint:gochecknoglobals // a lookup table
	all := make(map[Action]Kind)
	for _, k := range Kinds() {
		all[k.Action] = k
	}
	return all
}()

// kindOf is the kind of an action; of one that is unknown, that of a request.
func kindOf(a Action) Kind {
	if k, ok := kinds[a]; ok {
		return k
	}
	return Kind{category: aboutWeb, types: typeAccess}
}

// typeOf is "event.type", of a request with s.
func (k Kind) typeOf(s Stream) string {
	if s != "" && k.Action == ActionAccess {
		return typeAccessEnd
	}
	return k.types
}
