package accesslog

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/url"
	"strings"
	"sync"
)

// Pseudonyms call people by other names: HMAC-SHA256 of the name, under a key that is in
// Vault, cut to 130 bits. Lines of one person join; who that is knows whoever may read the
// key and has a name to try. Safe for concurrent use.
type Pseudonyms struct {
	key []byte

	mu    sync.RWMutex      // guards known
	known map[string]string // by name
}

// PseudonymKeySize is the length in bytes of a key.
const PseudonymKeySize = 32

// PseudonymPrefix begins every pseudonym.
const PseudonymPrefix = "p-"

const (
	// pseudonymLength is that of a pseudonym without its prefix.
	pseudonymLength = 26
	// pseudonymLabel separates what is made with the key from anything else that might be.
	pseudonymLabel = "sallyport/v1/pseudonym\x00"
	// mostKnown bounds how many are remembered; then all are forgotten.
	mostKnown = 1 << 14
	// userRule begins, in a rule, the name of whom it is about.
	userRule = "user:"
	// shortName is the length below which a name in a cause must stand in quotes.
	shortName = 3
)

// NewPseudonyms returns those under a key, which must not be modified any more.
func NewPseudonyms(key []byte) (*Pseudonyms, error) {
	if len(key) != PseudonymKeySize {
		return nil, fmt.Errorf("key of pseudonyms has %d bytes, expected %d", len(key), PseudonymKeySize)
	}
	return &Pseudonyms{key: key, known: make(map[string]string)}, nil
}

// Of returns the pseudonym of a name; that of none is empty.
func (p *Pseudonyms) Of(name string) string {
	if name == "" {
		return ""
	}
	if known, ok := p.recall(name); ok {
		return known
	}
	mac := hmac.New(sha256.New, p.key)
	mac.Write([]byte(pseudonymLabel))
	mac.Write([]byte(name))
	text := base32.NewEncoding(base32Lower).WithPadding(base32.NoPadding).EncodeToString(mac.Sum(nil))
	return p.remember(name, PseudonymPrefix+text[:pseudonymLength])
}

func (p *Pseudonyms) recall(name string) (string, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	known, ok := p.known[name]
	return known, ok
}

func (p *Pseudonyms) remember(name, pseudonym string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.known) >= mostKnown {
		clear(p.known)
	}
	p.known[name] = pseudonym
	return pseudonym
}

// rule is a rule without the name of a person in it.
func (p *Pseudonyms) rule(rule string) string {
	at := strings.Index(rule, userRule)
	if at < 0 {
		return rule
	}
	at += len(userRule)
	return rule[:at] + p.Of(rule[at:])
}

// hide returns r without names of people.
func (p *Pseudonyms) hide(r Record) Record {
	names := [...]string{r.User, r.known[0], r.known[1]}
	private := r.Action == ActionSignIn || r.Action == ActionSignOut
	r.User, r.Rule, r.Cause, r.known = p.Of(r.User), p.rule(r.Rule), p.cause(r.Cause, names[:], private), [2]string{}
	if r.Action == ActionAuditView {
		r.Query = p.searched(r.Query)
	}
	if r.Event != nil {
		v := *r.Event
		v.Cause = p.cause(v.Cause, []string{v.User}, false)
		v.User = p.Of(v.User)
		r.Event = &v
	}
	return r
}

// searched is a search of the audit page without the name of the person that it is about.
func (p *Pseudonyms) searched(query string) string {
	values, err := url.ParseQuery(query)
	if err != nil {
		return ""
	}
	for _, param := range []string{"person", "text", "rule"} {
		for n, value := range values[param] {
			name, isRule := strings.CutPrefix(value, userRule)
			switch {
			case strings.HasPrefix(name, PseudonymPrefix), param == "rule" && !isRule:
			case isRule:
				values[param][n] = userRule + p.Of(name)
			default:
				values[param][n] = p.Of(name)
			}
		}
	}
	return values.Encode()
}

// cause is the text of an error without names: those that are known, everything that looks
// like an address; and, if it is about what an identity provider has sent, whatever it
// quotes.
func (p *Pseudonyms) cause(text string, names []string, quoted bool) string {
	if text == "" {
		return ""
	}
	for _, name := range names {
		switch {
		case name == "":
		case len(name) < shortName: // would be found in other words
			text = strings.ReplaceAll(text, `"`+name+`"`, `"`+p.Of(name)+`"`)
		default:
			text = strings.ReplaceAll(text, name, p.Of(name))
		}
	}
	text = p.addresses(text)
	if quoted {
		text = p.quotations(text)
	}
	return text
}

// addresses replaces what is written like an address.
func (p *Pseudonyms) addresses(text string) string {
	if !strings.Contains(text, "@") {
		return text
	}
	var out strings.Builder
	for len(text) > 0 {
		end := strings.IndexFunc(text, outsideAddress)
		switch {
		case end < 0:
			end = len(text)
		case end == 0:
			end = 1
		}
		word := text[:end]
		if strings.Contains(word, "@") {
			word = p.Of(word)
		}
		out.WriteString(word)
		text = text[end:]
	}
	return out.String()
}

// outsideAddress reports whether c is in no address.
func outsideAddress(c rune) bool { return strings.ContainsRune(" \t\n\r\"'`<>()[]{},;:=\\", c) }

// quotations replaces what stands between two quotation marks.
func (p *Pseudonyms) quotations(text string) string {
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(text, `"`)
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		end := closingQuote(rest)
		word := rest[:end]
		if !strings.HasPrefix(word, PseudonymPrefix) {
			word = p.Of(word)
		}
		out.WriteString(`"` + word)
		if text = rest[end:]; text != "" {
			out.WriteByte('"')
			text = text[1:]
		}
	}
}

// closingQuote is where a quotation ends, as Go quotes: a mark that a backslash precedes is
// part of it.
func closingQuote(text string) int {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return len(text)
}

// Pseudonymise has records of l call people by p from now on.
func (l *Log) Pseudonymise(p *Pseudonyms) { l.names.Store(p) }

// line appends r as the log writes it.
func (l *Log) line(dst []byte, r *Record) []byte {
	if names := l.names.Load(); names != nil {
		hidden := names.hide(*r)
		r = &hidden
	}
	return r.AppendJSON(dst, l.cfg.Service)
}
