package interop

import (
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"

	"github.com/sallyport/sallyport/deploy/dev/process"
)

// lemonLDAP is LemonLDAP::NG as Debian has it, under a small server of Perl's. It
// reads its configuration when it starts, so a new one starts it anew; its sessions
// are in files, and outlive that.
type lemonLDAP struct {
	*stage
	front   *front
	state   string
	child   *process.Child
	version int
	entity  string // the door's
}

func newLemonLDAP(s *stage, d *door) provider {
	return &lemonLDAP{stage: s, front: s.front("lemonldap.localhost"), state: s.all.TempDir(), entity: d.front.origin + "/saml/metadata"}
}

func (p *lemonLDAP) configure(s settings) {
	p.t.Helper()
	for _, folder := range []string{"sessions/lock", "persistent/lock", "cache"} {
		write(p.t, nil, p.state, folder, ".keep")
	}
	p.version++
	data, err := json.Marshal(p.configuration(s))
	if err != nil {
		p.t.Fatal(err)
	}
	write(p.t, data, p.state, "conf", fmt.Sprintf("lmConf-%d.json", p.version))
	ini := write(p.t, fmt.Appendf(nil, `[all]
logLevel = notice
logger = Lemonldap::NG::Common::Logger::Std
userLogger = Lemonldap::NG::Common::Logger::Std
[configuration]
type = File
dirName = %s
[portal]
staticPrefix = /static
templateDir = /usr/share/lemonldap-ng/portal/templates
languages = en
[handler]
`, filepath.Join(p.state, "conf")), p.state, "lemonldap-ng.ini")
	p.restart(ini)
}

func (p *lemonLDAP) restart(ini string) {
	p.t.Helper()
	installed(p.t, "/usr/share/perl5/Lemonldap/NG/Portal/Issuer/SAML.pm")
	plackup, err := exec.LookPath("plackup")
	if err != nil {
		p.t.Fatalf("%v: run `make packages` as root once", err)
	}
	if p.child != nil {
		stop(p.t, p.child)
	}
	address := freeAddress(p.t)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.child = p.stage.start(process.Spec{
		Name: "lemonldap", Path: plackup, Log: filepath.Join(p.state, "lemonldap.log"),
		Args: []string{"-E", "production", "-s", "HTTP::Server::PSGI", "--host", host, "--port", port, testdata(p.t, "lemonldap", "portal.psgi")},
		Env:  environment("LLNG_DEFAULTCONFFILE="+ini, "INTEROP_ORIGIN="+p.front.origin),
	})
	p.front.serve(forward(address))
	p.describe()
}

// configuration is what its manager would write.
func (p *lemonLDAP) configuration(s settings) map[string]any {
	files := func(name string) map[string]string {
		return map[string]string{
			"Directory": filepath.Join(p.state, name), "LockDirectory": filepath.Join(p.state, name, "lock"),
			"generateModule": "Lemonldap::NG::Common::Apache::Session::Generate::SHA256",
		}
	}
	none := map[string]string{}
	return map[string]any{
		"cfgNum": p.version, "cfgVersion": "2.16.1", "cfgAuthor": "interop", "cfgDate": 1,
		"portal": p.front.origin + "/", "domain": "lemonldap.localhost", "cookieName": "lemonldap", "securedCookie": 1, "sameSite": "None",
		"key": "nothing here is a secret", "whatToTrace": "uid", "captcha": "::Captcha::None", "requireToken": 0,
		"authentication": "Demo", "userDB": "Same", "passwordDB": "Null", "registerDB": "Null",
		"demoExportedVars": map[string]string{"cn": "cn", "mail": "mail", "uid": "uid"},
		"exportedVars":     none, "groups": none, "macros": none, "exportedHeaders": none, "locationRules": none, "applicationList": none,
		"globalStorage": "Apache::Session::File", "globalStorageOptions": files("sessions"),
		"persistentStorage": "Apache::Session::File", "persistentStorageOptions": files("persistent"),
		"localSessionStorage": "Cache::FileCache", "localSessionStorageOptions": map[string]any{
			"namespace": "interop", "cache_root": filepath.Join(p.state, "cache"), "cache_depth": 3, "default_expires_in": 600,
		},
		"skipRenewConfirmation":  1,
		"issuerDBSAMLActivation": 1, "issuerDBSAMLRule": "1",
		"samlServicePrivateKeySig":            string(keyPair(p.t, s.key).keyPEM(p.t)),
		"samlServicePublicKeySig":             string(keyPair(p.t, s.key).certPEM()),
		"samlServiceUseCertificateInResponse": 1,
		"samlSPMetaDataXML":                   map[string]any{"door": map[string]string{"samlSPMetaDataXML": string(s.door)}},
		"samlSPMetaDataExportedAttributes": map[string]any{"door": map[string]string{
			"mail": "1;mail;;", "cn": "1;displayName;;", "groups": "0;groups;;",
		}},
		"samlSPMetaDataOptions": map[string]any{"door": p.options(s)},
	}
}

func (p *lemonLDAP) options(s settings) map[string]any {
	options := map[string]any{
		"samlSPMetaDataOptionsNameIDFormat":             "email",
		"samlSPMetaDataOptionsSignSSOMessage":           1,
		"samlSPMetaDataOptionsCheckSSOMessageSignature": 0,
		"samlSPMetaDataOptionsSignSLOMessage":           1,
		"samlSPMetaDataOptionsCheckSLOMessageSignature": 1,
		"samlSPMetaDataOptionsEnableIDPInitiatedURL":    1,
		"samlSPMetaDataOptionsEncryptionMode":           "none",
	}
	if s.strict {
		options["samlSPMetaDataOptionsCheckSSOMessageSignature"] = 1
	}
	if s.encrypt {
		options["samlSPMetaDataOptionsEncryptionMode"] = "assertion"
	}
	return options
}

func (p *lemonLDAP) describe() []byte {
	p.t.Helper()
	return p.awaitMetadata(p.child, p.front.origin+"/saml/metadata")
}

func (p *lemonLDAP) browser(person string) *browser { return p.stage.browser(person, person) }

func (p *lemonLDAP) signOut() string { return p.front.origin + "/?logout=1" }

func (p *lemonLDAP) unsolicited() string {
	return p.front.origin + "/saml/singleSignOn?" + url.Values{"IDPInitiated": {"1"}, "sp": {p.entity}}.Encode()
}

func (p *lemonLDAP) can() ability {
	return ability{
		signings: []signing{signsBoth}, refusals: true,
		context: "urn:oasis:names:tc:SAML:2.0:ac:classes:Password",
	}
}
