package saml

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
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

// logoutStep is one thing that is looked at: a name in words, the same as of the step
// of a sign-on that looks at the same thing, and a function. The error of that is a
// *[Refusal].
type logoutStep struct {
	name string
	run  func(*ServiceProvider, *logoutJudgement) (finding, error)
}

// finding is what a check wants and what it got, for a trace. Nothing in it is a
// person's. A check that refused need not say what it got: its refusal does.
type finding struct{ want, got string }

// The steps of each message, in their order. Each sees only what the ones before let
// through, and the replay memory only what would be accepted.
var (
	logoutRequestOrder  = [][]logoutStep{logoutGates, logoutProfile, logoutRequestProfile, logoutEnd}
	logoutResponseOrder = [][]logoutStep{logoutGates, logoutProfile, logoutResponseProfile, logoutEnd}

	logoutGates = []logoutStep{
		{"metadata", (*ServiceProvider).checkLogoutMetadata},
		{"root", (*ServiceProvider).checkLogoutRoot},
		{"structure", (*ServiceProvider).checkLogoutStructure},
		{"version", (*ServiceProvider).checkLogoutHead},
		{"signature", (*ServiceProvider).checkLogoutSignature},
	}
	logoutProfile = []logoutStep{
		{"issuer", (*ServiceProvider).checkLogoutIssuer},
		{"destination", (*ServiceProvider).checkLogoutDestination},
		{"age", (*ServiceProvider).checkLogoutAge},
	}
	logoutRequestProfile = []logoutStep{
		{"end", (*ServiceProvider).checkLogoutEnd},
		{"name", (*ServiceProvider).takeLogoutSubject},
		{"sessions", (*ServiceProvider).takeSessionIndexes},
	}
	logoutResponseProfile = []logoutStep{
		{"request", (*ServiceProvider).checkLogoutInResponseTo},
		{"status", (*ServiceProvider).takeLogoutStatus},
	}
	logoutEnd = []logoutStep{
		{"replay", (*ServiceProvider).checkLogoutReplay},
	}
)

// judge waits for a turn and takes the steps.
func (sp *ServiceProvider) judge(ctx context.Context, j *logoutJudgement) error {
	j.trace.begin(j.shape().tag, sp.now())
	if err := sp.limiter.acquire(ctx); err != nil {
		j.trace.fail("turn", err)
		return err
	}
	defer sp.limiter.release()
	j.now = sp.now()
	if j.IsRequest {
		return sp.take(j, logoutRequestOrder...)
	}
	return sp.take(j, logoutResponseOrder...)
}

// take takes the steps until one refuses, and tells the trace of each. A panic is a
// refusal, as in [judgement.run].
func (sp *ServiceProvider) take(j *logoutJudgement, phases ...[]logoutStep) (err error) {
	current := ""
	defer func() {
		if p := recover(); p != nil {
			err = refusef(CodeInternal, "checking the %s: panic: %.300v", current, p)
			j.trace.fail(current, err)
		}
	}()
	for _, s := range slices.Concat(phases...) {
		current = s.name
		found, err := s.run(sp, j)
		j.tell(s.name, found, err)
		if err != nil {
			return err
		}
	}
	return nil
}

// tell records a check in the trace.
func (j *logoutJudgement) tell(name string, found finding, err error) {
	c := Check{Name: name, Want: found.want, Got: found.got}
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		c.Code, c.Got = refusal.Code, cmp.Or(found.got, refusal.Err.Error())
		if c.Code == CodeValue { // what somebody is called
			c.Got = onlyInTheLog
		}
	}
	j.trace.add(c)
}

// checkLogoutReplay lets each message in once. It is forgotten a minute after it
// would be refused for its age.
func (sp *ServiceProvider) checkLogoutReplay(j *logoutJudgement) (finding, error) {
	id := j.root.SelectAttrValue("ID", "")
	// The name of the element keeps it apart from an assertion with the same ID.
	key := sha256.Sum256([]byte(sp.idp.entityID + "\x00" + j.root.Tag + "\x00" + id))
	issued := instantOf(j.root, "IssueInstant")
	return finding{want: "a message that was not used before", got: "ID " + id}, sp.remember(j.root.Tag+" "+id, hex.EncodeToString(key[:]), issued.Add(maxLogoutAge+sp.skew+time.Minute))
}
