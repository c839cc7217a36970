package secrets

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"strings"
)

// form is how a question is asked.
type form string

const (
	formRead  form = "read"
	formWrite form = "write"
	formList  form = "list"
	formCert  form = "certificate"
)

// question is something that a template asks of Vault. Equal questions have one answer, in
// however many templates they stand: the same credentials, and the same certificate beside
// the key that fits it.
type question struct {
	form  form
	path  string // as the template says it, without slashes at its ends
	query url.Values
	body  map[string]any
}

// key tells questions apart. Parameters are in it by their hash: they may be secrets.
func (q question) key() string {
	body, err := json.Marshal(q.body) // keys in order
	if err != nil {
		body = fmt.Append(nil, q.body)
	}
	sum := sha256.Sum256(body)
	return fmt.Sprintf("%s %s?%s#%s", q.form, q.path, q.query.Encode(), hex.EncodeToString(sum[:]))
}

// secretQuestion is that of the function secret: a path, and parameters to write there.
func secretQuestion(args []string) (question, error) {
	if len(args) == 0 {
		return question{}, fmt.Errorf("secret: expected the path of a secret")
	}
	body, err := parameters("secret", args[1:])
	if err != nil {
		return question{}, err
	}
	if len(args) > 1 {
		return pathQuestion(formWrite, args[0], body)
	}
	return pathQuestion(formRead, args[0], nil)
}

// listQuestion is that of the function secrets.
func listQuestion(path string) (question, error) { return pathQuestion(formList, path, nil) }

// certQuestion is that of the function pkiCert.
func certQuestion(args []string) (question, error) {
	if len(args) == 0 {
		return question{}, fmt.Errorf("pkiCert: expected the path that issues a certificate")
	}
	body, err := parameters("pkiCert", args[1:])
	if err != nil {
		return question{}, err
	}
	return pathQuestion(formCert, args[0], body)
}

// parameters parses name=value pairs. Values may be secrets: errors have the names alone.
func parameters(function string, pairs []string) (map[string]any, error) {
	body := map[string]any{}
	for i, pair := range pairs {
		if pair == "" {
			continue
		}
		name, value, found := strings.Cut(pair, "=")
		if !found {
			return nil, fmt.Errorf("%s: parameter %d: expected name=value", function, i+1)
		}
		body[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return body, nil
}

// pathQuestion checks a path; behind a question mark it has a query, such as ?version=2.
func pathQuestion(f form, text string, body map[string]any) (question, error) {
	text = strings.Trim(strings.TrimSpace(text), "/")
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Fragment != "" || u.Path == "" {
		return question{}, fmt.Errorf("path %q: expected a path in Vault", text)
	}
	if path.Clean(u.Path) != u.Path || strings.HasPrefix(u.Path, "..") {
		return question{}, fmt.Errorf("path %q: expected segments joined by single slashes", text)
	}
	return question{form: f, path: u.Path, query: u.Query(), body: body}, nil
}
