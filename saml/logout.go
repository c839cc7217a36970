package saml

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/beevik/etree"
)

// ErrNoLogout is returned by [ServiceProvider.BeginLogout] for an identity provider
// that takes no logout messages: only we can be left.
var ErrNoLogout = errors.New("the identity provider has no SingleLogoutService")

// LogoutMessage is a logout message as a browser brought it. Nothing in it has been
// verified. The zero value is not usable; see [ReadLogout].
type LogoutMessage struct {
	// IsRequest says whether it came as a LogoutRequest; else as a LogoutResponse.
	IsRequest bool
	// RelayState is printable ASCII, at most 80 bytes; may be empty.
	RelayState string
	// Issuer is the entity ID that the message gives as its sender's, to choose the
	// [ServiceProvider] that shall judge it. Empty if it gives none.
	Issuer string

	raw   []byte         // the XML
	query *redirectQuery // that it came in; nil for HTTP-POST
}

// LogoutRequest is a verified demand of the identity provider to end sessions.
type LogoutRequest struct {
	ID         string
	RelayState string // to be given back with the answer
	Subject    Subject
	// SessionIndexes are the sessions to end; empty for all of Subject's.
	SessionIndexes []string
}

// LogoutResponse is a verified answer to a LogoutRequest of ours.
type LogoutResponse struct {
	// Partial means that not all of the session's other participants were reached.
	Partial bool
	// Failed means that the identity provider itself has not ended the session;
	// Status is its word for why, for the log.
	Failed bool
	Status string
}

// logoutJudgement is one logout message on its way through the checks.
type logoutJudgement struct {
	LogoutMessage
	requestID string // of ours, which a response must answer
	now       time.Time
	trace     *Trace

	// root is the message as it came; once the signature has been verified, what
	// was signed.
	root     *etree.Element
	request  LogoutRequest  // as far as it was read
	response LogoutResponse // as far as it was read
}

// VerifyLogoutRequest judges a demand of the identity provider. Each is taken once.
// trace may be nil. The error is a *[Refusal].
//
// It waits for its turn, at most ten seconds, and then runs to its end whatever
// becomes of ctx.
func (sp *ServiceProvider) VerifyLogoutRequest(ctx context.Context, m LogoutMessage, trace *Trace) (*LogoutRequest, error) {
	j := &logoutJudgement{LogoutMessage: m, trace: trace}
	if !m.IsRequest {
		return nil, refusef(CodeRoot, "message came as a response, expected a LogoutRequest")
	}
	if err := sp.judge(ctx, j); err != nil {
		return nil, err
	}
	return &j.request, nil
}

// VerifyLogoutResponse judges the answer to the request with that ID, which this
// browser was given. Each is taken once. trace may be nil. The error is a *[Refusal].
//
// It waits for its turn, at most ten seconds, and then runs to its end whatever
// becomes of ctx.
func (sp *ServiceProvider) VerifyLogoutResponse(ctx context.Context, m LogoutMessage, requestID string, trace *Trace) (*LogoutResponse, error) {
	j := &logoutJudgement{LogoutMessage: m, requestID: requestID, trace: trace}
	if m.IsRequest {
		return nil, refusef(CodeRoot, "message came as a request, expected a LogoutResponse")
	}
	if err := sp.judge(ctx, j); err != nil {
		return nil, err
	}
	return &j.response, nil
}

// shape is what the message must look like.
func (j *logoutJudgement) shape() *shape {
	if j.IsRequest {
		return &logoutRequestShape
	}
	return &logoutResponseShape
}

// logoutCheck is one thing that is looked at. It reports what it expected and what
// came, for the trace, and refuses the message by an error, which is a *[Refusal].
type logoutCheck struct {
	name string
	look func(*ServiceProvider, *logoutJudgement) (finding, error)
}

// finding is what a check has to show. Nothing in it is a person's.
type finding struct{ want, got string }

// Checks of logout messages, in their order: each sees only what the ones before let
// through, and the replay memory only what would be accepted.
var (
	logoutRequestChecks = []logoutCheck{
		{"metadata", (*ServiceProvider).checkMetadataIsFresh},
		{"shape", (*ServiceProvider).checkLogoutShape},
		{"signature", (*ServiceProvider).checkLogoutSignature},
		{"issuer", (*ServiceProvider).checkLogoutIssuer},
		{"destination", (*ServiceProvider).checkLogoutDestination},
		{"issue instant", (*ServiceProvider).checkLogoutIssueInstant},
		{"not on or after", (*ServiceProvider).checkLogoutEnd},
		{"name identifier", (*ServiceProvider).takeLogoutSubject},
		{"session indexes", (*ServiceProvider).takeSessionIndexes},
		{"replay", (*ServiceProvider).checkLogoutReplay},
	}
	logoutResponseChecks = []logoutCheck{
		{"metadata", (*ServiceProvider).checkMetadataIsFresh},
		{"shape", (*ServiceProvider).checkLogoutShape},
		{"signature", (*ServiceProvider).checkLogoutSignature},
		{"issuer", (*ServiceProvider).checkLogoutIssuer},
		{"destination", (*ServiceProvider).checkLogoutDestination},
		{"issue instant", (*ServiceProvider).checkLogoutIssueInstant},
		{"in response to", (*ServiceProvider).checkLogoutInResponseTo},
		{"status", (*ServiceProvider).takeLogoutStatus},
		{"replay", (*ServiceProvider).checkLogoutReplay},
	}
)

// judge waits for a turn and makes the checks.
func (sp *ServiceProvider) judge(ctx context.Context, j *logoutJudgement) error {
	if err := sp.limiter.acquire(ctx); err != nil {
		return err
	}
	defer sp.limiter.release()
	j.now = sp.now()
	if j.trace != nil {
		j.trace.Message, j.trace.Received = j.shape().tag, j.now
	}
	if j.IsRequest {
		return sp.look(j, logoutRequestChecks)
	}
	return sp.look(j, logoutResponseChecks)
}

// look makes the checks until one fails. The libraries that they use read what a
// stranger wrote, and have panicked on that before: a panic is a refusal.
func (sp *ServiceProvider) look(j *logoutJudgement, checks []logoutCheck) (err error) {
	current := ""
	defer func() {
		if p := recover(); p != nil {
			err = refusef(CodeInternal, "checking the %s: panic: %.300v", current, p)
			j.trace.note(current, finding{}, err)
		}
	}()
	for _, check := range checks {
		current = check.name
		found, err := check.look(sp, j)
		j.trace.note(current, found, err)
		if err != nil {
			return err
		}
	}
	return nil
}

// note adds a check.
func (t *Trace) note(name string, found finding, err error) {
	if t == nil {
		return
	}
	check := Check{Name: name, Want: found.want, Got: found.got}
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		check.Code = refusal.Code
	}
	t.Checks = append(t.Checks, check)
}

// checkLogoutReplay lets each message in once. It is forgotten a minute after it
// would be refused for its age.
func (sp *ServiceProvider) checkLogoutReplay(j *logoutJudgement) (finding, error) {
	id := j.root.SelectAttrValue("ID", "")
	// The name of the element keeps it apart from an assertion with the same ID.
	key := sha256.Sum256([]byte(sp.idp.entityID + "\x00" + j.root.Tag + "\x00" + id))
	issued := instantOf(j.root, "IssueInstant")
	return finding{}, sp.remember(j.root.Tag+" "+id, hex.EncodeToString(key[:]), issued.Add(maxLogoutAge+sp.skew+time.Minute))
}
