package checkpoint

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Promise is how often an instance makes checkpoints: it stands in its first record,
// so that missing ones can be missed. Its zero value promises none.
type Promise struct {
	// Every is the longest that a record waits for a checkpoint, and Records how many
	// others it waits for.
	Every   time.Duration
	Records uint64
	// Signer is the key in Vault without its version, "transit/MOUNT/NAME".
	Signer string
}

// AppendJSON appends the promise as an object; Every in seconds.
func (p Promise) AppendJSON(dst []byte) []byte {
	dst = strconv.AppendFloat(append(dst, `{"every":`...), p.Every.Seconds(), 'f', -1, 64)
	dst = strconv.AppendUint(append(dst, `,"records":`...), p.Records, 10)
	return append(append(append(dst, `,"signer":"`...), p.Signer...), `"}`...)
}

// What may be promised, as far as a configuration goes: or whoever makes up an instance
// would promise the first checkpoint for next year.
const (
	maxEvery   = time.Hour
	maxRecords = 10_000_000
)

// ParsePromise reads a promise.
func ParsePromise(object []byte) (Promise, error) {
	var w struct {
		Every   float64 `json:"every"`
		Records uint64  `json:"records"`
		Signer  string  `json:"signer"`
	}
	if err := json.Unmarshal(object, &w); err != nil {
		return Promise{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if !(w.Every > 0 && w.Every <= maxEvery.Seconds()) || w.Records == 0 || w.Records > maxRecords || len(w.Signer) > maxKeyID || !isKeyID(w.Signer) {
		return Promise{}, fmt.Errorf("%w: a member of the promise is out of bounds", ErrMalformed)
	}
	return Promise{time.Duration(w.Every * float64(time.Second)), w.Records, w.Signer}, nil
}
