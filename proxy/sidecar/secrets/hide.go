package secrets

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"

	"github.com/hashicorp/consul-template/dependency"
)

// shortestHidden is the length from which a value is hidden wherever it occurs; a shorter
// one would make nonsense of a text, and be guessed from that.
const shortestHidden = 4

// hidden is put in the place of a secret.
const hidden = "[redacted]"

// mostPast is how many replaced values are remembered to be hidden: what tells of a change
// may tell of the value before, and that may be good for a while.
const mostPast = 64

// remember keeps a value that is replaced, or not asked for any more, from being told.
func (s *Secrets) remember(value any) {
	s.past = append(s.past, value)
	if len(s.past) > mostPast {
		s.past = slices.Delete(s.past, 0, 1)
	}
}

// hide takes every value that is held, or was until a while ago, out of a text.
func (s *Secrets) hide(text string) string {
	values := slices.Clone(s.past)
	for _, i := range s.items {
		values = append(values, i.value)
	}
	return hider(values)(text)
}

// hider returns a function that takes secrets out of a text: each value, what it is the
// base64 of, its own base64, and the lines of one that has several.
func hider(secrets []any) func(string) string {
	var values []string
	add := func(value string) {
		if len(value) >= shortestHidden {
			values = append(values, value)
		}
	}
	for _, secret := range secrets {
		texts(secret, func(value string) {
			add(value)
			add(strings.TrimSpace(value))
			add(base64.StdEncoding.EncodeToString([]byte(value)))
			if raw, err := base64.StdEncoding.DecodeString(value); err == nil {
				add(string(raw))
			}
			if strings.Contains(strings.TrimSpace(value), "\n") {
				for line := range strings.Lines(value) {
					add(strings.TrimSpace(line))
				}
			}
		})
	}
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) }) // the longest first
	pairs := make([]string, 0, 2*len(values))
	for _, value := range slices.Compact(values) {
		pairs = append(pairs, value, hidden)
	}
	return strings.NewReplacer(pairs...).Replace
}

// texts visits every text in a value.
func texts(value any, visit func(string)) {
	switch v := value.(type) {
	case string:
		visit(v)
	case json.Number:
		visit(v.String())
	case []string:
		for _, name := range v {
			visit(name)
		}
	case map[string]any:
		for _, field := range v {
			texts(field, visit)
		}
	case []any:
		for _, element := range v {
			texts(element, visit)
		}
	case *dependency.Secret:
		texts(v.Data, visit)
		visit(v.LeaseID)
		if v.Auth != nil {
			visit(v.Auth.ClientToken)
		}
	case dependency.PemEncoded:
		visit(v.Key)
	}
}
