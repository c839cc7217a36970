package swarm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport/sallyport/vaultpki"
)

func TestRequestIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*request)
		reason string
		cause  string // in the log
	}{
		"no label":                      {wanting(), reasonLabels, "has neither label"},
		"labels for two things":         {wanting(LabelRole, "app", labelKVPath, "secret/apps/db"), reasonLabels, "has both labels"},
		"a misspelt label":              {wanting(LabelRole, "app", "sallyport.wrap_ttl", "1m"), reasonLabels, `label \"sallyport.wrap_ttl\"`},
		"a label of the other kind":     {wanting(LabelRole, "app", labelWrap, "true"), reasonLabels, "beside sallyport.role"},
		"a service without the label":   {func(r *request) { delete(r.ServiceLabels, LabelRole) }, reasonDiffer, `\"app\" on the secret and \"\" on the service`},
		"a service with another role":   {func(r *request) { r.ServiceLabels[LabelRole] = "absent" }, reasonDiffer, `\"absent\" on the service`},
		"a role that is not allowed":    {func(r *request) { r.SecretLabels[LabelRole], r.ServiceLabels[LabelRole] = "root", "root" }, reasonRole, `role \"root\"`},
		"an empty role":                 {func(r *request) { r.SecretLabels[LabelRole], r.ServiceLabels[LabelRole] = "", "" }, reasonRole, `role \"\"`},
		"a service of another name":     {func(r *request) { r.ServiceName = "shopping" }, reasonService, `service \"shopping\"`},
		"a service of another stack":    {func(r *request) { r.ServiceLabels[labelStack] = "other" }, reasonService, `stack \"other\"`},
		"a service of no stack":         {func(r *request) { delete(r.ServiceLabels, labelStack) }, reasonService, `stack \"\"`},
		"a required label is absent":    {func(r *request) { delete(r.ServiceLabels, "tier") }, reasonService, "and its labels"},
		"a required label is another":   {func(r *request) { r.ServiceLabels["tier"] = "db" }, reasonService, "and its labels"},
		"a life longer than allowed":    {wanting(LabelRole, "app", labelWrapTTL, "61s"), reasonLabels, `\"61s\", expected a duration of 1s to 1m0s`},
		"a life that is none":           {wanting(LabelRole, "app", labelWrapTTL, "0s"), reasonLabels, "expected a duration"},
		"a life that is no duration":    {wanting(LabelRole, "app", labelWrapTTL, "soon"), reasonLabels, "expected a duration"},
		"a path that is not allowed":    {wanting(labelKVPath, "secret/apps/other", labelKVField, "password"), reasonPath, "secret/apps/other"},
		"a path that climbs":            {wanting(labelKVPath, "secret/apps/x/../db", labelKVField, "password"), reasonPath, "not in the allow-list"},
		"a field that is not allowed":   {wanting(labelKVPath, "secret/apps/db", labelKVField, "user"), reasonPath, `field \"user\"`},
		"no field":                      {wanting(labelKVPath, "secret/apps/db"), reasonLabels, "expected label"},
		"a field to be wrapped":         {wanting(labelKVPath, "secret/apps/db", labelKVField, "password", labelWrap, "true"), reasonLabels, "the whole secret"},
		"neither true nor false":        {wanting(labelKVPath, "secret/apps/db", labelWrap, "yes"), reasonLabels, "expected true or false"},
		"a life of what is not wrapped": {wanting(labelKVPath, "secret/apps/db", labelKVField, "password", labelWrapTTL, "30s"), reasonLabels, "without sallyport.wrap-ttl"},
		"a secret for another service": {func(r *request) {
			wanting(labelKVPath, "secret/apps/db", labelKVField, "password")(r)
			r.ServiceName = "other"
		}, reasonService, `service \"other\"`},
		"no task":               {func(r *request) { r.TaskID = "" }, reasonRequest, "TaskID"},
		"a name with a control": {func(r *request) { r.ServiceName = "shop_\x1b[31m" }, reasonRequest, "ServiceName"},
		"a label of two lines":  {wanting(LabelRole, "app\nroot"), reasonRequest, "expected one line"},
		"too many labels":       {func(r *request) { r.ServiceLabels = manyLabels() }, reasonRequest, "expected at most 512"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, &counted{}) // whoever asks Vault panics
			a, code := s.get(t, askFor("task", test.change))
			if code != http.StatusInternalServerError || len(a.Value) > 0 || !strings.HasPrefix(a.Err, "sallyport: ") || len(a.Err) > 90 {
				t.Errorf("answer %d %+v", code, a)
			}
			if diff := cmp.Diff(map[string]int{" " + test.reason: 1}, s.counts); diff != "" {
				t.Errorf("observed (-want +got):\n%s", diff)
			}
			if log := s.log.String(); !strings.Contains(log, test.cause) || !strings.Contains(log, `"reason":"`+test.reason+`"`) {
				t.Errorf("log lacks %q:\n%s", test.cause, log)
			}
			if strings.Contains(a.Err, "shop") || strings.Contains(a.Err, "apps") || strings.Contains(a.Err, "root") {
				t.Errorf("the public reason says more than it should: %q", a.Err)
			}
		})
	}
}

func manyLabels() map[string]string {
	labels := map[string]string{}
	for i := range maxLabels + 1 {
		labels[fmt.Sprint("l", i)] = ""
	}
	return labels
}

func TestFaultyGrantsAreRefused(t *testing.T) {
	fine := Services{Names: []string{"a"}}
	for name, test := range map[string]struct {
		cfg   DriverConfig
		fault string
	}{
		"nobody to ask":       {DriverConfig{}, "no Vault given"},
		"a role for everyone": {DriverConfig{Roles: []RoleGrant{{Minting: vaultpki.Minting{Role: "a"}}}}, "role a: no service and no stack"},
		"no role":             {DriverConfig{Roles: []RoleGrant{{Services: fine}}}, `role ""`},
		"a bad pattern":       {DriverConfig{KV: []KVGrant{{Services: Services{Names: []string{"["}}, Mount: "m", Path: "p"}}}, `secret m/p: service "["`},
		"a life too short":    {DriverConfig{Roles: []RoleGrant{{Services: fine, Minting: vaultpki.Minting{Role: "a", WrapTTL: 1}}}}, "wrap ttl 1ns"},
	} {
		if name != "nobody to ask" {
			test.cfg.Vault = &counted{}
		}
		if _, err := NewDriver(test.cfg); err == nil || !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%s: error %v, expected %q", name, err, test.fault)
		}
	}
}

func TestAllowListIsChangedAsAWhole(t *testing.T) {
	s := newStage(t, ask(t, vault(t).Address, vault(t).CAFile))
	token := s.value(t, askFor("task8"))
	fine := RoleGrant{Services: Services{Names: []string{"other"}}, Minting: vaultpki.Minting{Role: "app"}}
	if err := s.Allow([]RoleGrant{fine, {Minting: vaultpki.Minting{Role: "app"}}}, nil); err == nil {
		t.Error("an allow-list with a fault is accepted")
	}
	if again := s.value(t, askFor("task8")); again != token {
		t.Error("a list that was refused changed something")
	}
	if err := s.Allow([]RoleGrant{fine}, nil); err != nil {
		t.Fatal(err)
	}
	// What is remembered is not handed out any more either.
	if a, _ := s.get(t, askFor("task8")); a.Err != "sallyport: this service may not have that" {
		t.Errorf("answer %+v", a)
	}
	s.value(t, askFor("task9", func(r *request) { r.ServiceName = "other" }))
}

// TestNothingAllowedIsNothing shows the zero value.
func TestNothingAllowedIsNothing(t *testing.T) {
	for _, labels := range []func(*request){wanting(LabelRole, "app"), wanting(labelKVPath, "secret/apps/db", labelKVField, "password")} {
		if o, err := (allowList{}).decide(askFor("task", labels)); err == nil {
			t.Errorf("ordered %+v", o)
		}
	}
	if (Services{Labels: map[string]string{"tier": "web"}}).match(askFor("task")) {
		t.Error("a label alone lets a service in")
	}
}

// TestReasonsAreDocumented holds docs/swarm.md to the reasons of this package.
func TestReasonsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../docs/swarm.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, row[1])
	}
	reasons := []string{reasonLabels, reasonDiffer, reasonRole, reasonService, reasonPath, reasonBusy, reasonVault, reasonRequest}
	if diff := cmp.Diff(reasons, documented); diff != "" {
		t.Errorf("reasons (-sources +docs/swarm.md):\n%s", diff)
	}
}

// FuzzRequest shows that whatever the engine sends, nothing is ordered that the
// grants do not have, for a service that they do not name.
func FuzzRequest(f *testing.F) {
	for _, r := range []request{
		askFor("t"), askFor("t", wanting(labelKVPath, "secret/apps/db", labelKVField, "password")),
		askFor("t", wanting(labelKVPath, "secret/apps/db", labelWrap, "true", labelWrapTTL, "3s")), {},
	} {
		raw, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"taskid":"t","TASKID":{},"SecretLabels":null}`))
	f.Add([]byte(`[[[[[[[[[[`))
	shop := Services{Names: []string{"shop_*"}, Stacks: []string{"shop"}}
	allow := allowList{
		roles: []RoleGrant{{Services: shop, Minting: vaultpki.Minting{Role: "app", WrapTTL: time.Minute}}},
		kv:    []KVGrant{{Services: shop, Mount: "secret", Path: "apps/db", Fields: []string{"password"}, Wrapped: true, WrapTTL: time.Minute}},
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := readRequest(bytes.NewReader(raw))
		if err != nil {
			return
		}
		o, err := allow.decide(r)
		if err != nil {
			var why *refusal
			if !errors.As(err, &why) || why.Public == "" || len(why.Public) > 80 || o.kind() != "" {
				t.Errorf("refused by %v with order %+v", err, o)
			}
			return
		}
		if r.TaskID == "" || !strings.HasPrefix(r.ServiceName, "shop_") || r.ServiceLabels[labelStack] != "shop" {
			t.Errorf("ordered %+v for %+v", o, r)
		}
		switch o.kind() {
		case kindIntroduction:
			if o.mint.Role != "app" || r.ServiceLabels[LabelRole] != "app" || o.mint.Check() != nil || o.mint.WrapTTL > time.Minute {
				t.Errorf("introduces %+v", o.mint)
			}
			for _, value := range slices.Collect(maps.Values(o.mint.Metadata)) {
				if !isLine(value) || len(value) > maxText {
					t.Errorf("metadata %q", value)
				}
			}
		case kindField, kindWrapped:
			if o.kv.mount+"/"+o.kv.path != "secret/apps/db" || (o.kv.field != "password") == (o.kv.wrapTTL == 0) {
				t.Errorf("hands out %+v", o.kv)
			}
		default:
			t.Errorf("ordered %+v", o)
		}
	})
}
