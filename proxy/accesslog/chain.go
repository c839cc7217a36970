package accesslog

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"strconv"
)

const (
	// instanceLength is that of 128 bits in base32, hashLength that of 256 in base64.
	instanceLength, hashLength = 26, 43

	keyInstance = `,"sallyport.log.instance":"`
	keySequence = `","sallyport.log.sequence":`
	keyPrevious = `,"sallyport.log.previous":"`
	endOfSeal   = `"}`

	// maxSeal is the length of the longest seal.
	maxSeal = len(keyInstance) + instanceLength + len(keySequence) + 20 + len(keyPrevious) + hashLength + len(endOfSeal)
)

// Head names a record: the instance that wrote it, its sequence number, and its hash
// in base64url without padding.
type Head struct {
	Instance string
	Sequence uint64
	Hash     string
}

// HashOf is the hash of a sealed line, which may have its line break or not: SHA-256
// of all bytes before it, in base64url without padding.
func HashOf(line []byte) string {
	sum := sha256.Sum256(bytes.TrimSuffix(line, []byte{'\n'}))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Seal is what the end of a line says of its place.
type Seal struct {
	Instance string
	Sequence uint64
	// Previous is the hash of the record before it.
	Previous string
}

// ParseSeal reads the seal of a line, which may have its line break or not, or reports
// that there is none. It judges no more than the form.
func ParseSeal(line []byte) (seal Seal, ok bool) {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	if len(line) > maxSeal {
		line = line[len(line)-maxSeal:]
	}
	start := bytes.LastIndex(line, []byte(keyInstance))
	if start < 0 {
		return seal, false
	}
	instance, rest, ok := bytes.Cut(line[start+len(keyInstance):], []byte(keySequence))
	if !ok || len(instance) != instanceLength || !only(instance, base32Lower) {
		return seal, false
	}
	number, rest, ok := bytes.Cut(rest, []byte(keyPrevious))
	if !ok || len(number) == 0 || number[0] == '0' || !only(number, "0123456789") {
		return seal, false
	}
	previous, ok := bytes.CutSuffix(rest, []byte(endOfSeal))
	if !ok || len(previous) != hashLength || !only(previous, base64URL) {
		return seal, false
	}
	sequence, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		return seal, false
	}
	return Seal{Instance: string(instance), Sequence: sequence, Previous: string(previous)}, true
}

const (
	base32Lower = "abcdefghijklmnopqrstuvwxyz234567"
	base64URL   = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
)

// only reports whether text has no other characters than those.
func only(text []byte, characters string) bool {
	for _, c := range text {
		if bytes.IndexByte([]byte(characters), c) < 0 {
			return false
		}
	}
	return true
}

// newInstance is the name of one run of a process.
func newInstance() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	return base32.NewEncoding(base32Lower).WithPadding(base32.NoPadding).EncodeToString(id[:])
}

// chain seals the lines of one instance. It is one goroutine's at a time.
type chain struct {
	instance string
	sequence uint64           // of the last line
	previous [hashLength]byte // its hash
}

// newChain is the chain of an instance that has no line yet: what comes before the
// first is 32 bytes of zero.
func newChain(instance string) chain {
	c := chain{instance: instance}
	base64.RawURLEncoding.Encode(c.previous[:], make([]byte, sha256.Size))
	return c
}

// seal appends a line, which ends with "}\n", to dst, as the next of the chain.
func (c *chain) seal(dst, line []byte) []byte {
	start := len(dst)
	c.sequence++
	dst = append(dst, line[:len(line)-len("}\n")]...)
	dst = append(dst, keyInstance...)
	dst = append(dst, c.instance...)
	dst = append(dst, keySequence...)
	dst = strconv.AppendUint(dst, c.sequence, 10)
	dst = append(dst, keyPrevious...)
	dst = append(dst, c.previous[:]...)
	dst = append(dst, endOfSeal...)
	sum := sha256.Sum256(dst[start:])
	base64.RawURLEncoding.Encode(c.previous[:], sum[:])
	return append(dst, '\n')
}
