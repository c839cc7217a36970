// Package logtest makes access logs for tests: sealed lines of a company's busy day,
// the same for the same seed. It is a toy: nothing of the product imports it. It has
// no input but its caller's.
package logtest

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// Chain seals the lines of one instance.
type Chain struct {
	instance string
	sequence uint64
	previous [sha256.Size]byte
}

// NewChain returns the chain of an instance that the seed names.
func NewChain(seed string) *Chain {
	sum := sha256.Sum256([]byte(seed))
	return &Chain{instance: strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))}
}

// Instance is the id in the chain's lines.
func (c *Chain) Instance() string { return c.instance }

// Seal appends a record, which ends with "}" and may have a line break, as the next
// line.
func (c *Chain) Seal(dst, record []byte) []byte {
	c.sequence++
	from := len(dst)
	dst = append(dst, strings.TrimSuffix(strings.TrimSuffix(string(record), "\n"), "}")...)
	dst = fmt.Appendf(dst, `,"sallyport.log.instance":"%s","sallyport.log.sequence":%d,"sallyport.log.previous":"%s"}`,
		c.instance, c.sequence, base64.RawURLEncoding.EncodeToString(c.previous[:]))
	c.previous = sha256.Sum256(dst[from:])
	return append(dst, '\n')
}

// Company makes records of people at work.
type Company struct {
	random *rand.Rand
	// Now is the time of the last record. It goes on by up to Step for each.
	Now  time.Time
	Step time.Duration
	// People is how many there are.
	People int
}

// NewCompany begins a day.
func NewCompany(seed uint64, from time.Time) *Company {
	return &Company{random: rand.New(rand.NewPCG(seed, 1)), Now: from, Step: 200 * time.Millisecond, People: 300} //nolint:gosec // the same each time, that is the point
}

// Tools are the routes of the company.
var Tools = []string{"grafana", "wiki", "payroll", "ci", "registry", "tickets", "vault-ui", "notes"}

// Next returns the next record.
func (c *Company) Next() accesslog.Record {
	r := c.random
	c.Now = c.Now.Add(time.Duration(r.Int64N(int64(c.Step) + 1)))
	person := r.IntN(c.People)
	tool := Tools[r.IntN(len(Tools))]
	record := accesslog.Record{
		Time: c.Now, Duration: time.Duration(r.IntN(300)) * time.Millisecond, RequestID: c.id(16), Action: accesslog.ActionAccess,
		Route: tool, Method: []string{"GET", "GET", "GET", "POST", "DELETE"}[r.IntN(5)], Host: tool + ".example.com",
		Path: []string{"/", "/api/v1/query", "/d/home", "/\u202eevil", "/login\n"}[r.IntN(5)] + c.id(r.IntN(3)), Protocol: "2",
		ClientAddress: fmt.Sprintf("10.%d.%d.%d", person%4, person/16, person%251), ClientPort: "51234", TLSVersion: "1.3",
		UserAgent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
		BytesIn:   int64(r.IntN(2000)), BytesOut: int64(r.IntN(200000)),
	}
	c.decide(&record, person)
	return record
}

// decide fills in what becomes of a request.
func (c *Company) decide(record *accesslog.Record, person int) {
	record.User, record.Groups = fmt.Sprintf("person%d@example.com", person), []string{"staff", []string{"engineers", "finance"}[person%2]}
	record.SessionID = fmt.Sprintf("%016x", person*7919)
	switch n := c.random.IntN(100); {
	case n < 4:
		record.Decision, record.Reason, record.Rule, record.Status = accesslog.DecisionDeny, "not_listed", "", 403
	case n < 6:
		record.Decision, record.Reason, record.Status, record.User, record.Groups, record.SessionID = accesslog.DecisionSignIn, "no_session", 303, "", nil, ""
	case n < 7:
		record.Decision, record.Reason, record.Rule, record.Status = accesslog.DecisionStepUp, "authn_too_old", "group:engineers", 303
	case n < 12:
		record.Decision, record.Reason, record.Rule, record.Status = accesslog.DecisionAllow, "user_allowed", "admin/user:"+record.User, 200
	default:
		record.Decision, record.Reason, record.Rule, record.Status = accesslog.DecisionAllow, "group_allowed", "group:"+record.Groups[1], 200
		record.Upstream, record.UpstreamTime = "10.0.3.7:8443", 3*time.Millisecond
	}
}

// id returns n characters as they are in a request id.
func (c *Company) id(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[c.random.IntN(len(letters))]
	}
	return string(b)
}

// Lines appends n sealed lines of the company's to dst.
func (c *Company) Lines(dst []byte, chain *Chain, n int) []byte {
	var buf []byte
	for range n {
		record := c.Next()
		buf = record.AppendJSON(buf[:0], "sallyport-gateway")
		dst = chain.Seal(dst, buf)
	}
	return dst
}
