package main

import (
	"context"
	"errors"

	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
	"github.com/sallyport/sallyport/vaultpki"
)

// appVault has the application's secrets read in the sidecar's own session.
type appVault struct{ client *vaultpki.Client }

// Do implements [secrets.Vault].
func (v appVault) Do(ctx context.Context, call secrets.Call) (*secrets.Answer, error) {
	query := map[string]string{}
	for name := range call.Query {
		query[name] = call.Query.Get(name)
	}
	answer, err := v.client.Ask(ctx, vaultpki.Ask{Method: call.Method, Path: call.Path, Query: query, Body: call.Body, Token: call.Token, Urgent: call.Urgent})
	if err != nil {
		return nil, &secrets.CallError{Kind: appKind(err), Err: bareCause(err)}
	}
	if answer == nil {
		return nil, nil
	}
	a := &secrets.Answer{RequestID: answer.RequestID, Data: answer.Data, LeaseID: answer.LeaseID, Lease: answer.Lease, Renewable: answer.Renewable}
	if auth := answer.Auth; auth != nil {
		a.Auth = (*secrets.Auth)(auth)
	}
	return a, nil
}

// Session implements [secrets.Vault].
func (v appVault) Session() secrets.Session {
	turned, back := v.client.Turned(), v.client.Back() // before the state, so that no turn is missed
	status := v.client.Status()
	return secrets.Session{Since: status.Since, Expires: status.Expires, Turned: turned, Back: back}
}

// appKind is what kind of failure a call met.
func appKind(err error) secrets.Kind {
	switch vaultpki.ReasonOf(err) {
	case vaultpki.ReasonDenied:
		return secrets.Denied
	case vaultpki.ReasonMissingSecret:
		return secrets.Absent
	case vaultpki.ReasonConfig:
		return secrets.Refused
	default:
		return secrets.Away
	}
}

// bareCause is the cause without the path, which who asked names better.
func bareCause(err error) error {
	var e *vaultpki.Error
	if errors.As(err, &e) && e.Err != nil {
		return e.Err
	}
	return err
}
