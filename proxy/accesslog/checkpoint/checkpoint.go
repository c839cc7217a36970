// Package checkpoint signs the chain of the access log from time to time, and
// verifies what was signed. The chain of hashes shows that a record was changed,
// but whoever can write to the file can make the chain anew; a checkpoint is what he
// cannot make: a signature over the hash of a record, and by it over all records
// before it. It names the latest checkpoints that are known of other replicas, so
// that none of them loses its end unnoticed.
//
// The key stays in Vault (transit); what a checkpoint needs of Vault is behind the
// interfaces Signer and Board. While Vault is away, the instance signs with a key of
// its own, whose public half stands in its first record: the next checkpoint by
// Vault covers that, too.
//
// Hostile input: checkpoints in a log, and what others have published. They are read
// in one form only, to the letter, and bounded.
package checkpoint

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// The names that records of the log use for what this package reads and writes.
const (
	// Action is "event.action" of a record with a checkpoint.
	Action = "checkpoint"
	// Member is the member of such a record that has the checkpoint.
	Member = "sallyport.log.checkpoint"
	// KeyMember is the member of an instance's first record with the public half of
	// its own key, in base64.
	KeyMember = "sallyport.log.key"
	// PromiseMember is the member of an instance's first record that says how often
	// it makes checkpoints: see Promise.
	PromiseMember = "sallyport.log.checkpoints"
	// InstanceKey is the id of an instance's own key.
	InstanceKey = "instance"
)

const (
	// MaxOthers is how many replicas a checkpoint names at most.
	MaxOthers = 64
	// maxObject is how long a checkpoint can be, with every member at its limit.
	maxObject = 16 << 10
	// maxKeyID bounds the id of a key.
	maxKeyID = 256
	// maxSignature bounds a signature in bytes; one on P-256 in ASN.1 has at most 72.
	maxSignature = 128
)

// preamble begins what is signed, so that it can be no other signature of the key's.
const preamble = "sallyport checkpoint v1\n"

// Head is a record, and by its hash all records of its instance before it.
type Head struct {
	Instance logfile.Instance
	Sequence uint64
	Hash     logfile.Hash
}

// HeadOf reads a head from text, as a log has it.
func HeadOf(instance string, sequence uint64, hash string) (Head, error) {
	return wireHead{instance, sequence, hash}.head()
}

// Checkpoint is a Head that was signed.
type Checkpoint struct {
	Head
	// Time is when it was made, to the microsecond.
	Time time.Time
	// Others are the latest checkpoints known of other instances, at most MaxOthers.
	Others []Head
	// Key is the id of the key that has signed: "transit/MOUNT/NAME/vN" for one of
	// Vault's, or InstanceKey.
	Key string
	// Signature is of Message.
	Signature []byte
}

// ErrMalformed is a checkpoint in another form than ours.
var ErrMalformed = errors.New("malformed checkpoint")

// appendHead appends the members of a head.
func (h Head) append(dst []byte) []byte {
	dst = append(append(dst, `"instance":"`...), h.Instance[:]...)
	dst = strconv.AppendUint(append(dst, `","sequence":`...), h.Sequence, 10)
	dst = append(append(dst, `,"hash":"`...), h.Hash.String()...)
	return append(dst, '"')
}

// unsigned appends the object without its signature and without its end.
func (c *Checkpoint) unsigned(dst []byte) []byte {
	dst = c.append(append(dst, '{'))
	dst = c.Time.UTC().AppendFormat(append(dst, `,"time":"`...), logfile.TimeFormat)
	dst = append(dst, `","others":[`...)
	for i, other := range c.Others {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(other.append(append(dst, '{')), '}')
	}
	dst = append(append(dst, `],"key":"`...), c.Key...)
	return append(dst, '"')
}

// Message returns the bytes that are signed.
func (c *Checkpoint) Message() []byte { return append(c.unsigned([]byte(preamble)), '}') }

// AppendJSON appends the checkpoint as it stands in a record.
func (c *Checkpoint) AppendJSON(dst []byte) []byte {
	dst = append(c.unsigned(dst), `,"signature":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, c.Signature)
	return append(dst, `"}`...)
}

// wireHead and wireCheckpoint are the form in which checkpoints are read.
type wireHead struct {
	Instance string `json:"instance"`
	Sequence uint64 `json:"sequence"`
	Hash     string `json:"hash"`
}

type wireCheckpoint struct {
	wireHead
	Time      string     `json:"time"`
	Others    []wireHead `json:"others"`
	Key       string     `json:"key"`
	Signature []byte     `json:"signature"`
}

func (w wireHead) head() (Head, error) {
	instance, err := logfile.ParseInstance(w.Instance)
	if err != nil {
		return Head{}, err
	}
	hash, err := logfile.ParseHash(w.Hash)
	if err != nil {
		return Head{}, err
	}
	if w.Sequence == 0 {
		return Head{}, errors.New("sequence 0: they begin at 1")
	}
	return Head{instance, w.Sequence, hash}, nil
}

// ParseHead reads an instance, a sequence number and a hash, as "others" and
// "sallyport.log.predecessor" have them.
func ParseHead(object []byte) (Head, error) {
	var w wireHead
	if len(object) > maxObject {
		return Head{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(object))
	}
	if err := json.Unmarshal(object, &w); err != nil {
		return Head{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	h, err := w.head()
	if err != nil {
		return Head{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return h, nil
}

// Parse reads a checkpoint as AppendJSON writes it, and nothing else. Whether it was
// signed, Keys know.
func Parse(object []byte) (*Checkpoint, error) {
	c, err := parse(object)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return c, nil
}

func parse(object []byte) (*Checkpoint, error) {
	var w wireCheckpoint
	if len(object) > maxObject {
		return nil, fmt.Errorf("%d bytes, expected at most %d", len(object), maxObject)
	}
	if err := json.Unmarshal(object, &w); err != nil {
		return nil, err
	}
	if len(w.Others) > MaxOthers || len(w.Key) > maxKeyID || len(w.Signature) > maxSignature || !isKeyID(w.Key) {
		return nil, errors.New("a member is out of bounds")
	}
	c := &Checkpoint{Key: w.Key, Signature: w.Signature}
	var err error
	if c.Head, err = w.head(); err != nil {
		return nil, err
	}
	if c.Time, err = time.Parse(logfile.TimeFormat, w.Time); err != nil {
		return nil, err
	}
	for _, other := range w.Others {
		head, err := other.head()
		if err != nil {
			return nil, err
		}
		c.Others = append(c.Others, head)
	}
	if !bytes.Equal(c.AppendJSON(nil), object) {
		return nil, errors.New("it is not in the order or the notation in which it is signed")
	}
	return c, nil
}

// isKeyID reports whether an id can stand in JSON as it is.
func isKeyID(id string) bool {
	for _, c := range []byte(id) {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return id != ""
}
