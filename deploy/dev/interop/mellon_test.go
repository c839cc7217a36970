package interop

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/sallyport/sallyport/deploy/dev/localhost"
	"github.com/sallyport/sallyport/deploy/dev/process"
)

// corpusCase is a response of package saml's corpus, as its tests write it.
type corpusCase struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Response string    `json:"response"`
	Code     string    `json:"code"` // of our refusal; empty: accepted
	Request  string    `json:"request"`
	Now      time.Time `json:"now"`
	Provider struct {
		EntityID    string      `json:"entity_id"`
		ACSURL      string      `json:"acs_url"`
		Key         string      `json:"key"`
		Certificate string      `json:"certificate"`
		Decryption  [][2]string `json:"decryption"`
		Metadata    string      `json:"metadata"`
	} `json:"provider"`
}

// readCorpus has package saml's tests write the corpus, and reads it in the order of
// its ids.
func readCorpus(t testing.TB) []corpusCase {
	t.Helper()
	dir := t.TempDir()
	command := exec.CommandContext(t.Context(), "go", "test", "-count=1", "./saml", "-run", "^TestWriteCorpus$", "-args", "-corpus", dir)
	command.Dir = "../../.."
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("writing the corpus: %v\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) < 280 {
		t.Fatalf("%d cases, %v: some got lost", len(files), err)
	}
	slices.Sort(files)
	all := make([]corpusCase, len(files))
	for i, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &all[i]); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	return all
}

// mellon is Apache with mod_auth_mellon, in the place of our service provider: same
// name, same address, same keys. Each identity provider of the corpus has a location
// of its own, which the address of the assertion consumer service is rewritten to.
type mellon struct {
	*stage
	state, address string
	child          *process.Child
	places         map[string]int // of identity providers, by metadata and our key
	browser        *http.Client
	now            time.Time // by its clock
	soiled         bool      // whether it remembers an assertion
}

// place is what httpd.conf says of one of them.
type place struct {
	Number                         int
	Key, Certificate, Metadata, Us string // files
}

var httpd = template.Must(template.New("httpd.conf").Parse(`ServerName {{.Origin}}
UseCanonicalName On
Listen {{.Address}}
ServerRoot {{.State}}
DefaultRuntimeDir {{.State}}
PidFile {{.State}}/pid
ErrorLog {{.State}}/error.log
LogLevel auth_mellon:info
{{range .Modules}}LoadModule {{.}}_module /usr/lib/apache2/modules/mod_{{.}}.so
{{end}}{{if .Root}}User www-data
Group www-data
{{end}}StartServers 1
MinSpareServers 2
MaxSpareServers 4
MaxRequestWorkers 4
KeepAlive Off
DocumentRoot {{.State}}/www
<Directory {{.State}}/www>
Require all granted
</Directory>
RewriteEngine On
RewriteCond %{HTTP:X-Place} ^([0-9]+)$
RewriteRule ^{{.ACS}}$ /place/%1/saml/postResponse [PT]
{{range .Places}}<Location /place/{{.Number}}>
AuthType Mellon
MellonEnable auth
MellonEndpointPath /place/{{.Number}}/saml
MellonSPPrivateKeyFile {{.Key}}
MellonSPCertFile {{.Certificate}}
MellonSPMetadataFile {{.Us}}
MellonIdPMetadataFile {{.Metadata}}
MellonVariable mellon-{{.Number}}
MellonEnabledInvalidateSessionEndpoint On
MellonDefaultLoginPath /place/{{.Number}}/
Require valid-user
Header set X-User "expr=%{base64:%{reqenv:MELLON_NAME_ID}}"
</Location>
{{end}}`))

func newMellon(t *testing.T, cases []corpusCase) *mellon {
	t.Helper()
	dir, err := os.MkdirTemp("", "mellon-") // www-data cannot look into t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &mellon{stage: newStage(t), state: dir, address: freeAddress(t), places: map[string]int{}}
	m.browser = m.client()
	m.configure(cases)
	m.open(dir)
	return m
}

// restart has Apache begin anew, with no memory of anything and its clock standing at
// an instant.
func (m *mellon) restart(now time.Time) {
	m.t.Helper()
	if m.child != nil {
		stop(m.t, m.child)
	}
	preload, err := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if err != nil || len(preload) == 0 {
		m.t.Fatalf("no libfaketime, %v: run `make packages` as root once", err)
	}
	m.now, m.soiled = now, false
	m.child = m.start(process.Spec{
		Name: "apache2", Path: installed(m.t, "/usr/sbin/apache2"), Log: filepath.Join(m.state, "output"),
		Args: []string{"-DFOREGROUND", "-f", filepath.Join(m.state, "httpd.conf")},
		Env:  environment("LD_PRELOAD="+preload[0], "FAKETIME="+now.UTC().Format("2006-01-02 15:04:05"), "TZ=UTC"),
	})
	ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Second)
	defer cancel()
	if err := localhost.WaitOK(ctx, m.browser, "http://"+m.address+"/"); err != nil {
		m.t.Fatalf("%v\n%s\n%s", err, m.child.Tail(20), m.complaints())
	}
}

// configure writes the files.
func (m *mellon) configure(cases []corpusCase) {
	m.t.Helper()
	installed(m.t, "/usr/lib/apache2/modules/mod_auth_mellon.so")
	var all []place
	for _, c := range cases {
		if _, ok := m.places[c.provider()]; ok {
			continue
		}
		n := len(all)
		m.places[c.provider()] = n
		dir := filepath.Join(m.state, fmt.Sprint(n))
		key, cert := c.Provider.Key, c.Provider.Certificate
		if len(c.Provider.Decryption) > 0 {
			key, cert = c.Provider.Decryption[0][0], c.Provider.Decryption[0][1] // it has one key for both
		}
		all = append(all, place{
			Number: n, Key: write(m.t, []byte(key), dir, "key"), Certificate: write(m.t, []byte(cert), dir, "cert"),
			Metadata: write(m.t, []byte(c.Provider.Metadata), dir, "idp.xml"), Us: write(m.t, c.us(), dir, "sp.xml"),
		})
	}
	acs, err := url.Parse(cases[0].Provider.ACSURL)
	if err != nil {
		m.t.Fatal(err)
	}
	write(m.t, []byte("open\n"), m.state, "www", "index.html")
	write(m.t, nil, m.state, "www", "place", "x")
	var conf bytes.Buffer
	if err := httpd.Execute(&conf, map[string]any{
		"Origin": "https://" + acs.Host + ":443", "Address": m.address, "State": m.state, "ACS": acs.Path, "Places": all, "Root": os.Geteuid() == 0,
		"Modules": []string{"mpm_prefork", "authn_core", "authz_core", "authz_user", "auth_mellon", "rewrite", "headers", "dir"},
	}); err != nil {
		m.t.Fatal(err)
	}
	write(m.t, conf.Bytes(), m.state, "httpd.conf")
	for _, p := range all {
		write(m.t, []byte("in\n"), m.state, "www", "place", fmt.Sprint(p.Number), "index.html")
	}
}

// open lets the server's own user read everything.
func (m *mellon) open(dir string) {
	m.t.Helper()
	if err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chmod(path, info.Mode().Perm()|0o444|(info.Mode().Perm()&0o100)/0o100*0o111)
	}); err != nil {
		m.t.Fatal(err)
	}
}

// provider names the identity provider and the keys of the case.
func (c *corpusCase) provider() string {
	return c.Provider.Metadata + c.Provider.Key + fmt.Sprint(c.Provider.Decryption)
}

// us is our metadata, as far as Mellon needs it.
func (c *corpusCase) us() []byte {
	cert := strings.NewReplacer("-----BEGIN CERTIFICATE-----", "", "-----END CERTIFICATE-----", "").Replace(c.Provider.Certificate)
	return fmt.Appendf(nil, `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="%s"><SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><KeyDescriptor><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data><ds:X509Certificate>%s</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor><AssertionConsumerService index="0" isDefault="true" Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="%s"/></SPSSODescriptor></EntityDescriptor>`,
		c.Provider.EntityID, cert, c.Provider.ACSURL)
}

func (m *mellon) complaints() string {
	text, _ := os.ReadFile(filepath.Join(m.state, "error.log"))
	return string(text)
}

// judge posts the response, and returns who got in; or why nobody did.
func (m *mellon) judge(c *corpusCase) (user, refused string) {
	m.t.Helper()
	n := fmt.Sprint(m.places[c.provider()])
	if m.child == nil || m.soiled || !m.now.Equal(c.Now) {
		m.restart(c.Now)
	}
	before := len(m.complaints())
	body := url.Values{"SAMLResponse": {c.Response}}.Encode()
	resp := m.do(http.MethodPost, "/saml/acs", n, []*http.Cookie{{Name: "mellon-mellon-" + n, Value: "cookietest"}}, body)
	if resp.StatusCode != http.StatusSeeOther || len(resp.Cookies()) == 0 {
		why := complaint(m.complaints()[before:])
		if strings.Contains(why, "already been used") {
			m.t.Fatalf("%s: the assertion of an earlier case was not forgotten", c.ID)
		}
		m.soiled = resp.StatusCode != http.StatusBadRequest // it got beyond the checks
		return "", fmt.Sprintf("%d %s", resp.StatusCode, why)
	}
	cookies := resp.Cookies()
	resp = m.do(http.MethodGet, "/place/"+n+"/index.html", n, cookies, "")
	if resp.StatusCode != http.StatusOK {
		m.soiled = true
		return "", fmt.Sprintf("%d after the sign-on", resp.StatusCode)
	}
	// It forgets the assertion with the session, so the next case may have the same.
	if out := m.do(http.MethodGet, "/place/"+n+"/saml/invalidate?ReturnTo=https://door.example.test/", n, cookies, ""); out.StatusCode != http.StatusSeeOther {
		m.t.Fatalf("invalidating a session: %s\n%s", out.Status, m.complaints())
	}
	name, err := base64.StdEncoding.DecodeString(resp.Header.Get("X-User"))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(name), ""
}

func (m *mellon) do(method, path, n string, cookies []*http.Cookie, body string) *http.Response {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), method, "http://"+m.address+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("X-Place", n)
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, c := range cookies {
		req.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	resp, err := m.browser.Do(req)
	if err != nil {
		m.t.Fatalf("%v\n%s", err, m.complaints())
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	return resp
}

var complaintStart = regexp.MustCompile(`^\[[^]]*\] \[auth_mellon:[a-z]+\] \[pid [^]]*\] (\[client [^]]*\] )?`)

// complaint is what Mellon logged last.
func complaint(log string) string {
	last := ""
	for line := range strings.Lines(log) {
		if text := complaintStart.ReplaceAllString(line, ""); text != line {
			last, _, _ = strings.Cut(strings.TrimSpace(text), ", SAML Response:")
		}
	}
	return last
}
