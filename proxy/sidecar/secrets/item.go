package secrets

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/consul-template/dependency"
)

// item is a question with its answer, and when to do something about it.
type item struct {
	question question
	found
	due      time.Time // of the next renewal, replacement or reading; zero for never
	since    time.Time // of the last success
	failures int       // since then
	fault    error     // of the last attempt
	told     time.Time // when the log was told of a failure
}

// found is what Vault answered to a question.
type found struct {
	value any      // what templates see: *dependency.Secret, []string or dependency.PemEncoded
	sum   [32]byte // of the value, without what changes every time
	lease *lease   // nil without one
	// ends is when the value is of no more use, and again when to ask for the next; both
	// zero if that is not known.
	ends, again time.Time
}

// fetcher asks Vault.
type fetcher struct {
	vault   Vault
	mounts  *mounts
	refresh time.Duration
}

// fetch answers a question; urgent is that of its [Call]. The error is an [*Error] that
// names the path.
func (f *fetcher) fetch(ctx context.Context, q question, urgent bool) (found, error) {
	path, kv2, err := f.mounts.actual(ctx, q)
	if err != nil {
		return found{}, q.fail(path, err)
	}
	call := Call{Method: http.MethodGet, Path: path, Query: q.query, Urgent: urgent}
	switch q.form {
	case formList:
		call.Method = "LIST"
	case formWrite, formCert:
		call.Method, call.Body = http.MethodPut, q.body
		if kv2 {
			call.Body = map[string]any{"data": q.body}
		}
	case formRead:
	}
	session := f.vault.Session().Since
	answer, err := f.vault.Do(ctx, call)
	now := time.Now()
	switch {
	case q.form == formList && (err == nil && answer == nil || kindOf(err) == Absent && err != nil):
		return f.listed(&Answer{}, now)
	case err != nil:
		return found{}, q.fail(path, err)
	case answer == nil && q.form == formWrite:
		answer = &Answer{} // a write that has nothing to say
	case answer == nil:
		return found{}, q.fail(path, &CallError{Kind: Absent, Err: errors.New("vault's answer is empty")})
	case answer.LeaseID != "" && answer.Lease <= 0: // to read it again would make others, which nobody ends
		return found{}, q.fail(path, &CallError{Kind: Refused, Err: errNoLife})
	}
	switch q.form {
	case formList:
		return f.listed(answer, now)
	case formCert:
		return f.certified(q, answer, session, now)
	case formRead, formWrite:
	}
	return f.read(q, answer, session, now)
}

// fail explains why there is no answer.
func (q question) fail(path string, err error) error {
	e := &Error{Where: fmt.Sprintf("%q", q.path), Err: err}
	switch kindOf(err) {
	case Denied:
		e.Hint = fmt.Sprintf("grant it in the policy: path %q { capabilities = [%q] }; or correct the path in the template", path, q.capability())
		e.Err = fmt.Errorf("vault denies it: %w", err)
	case Absent:
		e.Hint = fmt.Sprintf("write the secret at %q, or correct the path in the template", q.path)
		e.Err = fmt.Errorf("there is no such secret: %w", err)
	case Refused, Away:
	}
	return e
}

// over is the fault of a certificate that has ended already: the clocks differ by more than
// its life, and another would have, too.
func (q question) over(ends time.Time) error {
	return &Error{
		Where: fmt.Sprintf("%q", q.path), Hint: "set the clocks of this machine and of Vault's",
		Err: &CallError{Kind: Refused, Err: fmt.Errorf("the certificate that vault has just issued ended at %s, by the clock of this machine", ends.UTC().Format(time.RFC3339))},
	}
}

// capability is what a policy has to grant for the question.
func (q question) capability() string {
	switch q.form {
	case formList:
		return "list"
	case formRead:
		return "read"
	case formWrite, formCert:
	}
	return "update"
}

// read is the answer to a question that reads or writes.
func (f *fetcher) read(q question, answer *Answer, session, now time.Time) (found, error) {
	secret := &dependency.Secret{
		RequestID: answer.RequestID, LeaseID: answer.LeaseID, LeaseDuration: int(answer.Lease.Seconds()),
		Renewable: answer.Renewable, Data: answer.Data,
	}
	if a := answer.Auth; a != nil {
		secret.Auth = &dependency.SecretAuth{
			ClientToken: a.Token, Accessor: a.Accessor, Policies: a.Policies, Metadata: a.Metadata,
			LeaseDuration: int(a.Lease.Seconds()), Renewable: a.Renewable,
		}
	}
	got := found{value: secret, sum: sumOf(secret.Data, secret.Auth), lease: newLease(answer, session, now)}
	if got.lease != nil {
		return got, nil
	}
	switch life := lifeOf(answer.Data); {
	case life.rotates > 0 && life.rotates < f.refresh: // somebody else changes it then
		got.again = now.Add(life.rotates + time.Second)
	case life.ends > 0:
		got.ends, got.again = now.Add(life.ends), replacement(now, life.ends)
	case q.form == formWrite && !life.until.IsZero() && !life.until.After(now):
		return found{}, q.over(life.until)
	case life.until.After(now):
		got.ends, got.again = life.until, replacement(now, life.until.Sub(now))
	case q.form == formRead:
		got.again = now.Add(f.refresh)
	}
	// What was written once is not written again: that would not be unchanged data, but a
	// new ciphertext, or another secret.
	return got, nil
}

// life is what data without a lease say of how long they are good for; empty where they say
// nothing.
type life struct {
	ends, rotates time.Duration
	until         time.Time
}

// lifeOf looks for the fields in which engines say that.
func lifeOf(data map[string]any) life {
	if _, isCert := data["certificate"]; isCert {
		if at, ok := number(data["expiration"]); ok {
			return life{until: time.Unix(at, 0)}
		}
	}
	if _, isID := data["secret_id"]; isID {
		return life{ends: seconds(data["secret_id_ttl"])}
	}
	_, periodic := data["rotation_period"]
	_, scheduled := data["rotation_schedule"]
	if periodic || scheduled {
		return life{rotates: seconds(data["ttl"])}
	}
	return life{}
}

// seconds is a number of them; 0 if it is none, and what does not fit is as much as does.
func seconds(value any) time.Duration {
	n, _ := number(value)
	const most = int64(math.MaxInt64 / time.Second)
	return time.Duration(min(max(n, 0), most)) * time.Second
}

// number is an integer of JSON.
func number(value any) (int64, bool) {
	n, isNumber := value.(json.Number)
	if !isNumber {
		return 0, false
	}
	i, err := n.Int64()
	return i, err == nil
}

// listed is the answer to a question for names.
func (f *fetcher) listed(answer *Answer, now time.Time) (found, error) {
	keys, _ := answer.Data["keys"].([]any)
	names := []string{}
	for _, key := range keys {
		if name, isText := key.(string); isText {
			names = append(names, name)
		}
	}
	return found{value: names, sum: sumOf(names), again: now.Add(f.refresh)}, nil
}

// certified is the answer to a question for a certificate.
func (f *fetcher) certified(q question, answer *Answer, session, now time.Time) (found, error) {
	text := func(name string) string {
		value, _ := answer.Data[name].(string)
		if value == "" {
			return ""
		}
		return strings.TrimRight(value, "\n") + "\n"
	}
	pems := dependency.PemEncoded{Cert: text("certificate"), Key: text("private_key"), CA: text("issuing_ca")}
	chain, _ := answer.Data["ca_chain"].([]any)
	for _, link := range chain {
		if authority, isText := link.(string); isText {
			pems.CAChain = append(pems.CAChain, strings.TrimRight(authority, "\n")+"\n")
		}
	}
	if pems.CAChain == nil && pems.CA != "" {
		pems.CAChain = []string{pems.CA}
	}
	ends, err := endOf(pems.Cert)
	if err != nil {
		return found{}, q.fail(q.path, &CallError{Kind: Refused, Err: fmt.Errorf("vault's answer has no certificate: %w", err)})
	}
	if !ends.After(now) {
		return found{}, q.over(ends)
	}
	return found{
		value: pems, sum: sumOf(pems), lease: newLease(answer, session, now),
		ends: ends, again: replacement(now, ends.Sub(now)),
	}, nil
}

// endOf is when a certificate ends.
func endOf(text string) (time.Time, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return time.Time{}, errors.New("expected PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, errors.New("expected an X.509 certificate")
	}
	return cert.NotAfter, nil
}

// sumOf tells values apart without keeping them.
func sumOf(values ...any) [32]byte {
	raw, err := json.Marshal(values)
	if err != nil {
		raw = fmt.Append(nil, values...)
	}
	return sha256.Sum256(raw)
}

// plan sets when to do something about an item, after a success.
func (i *item) plan() {
	i.since, i.failures, i.fault, i.told, i.due = time.Now(), 0, nil, time.Time{}, i.again
	if i.lease != nil {
		i.due = i.lease.due()
	}
	if i.lease != nil && !i.again.IsZero() && i.again.Before(i.due) {
		i.due = i.again
	}
}

// until is how long the item is good for if Vault is not asked again; zero for ever.
func (i *item) until(session Session) time.Time {
	if i.lease == nil {
		return i.ends
	}
	return earlier(i.lease.ends(session), i.ends)
}

// earlier is the earlier of two times of which zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// cloned is a value that a template may change without changing it for others.
func cloned(value any) any {
	secret, isSecret := value.(*dependency.Secret)
	if !isSecret {
		return value
	}
	copied := *secret
	copied.Data, _ = clonedJSON(secret.Data).(map[string]any)
	return &copied
}

func clonedJSON(value any) any {
	switch v := value.(type) {
	case map[string]any:
		if v == nil {
			return v
		}
		copied := make(map[string]any, len(v))
		for key, field := range v {
			copied[key] = clonedJSON(field)
		}
		return copied
	case []any:
		copied := make([]any, len(v))
		for at, element := range v {
			copied[at] = clonedJSON(element)
		}
		return copied
	}
	return value
}
