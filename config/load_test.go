package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestBadFilesAreRefused compares the whole list of faults of each
// testdata/KIND/FAULT.bad.yaml with the golden file beside it.
func TestBadFilesAreRefused(t *testing.T) {
	for _, k := range kinds() {
		files, err := filepath.Glob(filepath.Join("testdata", k.name, "*.bad.yaml"))
		if err != nil || len(files) < 5 {
			t.Fatalf("bad files of the %s: %d, want at least 5 (%v)", k.name, len(files), err)
		}
		for _, file := range files {
			t.Run(k.name+"/"+filepath.Base(file), func(t *testing.T) {
				loaded, err := k.load(filepath.Base(file), read(t, file))
				var faults *Faults
				if !errors.As(err, &faults) || len(faults.List) == 0 {
					t.Fatalf("loaded %+v with error %v, want faults", loaded, err)
				}
				compareFile(t, strings.TrimSuffix(file, ".yaml")+".golden", err.Error()+"\n")
			})
		}
	}
}

// TestGoodFilesAreLoaded compares what each testdata/KIND/*.good.yaml means,
// defaults included, and what it is warned of, with the golden file beside it.
func TestGoodFilesAreLoaded(t *testing.T) {
	for _, k := range kinds() {
		files, err := filepath.Glob(filepath.Join("testdata", k.name, "*.good.yaml"))
		if err != nil || len(files) < 2 {
			t.Fatalf("good files of the %s: %d, want at least 2 (%v)", k.name, len(files), err)
		}
		for _, file := range files {
			t.Run(k.name+"/"+filepath.Base(file), func(t *testing.T) {
				loaded, err := k.load(filepath.Base(file), read(t, file))
				if err != nil {
					t.Fatal(err)
				}
				compareFile(t, strings.TrimSuffix(file, ".yaml")+".golden", meaning(t, loaded))
			})
		}
	}
}

// meaning renders a configuration and its warnings.
func meaning(t *testing.T, loaded any) string {
	t.Helper()
	text, err := json.MarshalIndent(loaded, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for _, warning := range loaded.(interface{ Warnings() []string }).Warnings() {
		text = append(text, "\nwarning: "+warning...)
	}
	return string(text) + "\n"
}

// TestDefaultsOfAGateway writes the defaults out a second time, so that nobody
// changes one without noticing.
func TestDefaultsOfAGateway(t *testing.T) {
	got, err := LoadGateway("gateway.yaml", []byte(`
door: {host: door.example.com}
routes: [{name: grafana, host: grafana.example.com, backend: {url: https://grafana}}]
`))
	if err != nil {
		t.Fatal(err)
	}
	day := Duration{24 * time.Hour}
	want := &Gateway{
		Door:   Door{Host: "door.example.com", PublicPort: 443},
		Listen: Listen{HTTPS: ":8443", Admin: "127.0.0.1:9090", ACMEHTTP: ":8080", ForwardAuth: "none"},
		Vault: Vault{
			KVMount:     "secret",
			SAMLPath:    "sallyport/saml",
			SessionPath: "sallyport/session",

			AssertionPath: "sallyport/assertion",
			AssertionRole: "sallyport-assertion",
			AssertionName: "assertion.sallyport.internal",

			AuditPath: "sallyport/audit", AuditDevice: "none",

			Refresh: Duration{time.Minute},
			EdgeACME: ACME{
				Directory: "none", Email: "none", CAFile: "system", Challenge: "tls-alpn-01", KVPath: "sallyport/acme", EABPath: "none",
			},
			EdgePKI:    PKI{Mount: "pki-edge", Role: "sallyport-edge", TTL: day},
			BackendPKI: PKI{Mount: "pki-backend", Role: "sallyport-gateway", TTL: day},
			ClientName: "gateway.sallyport.internal",
		},
		SAML: SAML{
			EntityID:        "https://door.example.com/saml/metadata",
			ClockSkew:       Duration{3 * time.Minute},
			MetadataRefresh: Duration{time.Hour},
			RequestBinding:  "auto",
			AuthnContext:    AuthnContext{Comparison: "exact"},
			Attributes:      defaultAttributes(),
		},
		Session: Session{Idle: Duration{time.Hour}, Absolute: Duration{10 * time.Hour}},
		AccessLog: AccessLog{
			File: "-", Durability: "batch", OnFailure: "deny", BufferMiB: 8, Rotate: Rotate{Compress: true},
			Checkpoints: Checkpoints{Every: Duration{time.Minute}, Records: 10_000, Mount: "transit", Path: "sallyport/log"},
			AuditPage:   AuditPage{MaxAge: Duration{time.Hour}, MemoryMiB: 64, Index: "none"},
		},
		Tracing: Tracing{Endpoint: "none", Protocol: "grpc", CAFile: "system", Sample: "1%"},
		Stop:    Stop{Announce: Duration{time.Second}, Drain: Duration{30 * time.Second}},
		Limits: Limits{
			Connections: 20000, ConnectionsPerAddress: 2000, Requests: 20000, StrangersPerSecond: 100,
			URLBytes: 16384, HeaderNames: 100, Stall: Duration{30 * time.Second},
		},
		Routes: []Route{{
			Name:  "grafana",
			Title: "grafana",
			Host:  "grafana.example.com",
			Path:  "/", HostHeader: "public", Redirect: Redirect{Status: 302}, Respond: Respond{Status: 503},
			Backend: Backend{
				URL: Origin{Scheme: "https", Host: "grafana", Port: 443}, Name: "grafana.backend.sallyport.internal", Protocol: "http1",
				Timeouts: BackendTimeouts{Connect: Duration{10 * time.Second}, ResponseHeader: Duration{5 * time.Minute}},
				Health:   Health{Path: "none", Interval: Duration{10 * time.Second}, Timeout: Duration{2 * time.Second}, Unhealthy: 3, Healthy: 2},
			},
			WebSocket: true, Assertion: true, Answers: Answers{Frames: "same_origin"},
			Identity: Identity{
				Headers: []string{"x-forwarded"}, Custom: CustomHeaders{User: "none", Email: "none", Name: "none", Groups: "none"},
				GroupSeparator: "auto", NonASCII: "percent_encode", ReleaseGroups: "policy",
				Credentials: Credentials{
					Basic:  BasicCredential{Path: "none", UsernameField: "username", PasswordField: "password"},
					Bearer: BearerCredential{Path: "none", Field: "token"},
				},
			},
			StepUp: StepUp{AuthnContext: AuthnContext{Comparison: "exact"}},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

func TestDefaultsOfASidecar(t *testing.T) {
	got, err := LoadSidecar("sidecar.yaml", []byte("name: grafana.backend.sallyport.internal\napp: http://localhost:3000\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := &Sidecar{
		Name:        "grafana.backend.sallyport.internal",
		Listen:      ":8443",
		App:         Origin{Scheme: "http", Host: "localhost", Port: 3000},
		AppProtocol: "http1",
		Gateways:    []string{"gateway.sallyport.internal"},
		PKI:         PKI{Mount: "pki-backend", Role: "sidecar-grafana", TTL: Duration{24 * time.Hour}},
		Refresh:     Duration{time.Minute},
		Admin:       "127.0.0.1:9091",
		Tracing:     Collector{Endpoint: "none", Protocol: "grpc", CAFile: "system"},
		RecordUsers: true,
		Stop:        Stop{Announce: Duration{time.Second}, Drain: Duration{30 * time.Second}},
		Child: Child{
			Restart: "never", Backoff: ChildBackoff{Duration{time.Second}, Duration{time.Minute}}, Limit: 5,
			Stop: ChildStop{"TERM", Duration{10 * time.Second}}, Forward: []string{"USR1", "USR2", "WINCH"}, Output: "pass",
			Check: ChildCheck{HTTP: "none", TCP: "none", Every: Duration{10 * time.Second}, Timeout: Duration{2 * time.Second}, Failures: 3, Start: Duration{time.Minute}},
		},
		Secrets: Secrets{Stdin: "none", Grace: Duration{30 * time.Second}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

func TestDefaultsOfWhatVaultMustHold(t *testing.T) {
	got, err := LoadProvision("vault.yaml", []byte("sidecars: [{name: grafana.backend.sallyport.internal}]\naudit: [{path: out, type: stdout}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	access := Access{TokenTTL: Duration{24 * time.Hour}, SecretIDTTL: Duration{25 * time.Hour}}
	root, intermediate := Duration{87600 * time.Hour}, Duration{26280 * time.Hour}
	want := &Provision{
		KV:       ProvisionKV{ConfigPath: "sallyport/gateway"},
		Generate: Generate{SPKey: true, SessionKey: true, AssertionKey: true},
		EdgePKI: Authority{
			RootMount:    "pki-edge-root",
			Root:         Certificate{Name: "Sallyport edge root", Life: root, Key: "ec-p256"},
			Intermediate: Certificate{Name: "Sallyport edge intermediate", Life: intermediate, Key: "ec-p256"},
		},
		BackendPKI: Authority{
			RootMount:    "pki-backend-root",
			Root:         Certificate{Name: "Sallyport backend root", Life: root, Key: "ec-p256"},
			Intermediate: Certificate{Name: "Sallyport backend intermediate", Life: intermediate, Key: "ec-p256"},
		},
		AppRole:      AppRole{IntroducerPolicy: "sallyport-introducer", Access: access},
		Heirs:        Heirs{Enabled: true, TTL: Duration{24 * time.Hour}},
		Gateway:      ProvisionGateway{Access: access},
		Sidecars:     []ProvisionSidecar{{Name: "grafana.backend.sallyport.internal", Access: access}},
		SecretDriver: ProvisionDriver{Policy: "sallyport-secret-driver", Access: access},
		Audit:        []AuditDevice{{Path: "out", Type: "stdout", Facility: "AUTH", Tag: "vault"}},
		Transit:      Transit{Mount: "transit", Type: "ed25519", LogPath: "sallyport/log", VerifierPolicy: "sallyport-verifier"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

func TestDefaultsOfASecretDriver(t *testing.T) {
	got, err := LoadSecretDriver("driver.yaml", []byte("roles: [{role: a, stacks: [b]}]\nsecrets: [{path: c, wrapped: true, services: [d]}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := &SecretDriver{
		Socket:  "/run/docker/plugins/sallyport.sock",
		Admin:   "127.0.0.1:9092",
		Stop:    DriverStop{Drain: Duration{30 * time.Second}},
		Roles:   []DrivenRole{{Role: "a", Stacks: []string{"b"}, WrapTTL: Duration{5 * time.Minute}}},
		Secrets: []DrivenSecret{{Mount: "secret", Path: "c", Wrapped: true, Services: []string{"d"}, WrapTTL: Duration{5 * time.Minute}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

// TestReferencesHoldTheDefaults compares each reference with a file that says
// only what has no default.
func TestReferencesHoldTheDefaults(t *testing.T) {
	bare := map[string]string{
		"gateway": `
door: {host: door.example.com}
saml:
  own_metadata:
    display_name: Tools of Example
    description: Internal tools of Example Ltd
    information_url: https://www.example.com/tools
    privacy_statement_url: https://www.example.com/privacy
    logo_url: https://www.example.com/logo.png
    logo_width: 200
    logo_height: 80
    organization: Example Ltd
    organization_url: https://www.example.com
    technical_contact: sso@example.com
    support_contact: help@example.com
    security_contact: security@example.com
  name_id_format: urn:oasis:names:tc:SAML:2.0:nameid-format:persistent
  authn_context: {classes: ["urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport", "https://refeds.org/profile/mfa"]}
  pinned_idp_keys: [8d3c1c4a5f0e2b796a8c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c]
  metadata_url: https://idp.example.com/metadata
  metadata_ca_file: /etc/sallyport/idp-ca.pem
  preset: keycloak
  attributes:
    user: [mail, email, "urn:oid:0.9.2342.19200300.100.1.3", "urn:oid:1.3.6.1.4.1.5923.1.1.1.6", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress", name_id]
    email: [mail, email, "urn:oid:0.9.2342.19200300.100.1.3", "urn:oid:1.3.6.1.4.1.5923.1.1.1.6", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/emailaddress"]
    name: [displayName, "urn:oid:2.16.840.1.113730.3.1.241", cn, "urn:oid:2.5.4.3", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"]
    groups: [groups, memberOf, "urn:oid:1.3.6.1.4.1.5923.1.1.1.1", "urn:oid:1.3.6.1.4.1.5923.1.5.1.1", "http://schemas.microsoft.com/ws/2008/06/identity/claims/groups", "http://schemas.xmlsoap.org/claims/Group"]
  idps:
    - name: idp
      title: Staff
      idp_entity_id: https://idp.example.com/metadata
      user_domains: [example.com]
      hint_domains: [example.com]
      unsafe_unsolicited_landing: https://door.example.com/
      max_age: 12h
      request_binding: auto
      name_id_format: urn:oasis:names:tc:SAML:2.0:nameid-format:persistent
      authn_context: {classes: ["https://refeds.org/profile/mfa"], comparison: exact}
      pinned_idp_keys: [8d3c1c4a5f0e2b796a8c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c]
      metadata_url: https://idp.example.com/metadata
      metadata_refresh: 1h
      metadata_ca_file: /etc/sallyport/idp-ca.pem
      preset: keycloak
      attributes: {user: [username], email: [email], name: [name], groups: [groups]}
access_log:
  checkpoints: {key: sallyport-access-log}
  sinks:
    - name: siem
      syslog: {address: "siem.example.com:6514", server_name: siem.example.com}
      spool: {directory: /var/lib/sallyport/spool/siem}
    - {name: denials, file: {path: /var/log/sallyport/denials.log}, only: {decisions: [deny]}}
    - {name: telemetry, otlp: {endpoint: "https://collector.example.com:4317"}, spool: {directory: /var/lib/sallyport/spool/telemetry}}
routes:
  - name: grafana
    title: Grafana
    description: Dashboards of the production systems
    host: grafana.example.com
    path: /grafana
    rules:
      - name: writes
        methods: [POST, PUT, DELETE]
        paths: [/grafana/api]
        exact: [/grafana/logout]
        allow: {groups: [engineers], users: [auditor@example.com]}
        deny: {groups: [interns], users: [mallory@example.com]}
    backend: {url: https://grafana:8443}
    allow: {groups: [engineers, support], users: [auditor@example.com]}
    idps: [idp]
    step_up: {authn_context: {classes: ["https://refeds.org/profile/mfa"]}}
    answers:
      frame_origins: [https://wiki.example.com]
      set_headers: [{name: Permissions-Policy, value: "camera=(), microphone=()"}]
      remove_headers: [X-Powered-By]
      rewrite_location: [http://grafana.internal:3000]
  - name: old-grafana
    host: dashboards.example.com
    redirect: {to: https://grafana.example.com/grafana, keep_path: true}
    allow: {any_signed_in: true}
  - name: wiki
    host: wiki.example.com
    respond: {title: The wiki is being moved, message: It is back on Monday.}
    allow: {any_signed_in: true}
`,
		"sidecar": `
name: grafana.backend.sallyport.internal
app: http://127.0.0.1:3000
secrets:
  files:
    - path: /run/secrets/db.ini
      template: "{{ with secret \"database/creds/notes\" }}user={{ .Data.username }}\npassword={{ .Data.password }}\n{{ end }}\n"
      on_change: {url: http://127.0.0.1:3000/reload}
    - {path: /run/secrets/mail.json, template_file: /etc/notes/mail.json.tmpl, on_change: {action: signal}}
  env: [{name: API_TOKEN, template: '{{ with secret "secret/notes" }}{{ .Data.data.token }}{{ end }}'}]
`,
		"provision": `
kv: {mount: secret, saml_path: sallyport/saml, session_path: sallyport/session, assertion_path: sallyport/assertion, acme_path: sallyport/acme}
edge_pki: {mount: pki-edge}
backend_pki: {mount: pki-backend}
certificate_ttl: 24h
approle: {mount: approle}
gateway:
  role: sallyport-gateway
  hosts: [door.example.com, grafana.example.com, dashboards.example.com, wiki.example.com]
  assertion_pki_role: sallyport-assertion
  assertion_name: assertion.sallyport.internal
  entity_id: https://door.example.com/saml/metadata
  edge_pki_role: sallyport-edge
  backend_pki_role: sallyport-gateway
  client_name: gateway.sallyport.internal
sidecars:
  - name: grafana.backend.sallyport.internal
    role: sallyport-sidecar-grafana
    pki_role: sidecar-grafana
    config_path: sallyport/sidecar/grafana
audit: [{path: file, type: file, file: /var/log/vault/audit.log}]
transit: {key: sallyport-access-log}
`,
		"secret-driver": `
roles:
  - role: sallyport-gateway
    services: [sallyport_gateway]
    stacks: [sallyport]
    labels: [com.example.tier=edge]
    networks: [10.0.3.0/24]
secrets:
  - path: grafana/admin
    fields: [password]
    services: [sallyport_grafana]
    stacks: [sallyport]
    labels: [com.example.tier=tools]
`,
	}
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			want, err := k.load("bare", []byte(bare[k.name]))
			if err != nil {
				t.Fatal(err)
			}
			got, err := k.load("reference", []byte(k.reference))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("reference (-defaults +reference):\n%s", diff)
			}
		})
	}
}

// TestFilesOutOfBoundsAreRefused builds the files that are too large to keep.
// None may take long: the limits come before the parser.
func TestFilesOutOfBoundsAreRefused(t *testing.T) {
	deep := strings.Repeat("[", maxFlowDepth+1)
	cases := map[string]struct {
		text string
		want string
	}{
		"too large":             {strings.Repeat("# comment\n", maxBytes/10+1), `f:1: found 1048580 bytes, expected at most 1048576`},
		"a long line":           {"door:\n  host: " + strings.Repeat("a", maxLineBytes), `f:2: found a line of 4104 bytes, expected at most 4096`},
		"many entries":          {strings.Repeat("- a\n", maxTokens/2+1), `f:1: found 65538 keys, values and signs, expected at most 65536`},
		"many keys":             {strings.Repeat("a: b\n", maxKeys+1), `f:257: found a mapping with 257 keys, expected at most 256`},
		"many keys further in":  {"a:\n  b:\n" + strings.Repeat("    c: {d: e}\n", maxKeys+1), `f:259: found a mapping with 257 keys, expected at most 256`},
		"deep on one line":      {"door:\n  " + deep, `f:2: found brackets in brackets, expected at most 16 levels`},
		"deep on many lines":    {strings.Repeat("{a:\n", maxFlowDepth+1), `f:17: found brackets in brackets, expected at most 16 levels`},
		"not UTF-8":             {"door:\n  host: d\xffoor\n", `f:2: found bytes that are not text, expected UTF-8 without NUL`},
		"NUL":                   {"door:\x00\n", `f:1: found bytes that are not text, expected UTF-8 without NUL`},
		"no bytes":              {"", `f:1: found nothing, expected a configuration`},
		"an empty document":     {"---\n---\n", `f:1: found nothing, expected a configuration`},
		"text behind the end":   {"door: {host: d}\n...\nx\n", `f:3: found a syntax error (unexpected end content), expected YAML`},
		"a key over many lines": {"? [door]\n: x\n", ``},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := LoadGateway("f", []byte(c.text))
			if err == nil {
				t.Fatal("it was loaded")
			}
			if c.want != "" && err.Error() != c.want {
				t.Errorf("error:\n%v\nwant:\n%s", err, c.want)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("refusing took %v", took)
			}
		})
	}
}

func TestNotMoreThanAHundredFaultsAreListed(t *testing.T) {
	var text strings.Builder
	for i := range 250 {
		fmt.Fprintf(&text, "key%d: 1\n", i)
	}
	_, err := LoadGateway("f", []byte(text.String()))
	var faults *Faults
	if !errors.As(err, &faults) {
		t.Fatalf("error %v, want faults", err)
	}
	// The missing door.host is the 251st.
	want := Fault{Line: 100, Value: "151 more faults", Expected: "none"}
	if got := faults.List[len(faults.List)-1]; len(faults.List) != 101 || got != want {
		t.Errorf("%d faults, the last %+v, want 101, the last %+v", len(faults.List), got, want)
	}
}

func TestLargeConfigurationsAreLoaded(t *testing.T) {
	text := "door: {host: door.example.com}\nroutes:\n"
	for i := range 1000 {
		text += fmt.Sprintf("- name: r%d\n  host: r%[1]d.example.com\n  backend: {url: https://r%[1]d}\n  allow: {groups: [engineers, g%[1]d]}\n", i)
	}
	gateway, err := LoadGateway("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if hosts := gateway.Hosts(); len(hosts) != 1001 || hosts[0] != "door.example.com" || hosts[1000] != "r999.example.com" {
		t.Errorf("%d hosts, from %s to %s", len(hosts), hosts[0], hosts[len(hosts)-1])
	}
}
