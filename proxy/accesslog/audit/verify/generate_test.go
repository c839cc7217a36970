package verify_test

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog/checkpoint"
	"github.com/sallyport/sallyport/proxy/accesslog/logfile"
)

// signerName is the key that the worlds of these tests sign with.
const signerName = "transit/transit/sallyport-log"

// world is some replicas that write logs, with everything that happens to them in
// an honest life.
type world struct {
	rng       *rand.Rand
	now       time.Time
	vault     ed25519.PrivateKey
	keys      checkpoint.Keys
	instances []*writer
	published map[logfile.Instance]*checkpoint.Checkpoint
	hosts     [][]line // what each host's log has
}

// line is a line of a host's log.
type line struct {
	text   string
	writer *writer // nil: torn, or empty
	number uint64
}

// writer is an instance.
type writer struct {
	w        *world
	host     int
	id       logfile.Instance
	own      ed25519.PrivateKey
	head     checkpoint.Head
	promised bool
}

// key makes a key from a seed, the same every time.
func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func newWorld(seed uint64) *world {
	w := &world{
		rng: rand.New(rand.NewPCG(seed, 1)), now: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC),
		vault: key(1), published: map[logfile.Instance]*checkpoint.Checkpoint{},
	}
	w.keys = checkpoint.Keys{signerName + "/v1": w.vault.Public()}
	return w
}

// start begins an instance on a host.
func (w *world) start(host int) *writer {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	i := &writer{w: w, host: host, own: key(byte(2 + len(w.instances))), promised: true}
	for n := range i.id {
		i.id[n] = letters[w.rng.IntN(len(letters))]
	}
	i.head.Instance = i.id
	for len(w.hosts) <= host {
		w.hosts = append(w.hosts, nil)
	}
	members := `,"event.action":"log_start"`
	for n := len(w.hosts[host]) - 1; n >= 0; n-- {
		if l := w.hosts[host][n]; l.writer != nil {
			r, _ := logfile.Parse([]byte(l.text))
			members += fmt.Sprintf(`,"sallyport.log.predecessor":{"instance":"%s","sequence":%d,"hash":"%s"}`, r.Instance, r.Sequence, r.Hash())
			break
		}
	}
	public, _ := i.own.Public().(ed25519.PublicKey)
	members += fmt.Sprintf(`,"%s":"%s"`, checkpoint.KeyMember, base64.StdEncoding.EncodeToString(public))
	members += fmt.Sprintf(`,"%s":%s`, checkpoint.PromiseMember, checkpoint.Promise{Every: time.Minute, Records: 10000, Signer: signerName}.AppendJSON(nil))
	i.write(members)
	w.instances = append(w.instances, i)
	return i
}

// seal makes the next record of an instance, as its writer does.
func (i *writer) seal(members string) string {
	text := fmt.Sprintf(`{"@timestamp":"%s"%s,"sallyport.log.instance":"%s","sallyport.log.sequence":%d,"sallyport.log.previous":"%s"}`,
		i.w.now.Format(logfile.TimeFormat), members, i.id, i.head.Sequence+1, i.head.Hash)
	r, kind := logfile.Parse([]byte(text))
	if kind != logfile.Sealed {
		panic(text)
	}
	i.head = checkpoint.Head{Instance: i.id, Sequence: r.Sequence, Hash: r.Hash()}
	return text
}

func (i *writer) write(members string) {
	text := i.seal(members)
	i.w.hosts[i.host] = append(i.w.hosts[i.host], line{text, i, i.head.Sequence})
}

// access writes a record of a request.
func (i *writer) access() {
	i.w.now = i.w.now.Add(time.Duration(i.w.rng.IntN(3000)) * time.Millisecond)
	i.write(fmt.Sprintf(`,"event.action":"access","user.name":"u%d","url.path":"/%x","event.duration":%d`, i.w.rng.IntN(9), i.w.rng.Uint64(), i.w.rng.IntN(1e9)))
}

// sign makes a checkpoint of where the instance is, by Vault or by its own key.
func (i *writer) sign(vault bool) *checkpoint.Checkpoint {
	c := &checkpoint.Checkpoint{Head: i.head, Time: i.w.now, Key: checkpoint.InstanceKey}
	for id, other := range i.w.published {
		if id != i.id {
			c.Others = append(c.Others, other.Head)
		}
	}
	slices.SortFunc(c.Others, func(a, b checkpoint.Head) int { return bytes.Compare(a.Instance[:], b.Instance[:]) })
	if vault {
		c.Key = signerName + "/v1"
		c.Signature = ed25519.Sign(i.w.vault, c.Message())
		return c
	}
	c.Signature = ed25519.Sign(i.own, c.Message())
	return c
}

// checkpoint signs, writes some records meanwhile, and then the checkpoint.
func (i *writer) checkpoint(vault bool) {
	c := i.sign(vault)
	for range i.w.rng.IntN(3) {
		i.access()
	}
	i.write(fmt.Sprintf(`,"event.action":"checkpoint","%s":%s`, checkpoint.Member, c.AppendJSON(nil)))
	if vault {
		i.w.published[i.id] = c
	}
}

// end writes the last record, and publishes a checkpoint of it.
func (i *writer) end() {
	i.write(`,"event.action":"log_end"`)
	i.w.published[i.id] = i.sign(true)
}

// kill leaves what a kill leaves: perhaps a torn line, which the next one ends.
func (i *writer) kill() {
	switch i.w.rng.IntN(3) {
	case 0:
		saved := i.head
		torn := i.seal(`,"event.action":"access","url.path":"/torn"`)
		i.head = saved
		i.w.hosts[i.host] = append(i.w.hosts[i.host], line{text: torn[:1+i.w.rng.IntN(len(torn)-1)]})
	case 1:
		i.w.hosts[i.host] = append(i.w.hosts[i.host], line{})
	}
}

// live has some replicas live for a while: restarts, kills, gaps, hand-overs in which
// two write to one file, and times without Vault.
func (w *world) live(hosts, lives, length int) {
	var running []*writer
	for host := range hosts {
		i := w.start(host)
		i.checkpoint(true)
		running = append(running, i)
	}
	for range lives {
		for range length {
			i := running[w.rng.IntN(len(running))]
			switch n := w.rng.IntN(20); n {
			case 0, 1:
				i.checkpoint(true)
			case 2:
				i.checkpoint(false)
			case 3:
				i.write(`,"event.action":"log_gap","sallyport.log.dropped":7`)
			default:
				i.access()
			}
		}
		host := w.rng.IntN(hosts)
		old := running[host]
		old.checkpoint(true)
		switch w.rng.IntN(3) {
		case 0:
			old.end()
			running[host] = w.start(host)
		case 1:
			old.kill()
			running[host] = w.start(host)
		case 2:
			running[host] = w.start(host)
			old.access()
			running[host].access()
			old.end()
		}
		running[host].checkpoint(true)
	}
	for _, i := range running {
		i.checkpoint(w.rng.IntN(2) > 0)
		i.checkpoint(true)
		switch w.rng.IntN(3) {
		case 0:
			i.end()
		case 1:
			i.kill()
		}
	}
}

// heads are what is published in Vault.
func (w *world) heads() (all []*checkpoint.Checkpoint) {
	for _, c := range w.published {
		all = append(all, c)
	}
	return all
}

// save writes a host's log to files, rotated here and there if it may be, and some
// compressed, and returns their names, which begin with base.
func save(t *testing.T, rng *rand.Rand, base string, lines []line, rotate bool) (names []string) {
	t.Helper()
	for part := 0; len(lines) > 0 || part == 0; part++ {
		n := len(lines)
		if rotate && n > 0 && rng.IntN(2) > 0 {
			n = 1 + rng.IntN(n)
		}
		var text bytes.Buffer
		for _, l := range lines[:n] {
			text.WriteString(l.text)
			text.WriteByte('\n')
		}
		lines = lines[n:]
		name, content := fmt.Sprintf("%s.%d", base, part), text.Bytes()
		if rng.IntN(9) == 0 {
			content = compressed(t, content)
		}
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

// compressors are kept: making one is most of the work.
var compressors = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

func compressed(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, _ := compressors.Get().(*gzip.Writer)
	defer compressors.Put(w)
	w.Reset(&b)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
