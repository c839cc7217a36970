package secrets

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/consul-template/template"
)

// pure are the functions of consul-template's language that compute with what they are
// given, and nothing else. Whatever is not in here, in own, a function of Sprig or one of
// text/template is refused: a function that a new version brings is not permitted unseen.
var pure = []string{
	"add", "base64Decode", "base64Encode", "base64URLDecode", "base64URLEncode", "contains", "containsAll", "containsAny",
	"containsNone", "containsNotAll", "divide", "executeTemplate", "explodeMap", "hmacSHA256Hex", "in", "indent", "join",
	"loop", "maximum", "md5sum", "mergeMap", "mergeMapWithOverride", "minimum", "modulo", "multiply", "parseBool",
	"parseFloat", "parseInt", "parseJSON", "parseUint", "parseYAML", "regexMatch", "regexReplaceAll", "replaceAll",
	"scratch", "sha256Hex", "spew_sdump", "spew_sprintf", "split", "splitToMap", "subtract", "timestamp", "toJSON",
	"toJSONPretty", "toLower", "toTOML", "toTitle", "toUnescapedJSON", "toUnescapedJSONPretty", "toUpper", "toYAML", "trim",
	"trimPrefix", "trimSpace", "trimSuffix",
}

// own are the functions that reach Vault or a variable: made here, under the names that
// they have in consul-template.
var own = []string{"env", "envOrDefault", "mustEnv", "pkiCert", "secret", "secrets"}

// builtin are those of text/template.
var builtin = []string{
	"and", "call", "eq", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or", "print", "printf", "println",
	"slice", "urlquery",
}

// refused says of functions that templates may know from elsewhere why they are not to be
// had here.
var refused = map[string]string{
	"file": "it reads files", "plugin": "it executes programs", "writeToFile": "it writes files",
	"sockaddr": "it looks at the machine's network, and runs programs for that", "spew_dump": "it writes to the log", "spew_printf": "it writes to the log",
}

// consul are functions that ask Consul or Nomad, or are for what those answer.
var consul = []string{
	"byKey", "byMeta", "byPort", "byTag", "caLeaf", "caRoots", "connect", "datacenters", "explode", "exportedServices", "key",
	"keyExists", "keyOrDefault", "ls", "node", "nodes", "nomadService", "nomadServices", "nomadVar", "nomadVarExists",
	"nomadVarList", "nomadVarListSafe", "partitions", "peerings", "safeLs", "safeTree", "service", "services", "tree",
}

// sprig begins the names of Sprig's functions; consul-template has those alone that ask
// nobody for anything.
const sprig = "sprig_"

// Functions returns the names of the functions that a template may use, sorted, without
// those of Sprig, which begin with "sprig_".
func Functions() []string {
	return slices.Sorted(slices.Values(slices.Concat(pure, own, builtin)))
}

// permitted says whether a template may call a function.
func permitted(name string) bool {
	return strings.HasPrefix(name, sprig) && defined(name) || slices.Contains(pure, name) || slices.Contains(own, name) || slices.Contains(builtin, name)
}

// defined says whether the engine knows a function: it says that of one that is not called.
func defined(name string) bool {
	engine, err := template.NewTemplate(&template.NewTemplateInput{Contents: "{{ if false }}{{ " + name + " }}{{ end }}"})
	if err == nil {
		_, err = engine.Execute(&template.ExecuteInput{Brain: template.NewBrain()})
	}
	return err == nil
}

// whyRefused says why not.
func whyRefused(name string) string {
	if why, known := refused[name]; known {
		return why
	}
	if slices.Contains(consul, name) {
		return "it is for Consul or Nomad"
	}
	return "there is no such function"
}

// refusedNames are all functions that are known and refused.
func refusedNames() []string {
	return slices.Concat(slices.Sorted(maps.Keys(refused)), consul)
}
