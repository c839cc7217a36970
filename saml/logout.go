package saml

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/beevik/etree"
)

// ErrNoLogout is what [ServiceProvider.BeginLogout] and [ServiceProvider.AnswerLogout]
// return if the identity provider takes no logout messages, or has given the person no
// name to be asked by: only we can be left.
var ErrNoLogout = errors.New("no logout message can be sent")

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
	sp        *ServiceProvider
	requestID string // of ours, which a response must answer
	now       time.Time
	trace     *Trace

	// root is the message as it came; once the signature has been verified, what
	// was signed.
	root     *etree.Element
	request  LogoutRequest  // as far as it was read
	response LogoutResponse // as far as it was read

	found finding // by the check that is being made
}

// VerifyLogoutRequest judges a demand of the identity provider. Each is taken once.
// trace may be nil. The error is a *[Refusal].
//
// It waits for its turn, at most ten seconds, and then runs to its end whatever
// becomes of ctx.
func (sp *ServiceProvider) VerifyLogoutRequest(ctx context.Context, m LogoutMessage, trace *Trace) (*LogoutRequest, error) {
	j := &logoutJudgement{sp: sp, LogoutMessage: m, trace: trace}
	if !m.IsRequest {
		return nil, refusef(CodeRoot, "message came as a response, expected a LogoutRequest")
	}
	if err := j.judge(ctx); err != nil {
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
	j := &logoutJudgement{sp: sp, LogoutMessage: m, requestID: requestID, trace: trace}
	if m.IsRequest {
		return nil, refusef(CodeRoot, "message came as a request, expected a LogoutResponse")
	}
	if err := j.judge(ctx); err != nil {
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

// finding is what a check wants and what it got, for a trace. Nothing in it is a
// person's. A check that refused need not say what it got: its refusal does.
type finding struct{ want, got string }

// The steps of each message, in their order. Each sees only what the ones before let
// through, and the replay memory only what would be accepted.
var (
	logoutRequestOrder  = []logoutPhase{{steps: logoutGates}, {steps: logoutProfile}, {steps: logoutRequestProfile}, {steps: logoutEnd}}
	logoutResponseOrder = []logoutPhase{{steps: logoutGates}, {steps: logoutProfile}, {steps: logoutResponseProfile}, {steps: logoutEnd}}

	logoutGates = []logoutStep{
		{name: "metadata", run: (*logoutJudgement).checkMetadata},
		{name: "root", run: (*logoutJudgement).checkRoot},
		{name: "structure", run: (*logoutJudgement).checkStructure},
		{name: "version", run: (*logoutJudgement).checkHead},
		{name: "signature", run: (*logoutJudgement).checkSignature},
	}
	logoutProfile = []logoutStep{
		{name: "issuer", run: (*logoutJudgement).checkIssuer},
		{name: "destination", run: (*logoutJudgement).checkDestination},
		{name: "age", run: (*logoutJudgement).checkAge},
	}
	logoutRequestProfile = []logoutStep{
		{name: "end", run: (*logoutJudgement).checkEnd},
		{name: "name", run: (*logoutJudgement).takeSubject},
		{name: "sessions", run: (*logoutJudgement).takeSessionIndexes},
	}
	logoutResponseProfile = []logoutStep{
		{name: "request", run: (*logoutJudgement).checkInResponseTo},
		{name: "status", run: (*logoutJudgement).takeStatus},
	}
	logoutEnd = []logoutStep{
		{name: "replay", run: (*logoutJudgement).checkReplay},
	}
)

// judge waits for a turn and makes the checks.
func (j *logoutJudgement) judge(ctx context.Context) error {
	j.trace.begin(j.shape().tag, j.sp.now())
	if err := j.sp.limiter.acquire(ctx); err != nil {
		j.trace.fail("turn", err)
		return err
	}
	defer j.sp.limiter.release()
	j.now = j.sp.now()
	if j.IsRequest {
		return runSteps(j, logoutRequestOrder)
	}
	return runSteps(j, logoutResponseOrder)
}

func (j *logoutJudgement) traced() *Trace { return j.trace }

// tell records a check in the trace.
func (j *logoutJudgement) tell(prefix, name string, err error) {
	found := j.found
	j.found = finding{}
	c := Check{Name: prefix + name, Want: found.want, Got: found.got}
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		c.Code, c.Got = refusal.Code, cmp.Or(found.got, refusal.Err.Error())
		if c.Code == CodeValue { // what somebody is called
			c.Got = onlyInTheLog
		}
	}
	j.trace.add(c)
}

// checkReplay lets each message in once. It is forgotten a minute after it
// would be refused for its age.
func (j *logoutJudgement) checkReplay() error {
	id := j.root.SelectAttrValue("ID", "")
	j.found = finding{want: "a message that was not used before", got: "ID " + id}
	// The name of the element keeps it apart from an assertion with the same ID.
	key := sha256.Sum256([]byte(j.sp.idp.entityID + "\x00" + j.root.Tag + "\x00" + id))
	until := instantOf(j.root, "IssueInstant").Add(maxLogoutAge + j.sp.skew + time.Minute)
	return j.sp.remember(j.root.Tag+" "+id, hex.EncodeToString(key[:]), until)
}
