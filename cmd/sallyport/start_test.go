package main

import (
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// TestProcesses runs the real commands beside one real Vault.
func TestProcesses(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	t.Run("beside a Vault", func(t *testing.T) {
		for name, test := range startFailures(t, s) {
			t.Run("a start fails: "+name, func(t *testing.T) {
				t.Parallel()
				s.checkFailure(t, test)
			})
		}
		for name, test := range map[string]func(*testing.T, *stand){
			"a gateway starts and tells of each step":    testGatewayStarts,
			"a gateway takes its configuration of Vault": testGatewayConfigInVault,
			"a gateway speaks QUIC":                      testGatewayHTTP3,
			"a gateway stops":                            testGatewayStops,
			"a gateway whose disk is full":               testGatewayDiskFull,
			"nobody reads an access log":                 testUnread,
			"a collector misses nothing":                 testCollector,
			"a gateway stops in time":                    testGatewayDrainEnds,
			"a gateway stops at once when told twice":    testGatewayStopsAtOnce,
			"a sidecar starts and stops":                 testSidecar,
			"an app starts with its secrets":             testAppSecrets,
			"an app does not start without its secrets":  testAppSecretsFail,
			"a sidecar passes what is no HTTP":           testTCP,
			"a sidecar cuts what is no HTTP in a stop":   testTCPDrainEnds,
			"a sidecar changes who may come":             testGatewaysChange,
			"a sidecar's app is exposed":                 testExposedApp,
			"a sidecar's socket is exposed":              testExposedSocket,
			"a sidecar demands assertions":               testGuardDemandsAssertions,
			"a sidecar is confined":                      testConfinement,
			"a sidecar's app is not confined":            testAppNotConfined,
			"an upgrade side by side loses nothing":      testUpgradeBeside,
			"an ingress asks who may pass":               testForwardAuth,
			"an upgrade by sockets loses nothing":        testUpgradeBySocket,
			"a gateway restarts with its heir":           testHeir,
			"a revoked token stops a gateway":            testRevocationStops,
			"a revoked token is noticed":                 testRevocationIsNoticed,
			"certificates are renewed on demand":         testCertificatesAreRenewedOnDemand,
			"the edge is certified by ACME":              testEdgeByACME,
			"a stop is asked for before Vault answers":   testStopBeforeServing,
			"a token is introduced":                      testIntroduce,
			"a token is introduced with bounds":          testIntroduceFlags,
			"a token is introduced into an engine":       testIntroduceDocker,
			"a secret driver lives":                      testSecretDriver,
			"a secret driver reads its token again":      testSecretDriverTokenFile,
			"a secret driver starts again by its heir":   testSecretDriverHeir,
			"a secret driver changes its allow-list":     testSecretDriverConfig,
			"a secret driver does not start":             testSecretDriverFails,
			"roles are printed, and refusals explained":  testProvision,
			"a file says what vault holds":               testProvisionFile,
			"assertions fit their connections":           testAssertions,
			"everything in Vault is live":                testLiveSecrets,
			"a tool is shown a credential":               testLiveCredentials,
			"a configuration file is live":               testFileConfiguration,
			"a status is shown":                          testStatus,
			"upstreams are watched":                      testUpstreams,
			"prometheus scrapes what is documented":      testPrometheusScrapes,
			"changes get past expired metadata":          testChangesPastExpiredMetadata,
			"metadata moves to another URL":              testMetadataMoves,
			"metadata comes from a URL":                  testMetadataFromURL,
			"several identity providers are apart":       testSeveralIdPs,
			"keys for encryption are judged":             testEncryptionKeys,
			"a start is measured":                        testStartup,
			"requests are traced":                        testTracing,
			"secrets stay in memory":                     testSecretsStayInMemory,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, s)
			})
		}
	})
	t.Run("a start fails: vault is sealed", func(t *testing.T) {
		intro := s.introduce(t, gatewayRole)
		if err := s.vault.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
		p := s.startGateway(t, gatewayRole, intro.file, s.yamlFile(t, ""), "--vault-wait", "1s")
		code := p.wait(t)
		if err := s.vault.Unseal(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.checkEnd(t, p, code, failure{
			intro: intro, code: exitSealed, usable: true,
			says: []string{"looking up the wrapping token", "giving up after", "sealed", "hint: unseal Vault"},
		})
	})
}

// failure is a way in which a start must fail.
type failure struct {
	role   string                        // caseRole if empty
	intro  introduction                  // minted if empty
	mint   func(*testing.T) introduction // the introduction, where it must not age
	config string                        // file, or place in Vault
	args   []string

	code   int
	says   []string // parts of the output
	usable bool     // the introduction can be used for another start
}

// startGateway starts a gateway of role.
func (s *stand) startGateway(t *testing.T, role, tokenFile, config string, args ...string) *process {
	t.Helper()
	return s.start(t, append([]string{
		"gateway", "--role", role, "--role-id", s.roleIDs[role], "--wrapping-token-file", tokenFile, "--config", config,
	}, args...)...)
}

// yamlFile writes a gateway's configuration with addresses of its own.
func (s *stand) yamlFile(t *testing.T, more string) string {
	t.Helper()
	return writeFile(t, t.TempDir(), "gateway.yaml", gatewayYAML(free(t), free(t), more))
}

// checkFailure starts a gateway that must not come up.
func (s *stand) checkFailure(t *testing.T, want failure) {
	t.Helper()
	if want.role == "" {
		want.role = caseRole
	}
	switch {
	case want.mint != nil:
		want.intro = want.mint(t)
	case want.intro.file == "":
		want.intro = s.introduce(t, want.role)
	}
	p := s.startGateway(t, want.role, want.intro.file, want.config, want.args...)
	s.checkEnd(t, p, p.wait(t), want)
}

// checkEnd compares the end of a process with what it must be: the code, what
// was wrong, what to do, and the fate of the introduction. No secret is shown.
func (s *stand) checkEnd(t *testing.T, p *process, code int, want failure) {
	t.Helper()
	text := p.err.String()
	if code != want.code {
		t.Errorf("exit code %d, expected %d", code, want.code)
	}
	for _, part := range want.says {
		if !strings.Contains(text, part) {
			t.Errorf("the output does not say %q", part)
		}
	}
	if !strings.Contains(text, "\nhint: ") && !strings.Contains(text, "configuration has faults") {
		t.Error("the output does not say what to do")
	}
	if token := want.intro.token; token != "" && s.usable(t, token) != want.usable {
		t.Errorf("the introduction is usable: %t, expected %t", !want.usable, want.usable)
	}
	spent := slices.ContainsFunc(p.log(), func(l logLine) bool { return l.Msg == "logged in" })
	if told := strings.Contains(text, "the introduction is used up"); told != spent {
		t.Errorf("the output says that the introduction is used up: %t, expected %t", told, spent)
	}
	// A useless value may still be somebody's secret: what the cases write in
	// place of one is not shown either.
	s.checkNoSecret(t, p, want.intro.token, "canary", "Y2FuYXJ5", "QUJDQUJD")
	for line := range strings.Lines(p.out.String()) { // the access log alone
		if _, sealed := accesslog.ParseSeal([]byte(line)); !sealed || strings.Contains(line, `"http.request.method"`) {
			t.Errorf("standard output has %q, expected records of the start", line)
		}
	}
	if t.Failed() {
		t.Logf("output:\n%s", text)
	}
}

// startFailures are the ways in which a start can fail. They are made before
// any of them runs.
func startFailures(t *testing.T, s *stand) map[string]failure {
	t.Helper()
	failures := s.introductionFailures(t)
	for name, fields := range map[string]struct {
		saml, session map[string]string
		field, cause  string
	}{
		"sp_private_key is missing":         {with(s.saml, fieldSPKey, ""), s.session, fieldSPKey, `field "sp_private_key" of version 1 is absent`},
		"sp_public_cert is missing":         {with(s.saml, fieldSPCert, ""), s.session, fieldSPCert, `field "sp_public_cert" of version 1 is absent`},
		"idp_metadata_xml is missing":       {with(s.saml, fieldIdPMetadata, ""), s.session, fieldIdPMetadata, "provision apply --idp-metadata FILE"},
		"the session key is missing":        {s.saml, with(s.session, fieldCurrentKey, ""), fieldCurrentKey, `field "current" of version 1 is absent`},
		"the private key is no PEM":         {with(s.saml, fieldSPKey, "canary-1"), s.session, fieldSPKey, "reading the private key"},
		"the private key is a certificate":  {with(s.saml, fieldSPKey, s.saml[fieldSPCert]), s.session, fieldSPKey, `PEM block of type "CERTIFICATE", expected PRIVATE KEY`},
		"the certificate is no PEM":         {with(s.saml, fieldSPCert, "canary-1"), s.session, fieldSPCert, "reading the certificate"},
		"the certificate is of another key": {with(s.saml, fieldSPCert, otherCertificate(t)), s.session, fieldSPCert, "the certificate does not belong to the private key"},
		"the metadata is of somebody else":  {with(s.saml, fieldIdPEntityID, "https://evil.example/"), s.session, fieldIdPEntityID, `no identity provider "https://evil.example/" in it`},
		"the metadata is no XML":            {with(s.saml, fieldIdPMetadata, "canary-1"), s.session, fieldIdPMetadata, `value of 8 bytes does not begin with "<"`},
		"the metadata is the private key":   {with(s.saml, fieldIdPMetadata, s.saml[fieldSPKey]), s.session, fieldIdPMetadata, "expected an XML document"},
		"the metadata has no provider":      {with(s.saml, fieldIdPMetadata, strings.ReplaceAll(s.metadata, "IDPSSO", "SPSSO")), s.session, fieldIdPMetadata, "expected exactly one"},
		"the metadata is half there":        {with(s.saml, fieldIdPMetadata, s.metadata[:len(s.metadata)/2]), s.session, fieldIdPMetadata, "reading the document"},
		"the session key is too short":      {s.saml, with(s.session, fieldCurrentKey, "Y2FuYXJ5LTE="), fieldCurrentKey, "value decodes to 8 bytes, expected base64 of 32 random bytes"},
		"the session key is no base64":      {s.saml, with(s.session, fieldCurrentKey, "canary-1"), fieldCurrentKey, "value is not base64, expected base64 of 32 random bytes"},
		"the next session key is too long":  {s.saml, with(s.session, fieldNextKey, strings.Repeat("QUJD", 11)), fieldNextKey, "value decodes to 33 bytes"},
	} {
		path := "cases/" + strings.ReplaceAll(name, " ", "-")
		s.writeKV(t, path+"/saml", fields.saml)
		s.writeKV(t, path+"/session", fields.session)
		failures[name] = failure{
			config: s.yamlFile(t, casePaths(path)), code: exitBadSecret,
			says: []string{"reading ", "secret/" + path, fields.field, fields.cause, "version 1"},
		}
	}
	s.writeKV(t, "cases/good/saml", s.saml)
	s.writeKV(t, "cases/good/session", s.session)
	return failures
}

// casePaths says where a case's secrets are.
func casePaths(path string) string {
	return fmt.Sprintf("vault: {saml_path: %s/saml, session_path: %s/session}\n", path, path)
}

// introductionFailures are those that are no fault of a secret's content.
func (s *stand) introductionFailures(t *testing.T) map[string]failure {
	t.Helper()
	good := s.yamlFile(t, casePaths("cases/good"))
	used := s.introduce(t, caseRole)
	s.call(t, "PUT", "sys/wrapping/unwrap", map[string]string{"token": used.token}, nil)
	missing := introduction{file: filepath.Join(t.TempDir(), "nosuch")}
	const elsewhere = "door.example.net"
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	s.writeKV(t, "cases/faulty", map[string]string{configField: "door: {host: Door}\n"})
	s.writeKV(t, "cases/empty", map[string]string{"something": "else"})
	s.writeKV(t, "cases/together", with(s.saml, configField, gatewayYAML(free(t), free(t), "vault: {saml_path: cases/together}\n")))
	return map[string]failure{
		"there is no token file": {
			intro: missing, config: good, code: exitNoToken,
			says: []string{"reading the wrapping token " + missing.file, "there is no such file", "hint: mint a new introduction"},
		},
		"the token file is empty": {
			intro: introduction{file: writeFile(t, t.TempDir(), "empty", "\n")}, config: good, code: exitNoToken,
			says: []string{"the file is empty", "hint: mint a new introduction"},
		},
		"the token was used by somebody else": {
			intro: used, config: good, code: exitIntercepted,
			says: []string{`"event":"interception_alarm"`, `"level":"ERROR"`, "hint: if nobody else can have used it", "treat the SecretID as stolen"},
		},
		"the token never existed": {
			intro: deliverToken(t, "hvs.CAESIcanarycanarycanarycanary"), config: good, code: exitIntercepted,
			says: []string{`"event":"interception_alarm"`},
		},
		"the token wraps what a forger says": {
			mint: func(t *testing.T) introduction {
				return deliverToken(t, s.wrapped(t, "sys/wrapping/wrap", `{"secret_id":"canary-1"}`))
			},
			config: good, code: exitForged, usable: true,
			says: []string{`creation path "sys/wrapping/wrap": expected "auth/approle/role/case/secret-id"`, `"event":"introduction_forged"`, "hint: "},
		},
		"the token is another role's": {
			mint:   func(t *testing.T) introduction { return s.introduce(t, sidecarRole) },
			config: good, code: exitForged, usable: true,
			says: []string{`creation path "auth/approle/role/sallyport-sidecar-notes/secret-id"`, `"event":"introduction_forged"`},
		},
		"the token lives too long": {
			config: good, args: []string{"--max-wrap-ttl", "1m"}, code: exitForged, usable: true,
			says: []string{"creation TTL 5m0s: expected at most 1m0s"},
		},
		"vault is away": {
			config: good, args: []string{"--vault-wait", "500ms", "--vault-addr", "https://" + free(t)}, code: exitUnreachable, usable: true,
			says: []string{"looking up the wrapping token", "giving up after", "connection refused", "hint: check the address, the network and that Vault runs"},
		},
		"vault is somebody else": {
			config: good, args: []string{"--vault-ca-file", writeFile(t, t.TempDir(), "ca.pem", otherCertificate(t))}, code: exitUnreachable, usable: true,
			says: []string{"certificate", "hint: check that the address is Vault's and that the CA file"},
		},
		"the role id is another's": {
			config: good, args: []string{"--role-id", s.roleIDs[blindRole]}, code: exitLoginRefused,
			says: []string{"logging in auth/approle/login", "hint: check the RoleID"},
		},
		"the policy allows no secret": {
			role: blindRole, config: good, code: exitDenied,
			says: []string{"reading the secret secret/cases/good/saml", "permission denied", `hint: grant the role a policy: path "secret/data/cases/good/saml" { capabilities = ["read"] }`},
		},
		"there is no secret": {
			config: s.yamlFile(t, casePaths("cases/nosuch")), code: exitBadSecret,
			says: []string{"reading the secret secret/cases/nosuch/saml: there is no such secret", "hint: write it"},
		},
		"the pki role does not sign the names": {
			config: writeFile(t, t.TempDir(), "gateway.yaml", strings.ReplaceAll(gatewayYAML(free(t), free(t), casePaths("cases/good")), doorHost, elsewhere)),
			code:   exitCertificate,
			says:   []string{"getting certificates for browsers", "issuing a certificate for " + elsewhere, "pki-edge/sign/sallyport-edge", "hint: have pki-edge/roles/sallyport-edge allow the name", "apply --allow-loosen"},
		},
		"the policy allows no certificate": {
			role: bareRole, config: good, code: exitCertificate,
			says: []string{"getting certificates for browsers", "permission denied", `hint: grant the role a policy: path "pki-edge/sign/sallyport-edge" { capabilities = ["update"] }`},
		},
		"there is no such pki role": {
			config: s.yamlFile(t, "vault: {saml_path: cases/good/saml, session_path: cases/good/session, edge_pki: {role: nosuch}}\n"), code: exitCertificate,
			says: []string{"pki-edge/sign/nosuch"},
		},
		"the configuration has faults": {
			config: writeFile(t, t.TempDir(), "gateway.yaml", "door: {host: Door}\nlisten: {https: nowhere}\n"), code: exitUsage, usable: true,
			says: []string{"sallyport gateway: the configuration has faults (2)\n", "gateway.yaml:1: door.host: ", "gateway.yaml:2: listen.https: "},
		},
		"the configuration in vault has faults": {
			config: "vault:secret/cases/faulty", code: exitUsage,
			says: []string{"\nvault:secret/cases/faulty:1: door.host: "},
		},
		"the configuration in vault is among the keys": {
			config: "vault:secret/cases/together", code: exitUsage,
			says: []string{"expected a place of its own", "hint: move the field config to a secret such as secret/sallyport/gateway"},
		},
		"the configuration in vault is absent": {
			config: "vault:secret/cases/nosuch", code: exitBadSecret,
			says: []string{"reading the secret secret/cases/nosuch: there is no such secret"},
		},
		"the configuration in vault has another field": {
			config: "vault:secret/cases/empty", code: exitBadSecret,
			says: []string{`field "config" of version 1 is absent`},
		},
		"the port for browsers is taken": {
			config: writeFile(t, t.TempDir(), "gateway.yaml", gatewayYAML(taken.Addr().String(), free(t), "")), code: exitFailure, usable: true,
			says: []string{"listening for requests", taken.Addr().String(), "address already in use", "hint: end the process that has the address"},
		},
		"the port for probes is taken": {
			config: writeFile(t, t.TempDir(), "gateway.yaml", gatewayYAML(free(t), taken.Addr().String(), "")), code: exitFailure, usable: true,
			says: []string{"listening for probes and metrics", taken.Addr().String(), "address already in use"},
		},
		"the access log cannot be opened": {
			config: s.yamlFile(t, "access_log: {file: /nosuch/access.log}\n"), code: exitFailure, usable: true,
			says: []string{"opening access log", "/nosuch/access.log", "hint: choose a file in access_log.file"},
		},
	}
}

// testGatewayStarts holds the log of a good start against what it must tell.
func testGatewayStarts(t *testing.T, s *stand) {
	https, admin := free(t), free(t)
	intro := s.introduceByCommand(t, gatewayRole)
	p := s.startGateway(t, gatewayRole, intro.file, writeFile(t, t.TempDir(), "gateway.yaml", gatewayYAML(https, admin, "")))
	p.ready(t, admin)
	var messages []string
	for _, line := range p.log() {
		messages = append(messages, line.Level+" "+line.Msg)
		if line.fields["service"] != "gateway" {
			t.Errorf("line %q is of service %v", line.Msg, line.fields["service"])
		}
	}
	want := []string{
		"INFO configuration loaded",
		"WARN access log is not signed: it is a chain alone, which whoever can write to it could make anew",
		"INFO wrapping token found",
		"INFO wrapping token checked",
		"INFO secret id unwrapped",
		"INFO logged in",
		"INFO saml secrets read",
		"INFO session keys read",
		"INFO assertion keys read",
		"INFO certificate issued", // the door's
		"INFO certificate issued", // the route's
		"INFO certificate issued", // for backends
		"INFO assertion key certified",
		"INFO serving",
	}
	if diff := cmp.Diff(want, messages); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if left := read(t, intro.file); left != "" {
		t.Errorf("the token file still holds %d bytes, expected none", len(left))
	}
	s.checkAdmin(t, p, https, admin)
	checkNoCore(t, p)
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != exitOK {
		t.Errorf("exit code %d, expected 0", code)
	}
	checkClosed(t, https, admin)
	s.checkNoSecret(t, p, intro.token)
}

// checkNoCore fails if a crash of the process would leave its memory on disk.
func checkNoCore(t *testing.T, p *process) {
	t.Helper()
	limits := read(t, fmt.Sprintf("/proc/%d/limits", p.cmd.Process.Pid))
	if !regexp.MustCompile(`(?m)^Max core file size +0 +0 `).MatchString(limits) {
		t.Errorf("core dumps are not off:\n%s", limits)
	}
}

// testGatewayConfigInVault starts a gateway that has no file but its token's.
func testGatewayConfigInVault(t *testing.T, s *stand) {
	https, admin := free(t), free(t)
	s.writeKV(t, "sallyport/gateway", map[string]string{configField: gatewayYAML(https, admin, "")})
	intro := s.introduce(t, gatewayRole)
	p := s.startGateway(t, gatewayRole, intro.file, "vault:secret/sallyport/gateway")
	p.ready(t, admin)
	messages := p.log()
	if i := slices.IndexFunc(messages, func(l logLine) bool { return l.Msg == "configuration loaded" }); i < 1 || messages[i-1].Msg != "logged in" {
		t.Errorf("the configuration was not loaded after the login:\n%s", p.err.String())
	}
	s.checkNoSecret(t, p, intro.token)
}

// testIntroduce holds the two ways of delivery against each other.
func testIntroduce(t *testing.T, s *stand) {
	p := s.start(t, "introduce", "--role", gatewayRole, "--wrap-ttl", "90s", "--token-file", s.tokenFile)
	if code := p.wait(t); code != exitOK {
		t.Fatalf("exit code %d\n%s", code, p.err.String())
	}
	token, isLine := strings.CutSuffix(p.out.String(), "\n")
	if !isLine || !s.usable(t, token) || p.err.String() != "" {
		t.Errorf("standard output is not just a wrapping token, or standard error is not empty: %q", p.err.String())
	}

	file := filepath.Join(t.TempDir(), "token")
	p = s.start(t, "introduce", "--role", gatewayRole, "--file", file, "--token-file", s.tokenFile)
	if code := p.wait(t); code != exitOK || p.out.String() != "" {
		t.Fatalf("exit code %d\n%s", code, p.err.String())
	}
	token = strings.TrimSpace(read(t, file))
	if !s.usable(t, token) || strings.Contains(p.err.String(), token) {
		t.Errorf("the file does not hold a usable token, or the token was shown: %q", p.err.String())
	}
	if mode := fileMode(t, file); mode != 0o600 {
		t.Errorf("the file has mode %v, expected 0600", mode)
	}

	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"there is no such role":   {[]string{"--role", "nosuch", "--token-file", s.tokenFile}, exitUsage, `hint: there is no AppRole "nosuch" on that mount`},
		"the token is not known":  {[]string{"--role", gatewayRole, "--token-file", writeFile(t, t.TempDir(), "token", "hvs.canary-1\n")}, exitDenied, "hint: log in to Vault again"},
		"the file cannot be":      {[]string{"--role", gatewayRole, "--token-file", s.tokenFile, "--file", t.TempDir()}, exitUsage, "which is no regular file"},
		"its folder is not there": {[]string{"--role", gatewayRole, "--token-file", s.tokenFile, "--file", "/nosuch/token"}, exitUsage, "hint: make its folder first"},
	} {
		p := s.start(t, append([]string{"introduce"}, test.args...)...)
		if code := p.wait(t); code != test.code || !strings.Contains(p.err.String(), test.says) || p.out.String() != "" {
			t.Errorf("%s: exit code %d, expected %d and %q:\n%s", name, code, test.code, test.says, p.err.String())
		}
		if strings.Contains(p.err.String(), "canary") {
			t.Errorf("%s: the output holds the operator's token", name)
		}
	}
}

// testProvision looks at what provision says beside plan and apply, and at how
// it fails.
func testProvision(t *testing.T, s *stand) {
	config := s.yamlFile(t, "")
	p := s.start(t, "provision", "roles", "--config", config, "--token-file", s.tokenFile)
	want := gatewayRole + " " + s.roleIDs[gatewayRole] + "\n" + sidecarRole + " " + s.roleIDs[sidecarRole] + "\n"
	if code := p.wait(t); code != exitOK || p.out.String() != want {
		t.Errorf("provision roles: exit code %d, output %q, expected %q\n%s", code, p.out.String(), want, p.err.String())
	}
	stranger := writeFile(t, t.TempDir(), "token", "hvs.canary-1\n")
	for name, test := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"a token that vault does not know":   {[]string{"plan", "--token-file", stranger}, exitDenied, []string{"sallyport provision plan: reading ", "permission denied", "hint: log in to Vault again", "exit code: 16"}},
		"a vault that is away":               {[]string{"apply", "--token-file", s.tokenFile, "--vault-addr", "https://" + free(t)}, exitUnreachable, []string{"connection refused", "hint: check the address"}},
		"roles that are not there yet":       {[]string{"roles", "--token-file", s.tokenFile, "--gateway-role", "nosuch"}, exitFailure, []string{"there is no such AppRole", "hint: check what is there with `sallyport provision plan`"}},
		"a role name that is a pattern":      {[]string{"plan", "--token-file", s.tokenFile, "--gateway-role", "*"}, exitUsage, []string{`GatewayRole "*": expected a plain path`}},
		"a period that is too short to keep": {[]string{"plan", "--token-file", s.tokenFile, "--token-period", "1s"}, exitUsage, []string{"TokenPeriod 1s"}},
	} {
		p := s.start(t, append([]string{"provision", test.args[0], "--config", config}, test.args[1:]...)...)
		code := p.wait(t)
		if code != test.code || p.out.String() != "" {
			t.Errorf("%s: exit code %d, expected %d, output %q", name, code, test.code, p.out.String())
		}
		for _, part := range test.says {
			if !strings.Contains(p.err.String(), part) {
				t.Errorf("%s: expected %q in:\n%s", name, part, p.err.String())
			}
		}
		s.checkNoSecret(t, p, "hvs.canary-1")
	}
}
