package swarm

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/vaultpki"
)

// Labels of a secret that say what it holds. A secret has either labelRole's, which
// the service must carry too, or labelKVPath's.
const (
	labelWrapTTL = labelPrefix + "wrap-ttl" // life of the wrapping token, such as 2m
	labelKVPath  = labelPrefix + "kv-path"  // MOUNT/PATH of a KV secret, as the allow-list has it
	labelKVField = labelPrefix + "kv-field" // the field that is wanted of it
	labelWrap    = labelPrefix + "wrap"     // "true": the whole secret, wrapped
	labelStack   = "com.docker.stack.namespace"
)

// ours reports whether a label is one that this package reads. A misspelt one is,
// so that it is refused and not ignored.
func ours(label string) bool { return strings.HasPrefix(label, labelPrefix) }

// Services says for which services something is allowed: those that fulfil
// everything that is said. At least Names or Stacks is said.
type Services struct {
	// Names are patterns of [path.Match] for the service's whole name, such as
	// "shop_*"; one has to match. In a stack that is STACK_SERVICE.
	Names []string
	// Stacks are names of stacks; the service has to be of one of them.
	Stacks []string
	// Labels are labels of the service that have to have exactly these values.
	Labels map[string]string
}

// RoleGrant allows a role to be introduced.
type RoleGrant struct {
	Services
	// Minting says which role, on which mount, from which networks, and for how
	// long at most: a secret's label may ask for less than WrapTTL. Metadata is the
	// driver's.
	vaultpki.Minting
}

// KVGrant allows a KV secret to be handed out.
type KVGrant struct {
	Services
	Mount, Path string
	// Fields may be handed out as they are. Wrapped allows the whole secret, wrapped
	// for WrapTTL; nobody but who unwraps it sees it. With neither, nothing is.
	Fields  []string
	Wrapped bool
	WrapTTL time.Duration // default vaultpki.DefaultWrapTTL
}

// refusal is why a request gets nothing: what the engine is told, and all of it.
type refusal struct {
	Reason string // one of the constants below
	Public string // short, without what only the log may know
	Err    error
}

// Reasons of a refusal, for logs and metrics.
const (
	reasonRequest = "bad_request"
	reasonLabels  = "bad_labels"
	reasonDiffer  = "labels_differ"
	reasonRole    = "role_not_allowed"
	reasonService = "service_not_allowed"
	reasonPath    = "secret_not_allowed"
	reasonBusy    = "busy"
	reasonVault   = "vault"
)

// Error says all of it.
func (r *refusal) Error() string { return r.Err.Error() }

// Unwrap returns the cause.
func (r *refusal) Unwrap() error { return r.Err }

func refuse(reason, public, format string, args ...any) *refusal {
	return &refusal{Reason: reason, Public: public, Err: fmt.Errorf(format, args...)}
}

// order is what a request gets: one of the two, or nothing.
type order struct {
	mint vaultpki.Minting // if Role is not empty
	kv   kvOrder
}

// kvOrder is a field as it is, or the whole secret wrapped for a time.
type kvOrder struct {
	mount, path, field string
	wrapTTL            time.Duration
}

// Kinds of orders, for logs and metrics.
const (
	kindIntroduction = "introduction"
	kindWrapped      = "wrapped_secret"
	kindField        = "field"
)

// kind is empty for no order.
func (o order) kind() string {
	switch {
	case o.mint.Role != "":
		return kindIntroduction
	case o.kv.wrapTTL > 0:
		return kindWrapped
	case o.kv.field != "":
		return kindField
	}
	return ""
}

// what names the object of the order.
func (o order) what() string {
	if o.mint.Role != "" {
		return o.mint.Role
	}
	return strings.TrimSuffix(o.kv.mount+"/"+o.kv.path+" "+o.kv.field, " ")
}

// allowList decides. It is not modified.
type allowList struct {
	roles []RoleGrant
	kv    []KVGrant
}

// decide returns what the request gets, by the secret's labels and by the grants.
func (a allowList) decide(r request) (order, error) {
	for label := range r.SecretLabels {
		if ours(label) && !slices.Contains([]string{LabelRole, labelWrapTTL, labelKVPath, labelKVField, labelWrap}, label) {
			return order{}, refuse(reasonLabels, "the secret has an unknown label", "the secret has label %q, which means nothing here", label)
		}
	}
	_, wantsRole := r.SecretLabels[LabelRole]
	_, wantsKV := r.SecretLabels[labelKVPath]
	switch {
	case wantsRole && wantsKV:
		return order{}, refuse(reasonLabels, "the secret's labels contradict each other", "the secret has both labels %s and %s, expected one", LabelRole, labelKVPath)
	case wantsRole:
		return a.decideRole(r)
	case wantsKV:
		return a.decideKV(r)
	}
	return order{}, refuse(reasonLabels, "the secret's labels say nothing", "the secret has neither label %s nor %s, expected one", LabelRole, labelKVPath)
}

// decideRole is about an introduction. The service says too which role it has, so
// that a secret that is mounted by mistake introduces nobody.
func (a allowList) decideRole(r request) (order, error) {
	role := r.SecretLabels[LabelRole]
	if own := r.ServiceLabels[LabelRole]; own != role {
		return order{}, refuse(reasonDiffer, "the labels "+LabelRole+" of secret and service differ",
			"label %s is %q on the secret and %q on the service, expected the same", LabelRole, role, own)
	}
	for _, label := range []string{labelKVField, labelWrap} {
		if _, there := r.SecretLabels[label]; there {
			return order{}, refuse(reasonLabels, "the secret's labels contradict each other", "label %s beside %s, expected it beside %s only", label, LabelRole, labelKVPath)
		}
	}
	known := false
	for _, grant := range a.roles {
		if grant.Role != role {
			continue
		}
		known = true
		if !grant.match(r) {
			continue
		}
		ttl, err := wrapTTL(r, grant.WrapTTL)
		if err != nil {
			return order{}, err
		}
		mint := grant.Minting
		mint.WrapTTL, mint.Metadata = ttl, r.metadata()
		return order{mint: mint}, nil
	}
	if !known {
		return order{}, refuse(reasonRole, "this role is not introduced here", "role %q is not in the allow-list", role)
	}
	return order{}, r.notAllowed("role " + role)
}

// decideKV is about a KV secret.
func (a allowList) decideKV(r request) (order, error) {
	wanted, field := r.SecretLabels[labelKVPath], r.SecretLabels[labelKVField]
	wrap := r.SecretLabels[labelWrap]
	_, asked := r.SecretLabels[labelWrapTTL]
	switch {
	case wrap != "" && wrap != "true" && wrap != "false":
		return order{}, refuse(reasonLabels, "label "+labelWrap+" is not true or false", "label %s is %q, expected true or false", labelWrap, wrap)
	case wrap == "true" && field != "":
		return order{}, refuse(reasonLabels, "the secret's labels contradict each other", "label %s beside %s: what is wrapped is the whole secret", labelKVField, labelWrap)
	case wrap != "true" && (field == "" || asked):
		return order{}, refuse(reasonLabels, "the secret's labels are not complete", "expected label %s without %s, or %s: true", labelKVField, labelWrapTTL, labelWrap)
	}
	known := false
	for _, grant := range a.kv {
		if grant.Mount+"/"+grant.Path != wanted || (wrap == "true" && !grant.Wrapped) || (wrap != "true" && !slices.Contains(grant.Fields, field)) {
			continue
		}
		known = true
		if !grant.match(r) {
			continue
		}
		kv := kvOrder{mount: grant.Mount, path: grant.Path, field: field}
		if wrap == "true" {
			ttl, err := wrapTTL(r, grant.WrapTTL)
			if err != nil {
				return order{}, err
			}
			kv.wrapTTL = ttl
		}
		return order{kv: kv}, nil
	}
	if !known {
		return order{}, refuse(reasonPath, "this secret is not handed out here", "secret %q, field %q, wrapped %q: not in the allow-list", wanted, field, wrap)
	}
	return order{}, r.notAllowed("secret " + wanted)
}

func (r request) notAllowed(what string) *refusal {
	return refuse(reasonService, "this service may not have that", "%s: no entry of the allow-list fits service %q of stack %q and its labels", what, r.ServiceName, r.ServiceLabels[labelStack])
}

// match reports whether everything that is said of services is true of this one.
// Nothing said is true of none.
func (s Services) match(r request) bool {
	if len(s.Names) == 0 && len(s.Stacks) == 0 {
		return false
	}
	if len(s.Names) > 0 && !slices.ContainsFunc(s.Names, func(pattern string) bool {
		matched, err := path.Match(pattern, r.ServiceName)
		return matched && err == nil
	}) {
		return false
	}
	if len(s.Stacks) > 0 && !slices.Contains(s.Stacks, r.ServiceLabels[labelStack]) {
		return false
	}
	for name, value := range s.Labels {
		if have, there := r.ServiceLabels[name]; !there || have != value {
			return false
		}
	}
	return true
}

// wrapTTL is the life of a wrapping token: what is allowed, or what the secret's
// label asks for.
func wrapTTL(r request, most time.Duration) (time.Duration, error) {
	text, asked := r.SecretLabels[labelWrapTTL]
	if !asked {
		return most, nil
	}
	ttl, err := time.ParseDuration(text)
	if err != nil || ttl < time.Second || ttl > most {
		return 0, refuse(reasonLabels, "label "+labelWrapTTL+" is not acceptable", "label %s is %q, expected a duration of 1s to %s", labelWrapTTL, text, most)
	}
	return ttl, nil
}

// metadata is what Vault's audit log shows beside every use of the SecretID. The
// engine's names and IDs only: it is not secret.
func (r request) metadata() map[string]string {
	all := map[string]string{
		"secret": r.SecretName, "service": r.ServiceName, "service_id": r.ServiceID,
		"stack": r.ServiceLabels[labelStack], "task": r.TaskName, "task_id": r.TaskID, "node_id": r.node(),
	}
	maps.DeleteFunc(all, func(_, value string) bool { return value == "" || len(value) > maxText || !isLine(value) })
	return all
}

// node is the ID of the node that the task is for, where the request says so: as
// such, or in the name of a task of a global service (SERVICE.NODE.TASK).
func (r request) node() string {
	if r.NodeID != "" {
		return r.NodeID
	}
	middle, ok := strings.CutPrefix(r.TaskName, r.ServiceName+".")
	if !ok {
		return ""
	}
	if middle, ok = strings.CutSuffix(middle, "."+r.TaskID); !ok || strings.Trim(middle, "0123456789") == "" {
		return "" // the slot of a replica
	}
	return middle
}

// check returns every fault of the grants, and fills in their defaults.
func (a *allowList) check() error {
	var faults []error
	for i := range a.roles {
		g := &a.roles[i]
		if g.WrapTTL == 0 {
			g.WrapTTL = vaultpki.DefaultWrapTTL
		}
		faults = append(faults, g.Minting.Check(), g.Services.check("role "+g.Role))
	}
	for i := range a.kv {
		g := &a.kv[i]
		if g.WrapTTL == 0 {
			g.WrapTTL = vaultpki.DefaultWrapTTL
		}
		faults = append(faults, g.Services.check("secret "+g.Mount+"/"+g.Path))
	}
	return errors.Join(faults...)
}

func (s Services) check(what string) error {
	if len(s.Names) == 0 && len(s.Stacks) == 0 {
		return fmt.Errorf("%s: no service and no stack, expected at least one", what)
	}
	for _, pattern := range s.Names {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("%s: service %q: expected a name or a pattern such as shop_*", what, pattern)
		}
	}
	return nil
}
