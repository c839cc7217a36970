package header

import "strings"

// Poses reports whether name is another spelling of one that Strip removes, which a tool
// may read as that one: X_Forwarded_User. Whoever replaces and removes headers by their
// names to the letter, as an ingress does, lets it through.
func (t *Template) Poses(name string) bool {
	return !plain(name) && (Managed(name) || t.guards(name))
}

// Overrides reports whether a header of this name asks a tool for something else than the
// request line does: another method or another path (CVE-2018-14773).
func Overrides(name string) bool {
	var buf [maxName]byte
	switch folded := string(fold(buf[:0], name[:min(len(name), len(buf))])); folded {
	case "x-http-method-override", "x-http-method", "x-method-override", "x-rewrite-url":
		return true
	default:
		return strings.HasPrefix(folded, "x-original-")
	}
}

// OverrideNames are those that Overrides is true of and that tools are known to read, in
// canonical spelling.
func OverrideNames() []string {
	return []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "X-Rewrite-Url", "X-Original-Url", "X-Original-Method"}
}
