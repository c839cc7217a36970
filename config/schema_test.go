package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schema is the part of JSON Schema that is used here, in the order in which
// it reads best.
type schema struct {
	Version     string             `json:"$schema,omitempty"`
	ID          string             `json:"$id,omitempty"`
	Title       string             `json:"title,omitempty"`
	Description string             `json:"description,omitempty"`
	Type        string             `json:"type"`
	Pattern     string             `json:"pattern,omitempty"`
	Minimum     int                `json:"minimum,omitempty"`
	Maximum     int                `json:"maximum,omitempty"`
	MinLength   int                `json:"minLength,omitempty"`
	MinItems    int                `json:"minItems,omitempty"`
	MaxItems    int                `json:"maxItems,omitempty"`
	Unique      bool               `json:"uniqueItems,omitempty"`
	Default     any                `json:"default,omitempty"`
	Required    []string           `json:"required,omitempty"`
	Closed      *bool              `json:"additionalProperties,omitempty"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	Items       *schema            `json:"items,omitempty"`
}

// hostPattern is of the typed values the only one whose parser has no pattern.
// It accepts a little more: the parser also judges lengths, and IP addresses.
const hostPattern = `^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`

// routeHostPattern is hostPattern, or a wildcard.
const routeHostPattern = `^(\*\.)?` + `[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`

// peerPattern accepts a little more, too: the parser judges lengths and dots.
func peerPattern() string { return hostPattern + "|" + spiffeText.String() }

// constraints are what the types of the fields do not say, by key path.
func constraints() map[string]schema {
	path, role := schema{Pattern: vaultPath.String()}, schema{Pattern: vaultRole.String()}
	return map[string]schema{
		"door":                      {Required: []string{"host"}},
		"door.public_port":          {Minimum: 1, Maximum: maxPort},
		"vault.kv_mount":            path,
		"vault.saml_path":           path,
		"vault.session_path":        path,
		"vault.assertion_path":      path,
		"vault.assertion_role":      role,
		"vault.edge_pki.mount":      path,
		"vault.edge_pki.role":       role,
		"vault.edge_acme.directory": {Pattern: "^(none|https://.+)$"},
		"vault.edge_acme.ca_file":   {Pattern: "^(system|/.+)$"},
		"vault.edge_acme.challenge": {Pattern: "^(tls-alpn-01|http-01)$"},
		"vault.edge_acme.kv_path":   path,
		"vault.edge_acme.eab_path":  path,
		"vault.backend_pki.mount":   path,
		"vault.backend_pki.role":    role,
		"saml.attributes.user":      {MinItems: 1},

		"tracing.endpoint": {Pattern: "^(none|https?://.+)$"},
		"tracing.protocol": oneOf(otlpProtocols[:]),
		"tracing.ca_file":  {Pattern: "^(system|/.+)$"},

		"saml.request_binding":                      oneOf(bindings[:]),
		"saml.authn_context.comparison":             oneOf(comparisons[:]),
		"saml.pinned_idp_keys[]":                    {Pattern: keyHash.String()},
		"saml.preset":                               oneOf(presetNames()),
		"saml.idps[]":                               {Required: []string{"name"}},
		"saml.idps[].name":                          {Pattern: routeName.String()},
		"saml.idps[].user_domains":                  {MinItems: 1},
		"saml.idps[].hint_domains":                  {MinItems: 1},
		"saml.idps[].attributes.user":               {MinItems: 1},
		"saml.idps[].request_binding":               oneOf(bindings[:]),
		"saml.idps[].pinned_idp_keys[]":             {Pattern: keyHash.String()},
		"saml.idps[].preset":                        oneOf(presetNames()),
		"saml.idps[].authn_context.comparison":      oneOf(comparisons[:]),
		"routes[].idps":                             {MinItems: 1},
		"routes[].step_up.authn_context.comparison": oneOf(comparisons[:]),

		"routes[].identity.headers[]":               oneOf(headerSets[:]),
		"routes[].identity.custom.user":             {Pattern: identityHeaderName.String()},
		"routes[].identity.custom.email":            {Pattern: identityHeaderName.String()},
		"routes[].identity.custom.name":             {Pattern: identityHeaderName.String()},
		"routes[].identity.custom.groups":           {Pattern: identityHeaderName.String()},
		"routes[].identity.group_separator":         oneOf(separators[:]),
		"routes[].identity.non_ascii":               oneOf(nonASCII[:]),
		"routes[].identity.release_groups":          oneOf(releases[:]),
		"routes[].identity.credentials.basic.path":  path,
		"routes[].identity.credentials.bearer.path": path,

		"routes[]":      {Required: []string{"name", "host"}},
		"routes[].name": {Pattern: routeName.String()},

		"routes[].path":                        {Pattern: pathText.String()},
		"routes[].rules[].name":                {Pattern: routeName.String()},
		"routes[].rules[].methods[]":           {Pattern: methodName.String()},
		"routes[].rules[].paths[]":             {Pattern: pathText.String()},
		"routes[].redirect":                    {Required: []string{"to"}},
		"routes[].redirect.status":             {Minimum: 301, Maximum: 308},
		"routes[].respond":                     {Required: []string{"title", "message"}},
		"routes[].respond.status":              {Minimum: 200, Maximum: 599},
		"pki.mount":                            path,
		"pki.role":                             role,
		"roles[]":                              {Required: []string{"role"}},
		"roles[].role":                         role,
		"secrets[]":                            {Required: []string{"path"}},
		"secrets[].mount":                      path,
		"secrets[].path":                       path,
		"access_log.durability":                oneOf(durabilities[:]),
		"access_log.on_failure":                oneOf(sinkFailures[:]),
		"access_log.buffer_mib":                between(1, maxBuffer),
		"mode":                                 oneOf(modes[:]),
		"app_protocol":                         oneOf(appProtocols[:]),
		"confine.read[]":                       {Pattern: "^/.+$"},
		"confine.write[]":                      {Pattern: "^/.+$"},
		"confine.connect[]":                    between(1, maxPort),
		"child.restart":                        oneOf(childRestarts[:]),
		"child.limit":                          between(1, maxRestarts),
		"child.stop.signal":                    oneOf(childStops[:]),
		"child.forward[]":                      oneOf(childForwards[:]),
		"child.output":                         oneOf(childOutputs[:]),
		"child.check.http":                     {Pattern: "^(none|http://.+)$"},
		"child.check.failures":                 between(1, maxCheckFailures),
		"health_path":                          {Pattern: "^(none|/.*)$"},
		"headers.profiles[]":                   oneOf(headerSets[:]),
		"headers.group_separator":              oneOf(separators[:]),
		"headers.non_ascii":                    oneOf(nonASCII[:]),
		"assertion.routes[]":                   {Pattern: routeName.String()},
		"tcp.connections":                      between(1, maxTCP),
		"secrets.files[]":                      {Required: []string{"path"}},
		"secrets.files[].path":                 {Pattern: "^/.+/.+$"},
		"secrets.files[].mode":                 {Pattern: secretMode.String()},
		"secrets.files[].on_change.action":     oneOf(secretActions[:]),
		"secrets.files[].on_change.signal":     oneOf(secretSignals[:]),
		"secrets.env[]":                        {Required: []string{"name", "template"}},
		"secrets.env[].name":                   {Pattern: variableName.String()},
		"gateways":                             {MinItems: 1},
		"gateways[]":                           {Pattern: peerPattern()},
		"routes[].backend.protocol":            oneOf(protocols[:]),
		"routes[].backend.max_requests":        {Maximum: maxBackendRequests},
		"routes[].backend.urls":                {MaxItems: maxUpstreams},
		"routes[].backend.health.path":         {Pattern: "^(none|/.*)$"},
		"routes[].backend.health.unhealthy":    {Minimum: 1, Maximum: maxInARow},
		"routes[].backend.health.healthy":      {Minimum: 1, Maximum: maxInARow},
		"limits.connections":                   between(1, maxCount),
		"limits.connections_per_address":       between(1, maxCount),
		"limits.requests":                      between(4, maxCount),
		"limits.memory_mib":                    {Maximum: maxMiB},
		"limits.strangers_per_second":          between(1, maxRate),
		"limits.url_bytes":                     between(minURL, maxURL),
		"limits.header_names":                  between(minNames, maxNames),
		"routes[].limits.requests":             {Maximum: maxCount},
		"routes[].limits.body_mib":             {Maximum: maxMiB},
		"routes[].limits.header_bytes":         {Maximum: maxHeader},
		"routes[].answers.frames":              oneOf(frames[:]),
		"routes[].answers.set_headers[]":       {Required: []string{"name", "value"}},
		"routes[].answers.set_headers[].name":  {Pattern: headerName.String()},
		"routes[].answers.set_headers[].value": {Pattern: headerValue},
		"routes[].answers.remove_headers[]":    {Pattern: headerName.String()},

		"access_log.rotate.size_mib":              {Maximum: maxMiB},
		"access_log.rotate.keep":                  {Maximum: maxRotateKept},
		"access_log.checkpoints.records":          between(minCheckpointRecords, maxCheckpointRecords),
		"access_log.checkpoints.mount":            path,
		"access_log.checkpoints.key":              role,
		"access_log.checkpoints.path":             path,
		"access_log.audit_page.memory_mib":        between(minAuditMemory, maxAuditMemory),
		"access_log.audit_page.index":             {Pattern: "^(none|/.+)$"},
		"access_log.sinks[]":                      {Required: []string{"name"}},
		"access_log.sinks[].name":                 {Pattern: routeName.String()},
		"access_log.sinks[].format":               oneOf(sinkFormats[:]),
		"access_log.sinks[].on_failure":           oneOf(sinkFailures[:]),
		"access_log.sinks[].file.path":            {Pattern: "^(-|/.+)$"},
		"access_log.sinks[].file.rotate.size_mib": {Maximum: maxMiB},
		"access_log.sinks[].file.rotate.keep":     {Maximum: maxRotateKept},
		"access_log.sinks[].syslog.ca_file":       {Pattern: "^(system|/.+)$"},
		"access_log.sinks[].syslog.facility":      oneOf(facilities[:]),
		"access_log.sinks[].syslog.app_name":      {Pattern: appName.String()},
		"access_log.sinks[].otlp":                 {Required: []string{"endpoint"}},
		"access_log.sinks[].otlp.endpoint":        {Pattern: "^https?://.+$"},
		"access_log.sinks[].otlp.protocol":        oneOf(otlpProtocols[:]),
		"access_log.sinks[].otlp.ca_file":         {Pattern: "^(system|/.+)$"},
		"access_log.sinks[].spool.directory":      {Pattern: "^/.+$"},
		"access_log.sinks[].spool.size_mib":       between(minSpool, maxMiB),
		"access_log.sinks[].only.actions[]":       {Pattern: recordCode.String()},
		"access_log.sinks[].only.decisions[]":     oneOf(sinkDecisions[:]),
		"access_log.sinks[].only.outcomes[]":      oneOf(sinkOutcomes[:]),
		"access_log.sinks[].only.reasons[]":       {Pattern: recordCode.String()},

		"kv.mount":                     path,
		"kv.saml_path":                 path,
		"kv.session_path":              path,
		"kv.assertion_path":            path,
		"kv.config_path":               path,
		"kv.acme_path":                 path,
		"kv.credential_paths[]":        path,
		"edge_pki.mount":               path,
		"edge_pki.root_mount":          path,
		"backend_pki.mount":            path,
		"backend_pki.root_mount":       path,
		"approle.mount":                path,
		"approle.introducer_policy":    role,
		"transit.log_path":             path,
		"transit.verifier_policy":      role,
		"gateway.role":                 role,
		"gateway.hosts[]":              {Pattern: routeHostPattern},
		"gateway.edge_pki_role":        role,
		"gateway.backend_pki_role":     role,
		"gateway.assertion_pki_role":   role,
		"gateway.spiffe_ids[]":         {Pattern: spiffeText.String()},
		"sidecars[]":                   {Required: []string{"name"}},
		"sidecars[].role":              role,
		"sidecars[].pki_role":          role,
		"sidecars[].config_path":       path,
		"sidecars[].spiffe_ids[]":      {Pattern: spiffeText.String()},
		"secret_driver.policy":         role,
		"secret_driver.kv_paths[]":     path,
		"audit[]":                      {Required: []string{"path", "type"}},
		"audit[].path":                 path,
		"audit[].type":                 oneOf(auditTypes[:]),
		"transit.mount":                path,
		"transit.key":                  role,
		"transit.type":                 oneOf(transitTypes[:]),
		"edge_pki.root.key":            oneOf(authorityKeys[:]),
		"edge_pki.intermediate.key":    oneOf(authorityKeys[:]),
		"backend_pki.root.key":         oneOf(authorityKeys[:]),
		"backend_pki.intermediate.key": oneOf(authorityKeys[:]),
	}
}

// followed are the keys whose default follows from other keys or files.
var followed = regexp.MustCompile(`^(certificate_ttl|saml\.idps\[\]\..*|approle\.access\.secret_id_ttl|(gateway|sidecars\[\]|secret_driver)\.access\..*)$`)

// between constrains a number.
func between(least, most int) schema { return schema{Minimum: least, Maximum: most} }

// oneOf constrains text to a few words.
func oneOf(words []string) schema {
	return schema{Pattern: "^(" + strings.Join(words, "|") + ")$"}
}

// kind is one of the kinds of configuration.
type kind struct {
	name       string
	required   []string
	defaults   func() any
	complete   any // a configuration in which the reference can be read
	reference  string
	file       string // the reference's
	committed  []byte
	schemaFile string
	load       func(source string, text []byte) (any, error)
}

func kinds() []kind {
	return []kind{{
		name:       "gateway",
		required:   []string{"door"},
		defaults:   func() any { return defaultGateway() },
		complete:   new(Gateway),
		reference:  GatewayReference(),
		file:       "reference.yaml",
		committed:  GatewaySchema(),
		schemaFile: "gateway.schema.json",
		load:       func(source string, text []byte) (any, error) { return LoadGateway(source, text) },
	}, {
		name:       "sidecar",
		required:   []string{"name", "app"},
		defaults:   func() any { return defaultSidecar() },
		complete:   new(Sidecar),
		reference:  SidecarReference(),
		file:       "sidecar-reference.yaml",
		committed:  SidecarSchema(),
		schemaFile: "sidecar.schema.json",
		load:       func(source string, text []byte) (any, error) { return LoadSidecar(source, text) },
	}, {
		name:       "secret-driver",
		defaults:   func() any { return defaultSecretDriver() },
		complete:   new(SecretDriver),
		reference:  SecretDriverReference(),
		file:       "secret-driver-reference.yaml",
		committed:  SecretDriverSchema(),
		schemaFile: "secret-driver.schema.json",
		load:       func(source string, text []byte) (any, error) { return LoadSecretDriver(source, text) },
	}, {
		name:       "provision",
		defaults:   func() any { return defaultProvision() },
		complete:   new(Provision),
		reference:  ProvisionReference(),
		file:       "provision-reference.yaml",
		committed:  ProvisionSchema(),
		schemaFile: "provision.schema.json",
		load:       func(source string, text []byte) (any, error) { return LoadProvision(source, text) },
	}}
}

// generate makes the schema of a kind from its structs, defaults and reference.
func (k kind) generate(t *testing.T) *schema {
	t.Helper()
	b := schemaBuilder{descriptions: k.descriptions(t), constraints: constraints()}
	root := b.build(reflect.ValueOf(k.defaults()), "")
	root.Version = "https://json-schema.org/draft/2020-12/schema"
	root.ID = "https://github.com/sallyport/sallyport/config/" + k.schemaFile
	root.Title = "Configuration of sallyport " + k.name
	root.Required = k.required
	return root
}

// descriptions returns the comment above each key of the reference, by key
// path, where every list entry is written "[]": "routes[].backend.url".
func (k kind) descriptions(t *testing.T) map[string]string {
	t.Helper()
	faults := newCollector()
	decode([]byte(k.reference), reflect.ValueOf(k.complete).Elem(), faults)
	if err := faults.err("reference"); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(k.reference, "\n")
	found := map[string]string{}
	index := regexp.MustCompile(`\[[0-9]+\]`)
	for path, at := range faults.places {
		// Of keys that stand in several entries the first explains.
		if key := index.ReplaceAllString(path, "[]"); found[key] == "" || key == strings.ReplaceAll(path, "[0]", "[]") {
			found[key] = commentAbove(lines, at.line-1)
		}
	}
	return found
}

// commentAbove joins the comment lines that end just above lines[end]. The
// first comment of a list entry stands behind its dash.
func commentAbove(lines []string, end int) string {
	uncomment := func(line string) string { return strings.TrimPrefix(strings.TrimSpace(line), "- ") }
	var words []string
	for begin := end - 1; begin >= 0 && strings.HasPrefix(uncomment(lines[begin]), "#"); begin-- {
		words = append(strings.Fields(strings.TrimPrefix(uncomment(lines[begin]), "#")), words...)
	}
	return strings.Join(words, " ")
}

// schemaBuilder turns structs into schemas.
type schemaBuilder struct {
	descriptions map[string]string
	constraints  map[string]schema
}

// build returns the schema of a value that holds its default.
func (b schemaBuilder) build(value reflect.Value, path string) *schema {
	s := &schema{Type: "string"}
	switch {
	case value.Type() == reflect.TypeFor[Host]():
		s.Pattern = hostPattern
	case value.Type() == reflect.TypeFor[RouteHost]():
		s.Pattern = routeHostPattern
	case value.Type() == reflect.TypeFor[Peer]():
		s.Pattern = peerPattern()
	case value.Type() == reflect.TypeFor[Window]():
		s.Pattern = windowText.String()
	case value.Type() == reflect.TypeFor[Duration]():
		s.Pattern = durationText.String()
	case value.Type() == reflect.TypeFor[Percent]():
		s.Pattern = percentText.String()
	case value.Type() == reflect.TypeFor[Origin]():
		s.Pattern = originText.String()
	case value.Type() == reflect.TypeFor[App]():
		s.Pattern = appText.String()
	case value.Kind() == reflect.Struct:
		s = b.object(value, path)
	case value.Kind() == reflect.Slice:
		s = b.array(value, path)
	case value.Kind() == reflect.Bool:
		s.Type, s.Default = "boolean", value.Bool()
	case value.Kind() == reflect.Int:
		s.Type, s.Default = "integer", value.Int()
	}
	if text := fmt.Sprint(value.Interface()); s.Type == "string" && text != "" {
		s.Default = text
	}
	if followed.MatchString(path) {
		s.Default = nil
	}
	s.Description = b.descriptions[path]
	b.constrain(s, path)
	if s.Type == "string" && s.Pattern == "" {
		s.MinLength = 1
	}
	return s
}

func (b schemaBuilder) constrain(s *schema, path string) {
	if extra, ok := b.constraints[path]; ok {
		s.Pattern = s.Pattern + extra.Pattern
		s.Minimum, s.Maximum, s.MinItems, s.MaxItems = extra.Minimum, extra.Maximum, extra.MinItems, extra.MaxItems
		s.Required = extra.Required
	}
}

func (b schemaBuilder) object(value reflect.Value, path string) *schema {
	s := &schema{Type: "object", Closed: new(bool), Properties: map[string]*schema{}}
	for i := range value.NumField() {
		key := tagOf(value.Type().Field(i))
		s.Properties[key] = b.build(value.Field(i), join(path, key))
	}
	return s
}

func (b schemaBuilder) array(value reflect.Value, path string) *schema {
	item := reflect.New(value.Type().Elem())
	if item, ok := item.Interface().(defaulter); ok {
		item.setDefaults()
	}
	s := &schema{Type: "array", Unique: true, Items: b.build(item.Elem(), path+"[]")}
	s.Items.Description = ""
	if value.Len() > 0 {
		s.Default = value.Interface()
	}
	return s
}

// walk calls visit for s and everything inside it.
func (s *schema) walk(path string, visit func(path string, s *schema)) {
	visit(path, s)
	for key, inner := range s.Properties {
		inner.walk(join(path, key), visit)
	}
	if s.Items != nil {
		s.Items.walk(path+"[]", visit)
	}
}

func TestSchemasAreGeneratedFromTheStructs(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			text, err := json.MarshalIndent(k.generate(t), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			compareFile(t, k.schemaFile, string(text)+"\n")
		})
	}
}

// TestEveryKeyIsInTheReference holds the references against the structs: a key
// without a comment of its own is as good as missing. The other direction, no
// key that is not in the structs, is what loading them strictly shows.
func TestEveryKeyIsInTheReference(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			k.generate(t).walk("", func(path string, s *schema) {
				if path != "" && !strings.HasSuffix(path, "[]") && s.Description == "" {
					t.Errorf("%s: not in the reference, or without a comment above it", path)
				}
			})
		})
	}
}

func TestEveryConstraintIsOfAKeyThatExists(t *testing.T) {
	known := map[string]bool{}
	for _, k := range kinds() {
		k.generate(t).walk("", func(path string, _ *schema) { known[path] = true })
	}
	for path := range constraints() {
		if !known[path] {
			t.Errorf("constraint of %q: no such key", path)
		}
	}
}

// TestStructsAreMadeOfWhatTheDecoderKnows guards the decoder's promise: a field
// of another kind would be ignored without a word.
func TestStructsAreMadeOfWhatTheDecoderKnows(t *testing.T) {
	known := []reflect.Kind{reflect.Bool, reflect.Int, reflect.String, reflect.Struct, reflect.Slice}
	texts := []reflect.Type{reflect.TypeFor[Duration](), reflect.TypeFor[Origin](), reflect.TypeFor[Window](), reflect.TypeFor[App]()}
	var visit func(of reflect.Type, path string)
	visit = func(of reflect.Type, path string) {
		switch {
		case !slices.Contains(known, of.Kind()):
			t.Errorf("%s: the decoder does not know %s", path, of)
		case of.Kind() == reflect.Slice:
			visit(of.Elem(), path+"[]")
		case of.Kind() == reflect.Struct && !slices.Contains(texts, of):
			for i := range of.NumField() {
				field := of.Field(i)
				if tagOf(field) == "" || !field.IsExported() {
					t.Errorf("%s.%s: not exported, or without a yaml tag", path, field.Name)
				}
				visit(field.Type, join(path, tagOf(field)))
			}
		}
	}
	for _, k := range kinds() {
		visit(reflect.TypeOf(k.complete).Elem(), "")
	}
}

// compile returns the committed schema of k, ready to validate.
func (k kind) compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(k.committed))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(k.schemaFile, document); err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.Compile(k.schemaFile)
	if err != nil {
		t.Fatalf("compiling %s: %v", k.schemaFile, err)
	}
	return compiled
}

// untyped returns the file as a value of JSON.
func untyped(t *testing.T, file string) any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return value
}

func TestSchemaAcceptsEveryGoodFile(t *testing.T) {
	for _, k := range kinds() {
		compiled := k.compile(t)
		files, err := filepath.Glob(filepath.Join("testdata", k.name, "*.good.yaml"))
		if err != nil || len(files) < 2 {
			t.Fatalf("good files of the %s: %d, want at least 2 (%v)", k.name, len(files), err)
		}
		for _, file := range append(files, k.file) {
			t.Run(k.name+"/"+filepath.Base(file), func(t *testing.T) {
				if err := compiled.Validate(untyped(t, file)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestSchemaRefusesWhatAnEditorShouldMark takes the bad files whose fault lies
// in the form of a single value.
func TestSchemaRefusesWhatAnEditorShouldMark(t *testing.T) {
	names := []string{
		"gateway/unknown-keys", "gateway/wrong-types", "gateway/hosts", "gateway/durations", "gateway/origins",
		"gateway/missing-keys", "gateway/routing", "gateway/vault-paths", "gateway/route-names", "gateway/idps", "gateway/sinks", "gateway/telemetry", "sidecar/unknown-keys", "sidecar/gateways",
		"secret-driver/unknown-keys", "secret-driver/vault-paths",
		"provision/unknown-keys", "provision/wrong-types", "provision/paths", "provision/authorities", "provision/names", "provision/audit",
	}
	for _, k := range kinds() {
		compiled := k.compile(t)
		for _, name := range names {
			if strings.HasPrefix(name, k.name+"/") {
				t.Run(name, func(t *testing.T) {
					if compiled.Validate(untyped(t, filepath.Join("testdata", name+".bad.yaml"))) == nil {
						t.Error("the schema accepts it")
					}
				})
			}
		}
	}
}
