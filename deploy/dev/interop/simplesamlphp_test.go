package interop

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sallyport/sallyport/deploy/dev/process"
)

// simpleSAMLphp is SimpleSAMLphp as Debian has it. It reads its settings at every
// request.
type simpleSAMLphp struct {
	*stage
	front  *front
	state  string
	child  *process.Child
	entity string // the door's
}

func newSimpleSAMLphp(s *stage, d *door) provider {
	p := &simpleSAMLphp{stage: s, front: s.front("simplesamlphp.localhost"), state: s.all.TempDir(), entity: d.front.origin + "/saml/metadata"}
	for _, folder := range []string{"sessions", "tmp", "log", "data"} {
		write(s.t, nil, p.state, folder, ".keep")
	}
	p.start()
	return p
}

// root is where `make packages` unpacks the package. It is not installed: it wants
// a web server, which would listen.
func (p *simpleSAMLphp) root() string {
	p.t.Helper()
	root, err := filepath.Abs("../../../.build/debian/simplesamlphp")
	if err != nil {
		p.t.Fatal(err)
	}
	return installed(p.t, root)
}

// start runs PHP, which answers on a socket. Its own web server will not do: it cuts
// answers short now and then.
func (p *simpleSAMLphp) start() {
	p.t.Helper()
	php, err := exec.LookPath("php-cgi")
	if err != nil {
		p.t.Fatalf("%v: run `make packages` as root once", err)
	}
	folder, err := os.MkdirTemp("", "php-") // a socket's name must be short
	if err != nil {
		p.t.Fatal(err)
	}
	p.all.Cleanup(func() { os.RemoveAll(folder) })
	socket := filepath.Join(folder, "socket")
	p.child = p.stage.start(process.Spec{
		Name: "simplesamlphp", Path: php, Log: filepath.Join(p.state, "php.log"),
		Args: []string{"-b", socket, "-d", "display_errors=0", "-d", "error_reporting=0", "-d", "error_log=/dev/stderr"},
		Env: environment("PHP_FCGI_MAX_REQUESTS=0", "SIMPLESAMLPHP_CONFIG_DIR="+testdata(p.t, "simplesamlphp"), "INTEROP_STATE="+p.state,
			"INTEROP_ORIGIN="+p.front.origin, "INTEROP_ATTRIBUTE_MAPS="+filepath.Join(p.root(), "etc/simplesamlphp/attributemap")),
	})
	p.front.serve(p.handler(socket))
}

// handler finds the script in an address like /module.php/core/login, and serves
// other files as they are.
func (p *simpleSAMLphp) handler(socket string) http.Handler {
	www := filepath.Join(p.root(), "usr/share/simplesamlphp/www")
	files := http.FileServer(http.Dir(www))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		script, info, ok := strings.Cut(r.URL.Path+"/", ".php/")
		if !ok {
			files.ServeHTTP(w, r)
			return
		}
		script += ".php"
		fastCGI{socket: socket, params: map[string]string{
			"SCRIPT_FILENAME": filepath.Join(www, filepath.FromSlash(script)), "SCRIPT_NAME": script, "DOCUMENT_ROOT": www,
			"PATH_INFO": strings.TrimSuffix("/"+info, "/"), "REDIRECT_STATUS": "200",
		}}.ServeHTTP(w, r)
	})
}

func (p *simpleSAMLphp) configure(s settings) {
	p.t.Helper()
	data, err := json.Marshal(map[string]any{
		"sign_response": s.signs != signsAssertion, "sign_assertion": s.signs != signsResponse,
		"encrypt": s.encrypt, "strict": s.strict, "key": s.key, "next": s.next,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	for _, name := range []string{s.key, s.next} {
		if name != "" {
			write(p.t, keyPair(p.t, name).keyPEM(p.t), p.state, "keys", name+".key")
			write(p.t, keyPair(p.t, name).certPEM(), p.state, "keys", name+".crt")
		}
	}
	write(p.t, s.door, p.state, "door.xml")
	write(p.t, data, p.state, "settings.json")
}

func (p *simpleSAMLphp) describe() []byte {
	p.t.Helper()
	return p.awaitMetadata(p.child, p.front.origin+"/saml2/idp/metadata.php")
}

func (p *simpleSAMLphp) browser(person string) *browser {
	return p.stage.browser(person, person+"-pw")
}

func (p *simpleSAMLphp) signOut() string {
	return p.front.origin + "/saml2/idp/SingleLogoutService.php?" + url.Values{"ReturnTo": {p.front.origin + "/logout.php"}}.Encode()
}

func (p *simpleSAMLphp) unsolicited() string {
	return p.front.origin + "/saml2/idp/SSOService.php?" + url.Values{"spentityid": {p.entity}}.Encode()
}

func (p *simpleSAMLphp) can() ability {
	return ability{
		signings: []signing{signsBoth, signsResponse, signsAssertion}, refusals: true, publishes: true,
		context: "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport",
	}
}
