package vaultpki

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sallyport/sallyport/vaultpki/internal/wire"
)

// Ask is a call that the process makes for somebody else, such as the application beside
// it: any path, and any method that Vault knows.
type Ask struct {
	Method string // GET, PUT, LIST and the like
	Path   string // below /v1/, without slashes at its ends
	Query  map[string]string
	Body   map[string]any
	// Token, if not empty, takes the place of the Client's.
	Token string
	// Urgent has a Vault that is away asked all the same: what is asked for replaces
	// something that ends. Its asker has to keep a pace that fits that.
	Urgent bool
}

// Answer is what Vault answers to an Ask. No format or log shows it.
type Answer struct {
	RequestID string
	Data      map[string]any // numbers are of type json.Number
	LeaseID   string
	Lease     time.Duration
	Renewable bool
	Auth      *AnswerAuth // a token, if that was asked for
}

// AnswerAuth is a token in an Answer.
type AnswerAuth struct {
	Token, Accessor string
	Policies        []string
	Metadata        map[string]string
	Lease           time.Duration
	Renewable       bool
}

// Format implements [fmt.Formatter]: no verb shows what is in an answer.
func (a *Answer) Format(f fmt.State, _ rune) { fmt.Fprint(f, "vaultpki.Answer[redacted]") }

// Ask makes one call, once, with the token that the Client keeps alive, and waits for
// nobody but for another token if that one has just been lost. The answer is nil if
// Vault's is empty. Errors are [*Error] with ReasonDenied, ReasonMissingSecret,
// ReasonConfig for what Vault refuses, ReasonTokenLost, ReasonSealed or ReasonUnreachable;
// they hold nothing of the body.
func (c *Client) Ask(ctx context.Context, ask Ask) (*Answer, error) {
	op := "asking vault for"
	if err := wire.CheckPath(ask.Path); err != nil {
		return nil, &Error{Reason: ReasonConfig, Op: op, Where: ask.Path, Err: err}
	}
	call := wire.Call{Method: ask.Method, Path: ask.Path, Query: ask.Query, Limit: wire.DataBytes, Secrets: secretsIn(ask.Body), Urgent: ask.Urgent}
	if ask.Body != nil {
		call.Body = ask.Body
	}
	do := c.do
	if ask.Token != "" {
		call.Token, do = ask.Token, c.send
	}
	secret, err := do(ctx, call)
	switch {
	case wire.Status(err) == http.StatusNotFound:
		return nil, &Error{Reason: ReasonMissingSecret, Op: op, Where: ask.Path, Err: absence(err)}
	case err != nil:
		return nil, Classify(op, ask.Path, err)
	}
	return answerOf(secret), nil
}

// absence says what is not there.
func absence(err error) error {
	var status *wire.StatusError
	if errors.As(err, &status) && status.Data != nil && status.Data.Data["metadata"] != nil {
		return errors.New("its latest version is deleted")
	}
	return err
}

// secretsIn are the texts of a body, which no error may show.
func secretsIn(body map[string]any) []string {
	var secrets []string
	for _, value := range body {
		switch v := value.(type) {
		case string:
			secrets = append(secrets, v)
		case map[string]any:
			secrets = append(secrets, secretsIn(v)...)
		}
	}
	return secrets
}

// answerOf takes over what there is of an answer.
func answerOf(secret *api.Secret) *Answer {
	if secret == nil {
		return nil
	}
	a := &Answer{
		RequestID: secret.RequestID, Data: secret.Data, LeaseID: secret.LeaseID,
		Lease: time.Duration(secret.LeaseDuration) * time.Second, Renewable: secret.Renewable,
	}
	if auth := secret.Auth; auth != nil {
		a.Auth = &AnswerAuth{
			Token: auth.ClientToken, Accessor: auth.Accessor, Policies: auth.Policies, Metadata: auth.Metadata,
			Lease: time.Duration(auth.LeaseDuration) * time.Second, Renewable: auth.Renewable,
		}
	}
	return a
}

// Back returns a channel that is closed when Vault answers next after it was away, to
// whichever call. Whoever waits for it must have got it before the call that failed, or
// misses a Vault that came back meanwhile.
func (c *Client) Back() <-chan struct{} { return c.outage.over() }

// Turned returns a channel that is closed when the token is renewed or replaced next.
func (c *Client) Turned() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.turned
}
