package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// scriptSignedLog is `signedlog FILE KEYS`: it writes a log of one instance, the same
// each time, and the public keys of who has signed it.
func scriptSignedLog(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: signedlog FILE KEYS")
	}
	vault := ed25519.NewKeyFromSeed([]byte(strings.Repeat("v", ed25519.SeedSize)))
	own := ed25519.NewKeyFromSeed([]byte(strings.Repeat("o", ed25519.SeedSize)))
	public := func(key ed25519.PrivateKey) string {
		p, _ := key.Public().(ed25519.PublicKey)
		return base64.StdEncoding.EncodeToString(p)
	}
	const signer = "transit/transit/sallyport-access-log"
	l := &scriptLog{now: time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC)}
	copy(l.head.Instance[:], "k5z3q7m2w4xa6bcdefghijklmn")
	promise := checkpoint.Promise{Every: time.Minute, Records: 10_000, Signer: signer}.AppendJSON(nil)
	l.write(fmt.Sprintf(`,"event.action":"log_start","%s":"%s","%s":%s`, checkpoint.KeyMember, public(own), checkpoint.PromiseMember, promise))
	sign := func(id string, key ed25519.PrivateKey) {
		c := checkpoint.Checkpoint{Head: l.head, Time: l.now, Key: id}
		c.Signature = ed25519.Sign(key, c.Message())
		l.write(fmt.Sprintf(`,"event.action":"checkpoint","%s":%s`, checkpoint.Member, c.AppendJSON(nil)))
	}
	sign(signer+"/v1", vault)
	for n := range 6 {
		l.write(fmt.Sprintf(`,"event.action":"access","user.name":"alice@example.com","url.path":"/notes/%d"`, n))
	}
	sign("instance", own)
	l.write(`,"event.action":"access","user.name":"bob@example.com","url.path":"/"`)
	sign(signer+"/v1", vault)
	l.write(`,"event.action":"log_end"`)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(l.text.String()), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(signer+"/v1 "+public(vault)+"\n"), 0o600))
}

// scriptLog is a log as its instance writes it.
type scriptLog struct {
	now  time.Time
	head checkpoint.Head
	text strings.Builder
}

func (l *scriptLog) write(members string) {
	l.now = l.now.Add(time.Second)
	line := fmt.Sprintf(`{"@timestamp":"%s"%s,"sallyport.log.instance":"%s","sallyport.log.sequence":%d,"sallyport.log.previous":"%s"}`,
		l.now.Format(logfile.TimeFormat), members, l.head.Instance, l.head.Sequence+1, l.head.Hash)
	record, _ := logfile.Parse([]byte(line))
	l.head.Sequence, l.head.Hash = record.Sequence, record.Hash()
	l.text.WriteString(line + "\n")
}
