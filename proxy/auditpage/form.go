package auditpage

import (
	"context"

	"github.com/sallyport/sallyport/proxy/accesslog/audit"
)

// fieldSpec is what a field of the form is called and shows. Those that few need are
// folded away.
type fieldSpec struct {
	param, label, example string
	kind                  string // of the input; empty for text
	folded                bool
}

// fields are those of the form, in their order.
var fields = []fieldSpec{
	{param: paramPerson, label: "Person"},
	{param: paramTool, label: "Tool"},
	{param: paramDecision, label: "Decision", kind: "select"},
	{param: paramLast, label: "Range", kind: "select"},
	{param: paramAddress, label: "Address or network", example: "192.0.2.0/24", folded: true},
	{param: paramReason, label: "Reason", example: "not_in_allow", folded: true},
	{param: paramRule, label: "Rule", example: "group:engineers", folded: true},
	{param: paramPath, label: "Path begins with", example: "/admin", folded: true},
	{param: paramRequest, label: "Request number", folded: true},
	{param: paramSession, label: "Session", folded: true},
	{param: paramAction, label: "Action", example: "signin", folded: true},
	{param: paramText, label: "Text anywhere", folded: true},
	{param: paramFrom, label: "From (UTC)", kind: "datetime-local", folded: true},
	{param: paramUntil, label: "Until (UTC)", kind: "datetime-local", folded: true},
}

// form is the search as its fields show it.
type form struct {
	Action      string
	First, Rest []field // Rest are folded away, unless More
	More        bool
	Faulty      bool // something was typed that cannot be understood
}

// field is one of them.
type field struct {
	Name, Label, Kind, Value, Example, Fault string
	Options                                  []option // of a choice
	Known                                    []string // what it may be, among others
}

// option is one of a choice.
type option struct {
	Value, Title string
	Chosen       bool
}

// maxKnown is how many names of people and of tools a field suggests.
const maxKnown = 100

// form shows what is looked for, and what is wrong with it.
func (v *visit) form(ctx context.Context) form {
	f := form{Action: v.page.address(v.path, ""), Faulty: len(v.asked.faults) > 0}
	faults := map[string]string{}
	for _, wrong := range v.asked.faults {
		faults[wrong.Param] = wrong.Message
	}
	for _, spec := range fields {
		if v.without(spec.param) {
			continue
		}
		one := field{Name: spec.param, Label: spec.label, Kind: spec.kind, Value: v.asked.values.Get(spec.param), Example: spec.example, Fault: faults[spec.param]}
		switch spec.param {
		case paramDecision:
			one.Options = decisionOptions(v.asked.Decision)
		case paramLast:
			one.Options = rangeOptions(v.asked.last)
		case paramPerson:
			one.Known = v.page.cfg.Recent.Known(ctx, audit.User, maxKnown)
		case paramTool:
			one.Known = v.page.cfg.Recent.Known(ctx, audit.Route, maxKnown)
		}
		if !spec.folded {
			f.First = append(f.First, one)
			continue
		}
		f.Rest, f.More = append(f.Rest, one), f.More || one.Value != "" || one.Fault != ""
	}
	return f
}

// without reports whether a page has no such field: what is live has no range of time,
// and denials have one decision.
func (v *visit) without(param string) bool {
	switch v.path {
	case pathLive:
		return param == paramLast || param == paramFrom || param == paramUntil
	case pathDenials:
		return param == paramDecision
	}
	return false
}

func decisionOptions(chosen string) []option {
	options := []option{{"", "Any", chosen == ""}}
	for _, d := range decisions {
		options = append(options, option{d, d, d == chosen})
	}
	return options
}

func rangeOptions(chosen string) []option {
	var options []option
	if chosen == "" {
		options = append(options, option{"", "From and until", true})
	}
	for _, r := range ranges {
		options = append(options, option{r.Name, r.Title, r.Name == chosen})
	}
	return options
}
