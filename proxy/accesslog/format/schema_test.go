package format

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// attribute is one of OCSF 1.5.0: its type, "object NAME" or "[]TYPE"; required says that
// there is none without.
type attribute struct {
	kind     string
	required bool
}

// schemaObjects are the objects of the schema that events of ours have, with the attributes
// that they use: all others are faults.
var schemaObjects = map[string]map[string]attribute{
	"metadata": {
		"version": {"string", true}, "product": {"object product", true}, "uid": {kind: "string"}, "sequence": {kind: "integer"},
		"correlation_uid": {kind: "string"}, "event_code": {kind: "string"}, "log_name": {kind: "string"}, "log_provider": {kind: "string"},
		"original_time": {kind: "string"}, "profiles": {kind: "[]string"},
	},
	"product":         {"name": {kind: "string"}, "vendor_name": {"string", true}},
	"authorization":   {"decision": {kind: "string"}, "policy": {kind: "object policy"}},
	"policy":          {"name": {kind: "string"}, "is_applied": {kind: "boolean"}},
	"actor":           {"user": {kind: "object user"}, "session": {kind: "object session"}},
	"user":            {"name": {"string", true}, "type_id": {kind: "integer"}},
	"session":         {"uid": {kind: "string"}, "issuer": {kind: "string"}},
	"service":         {"name": {kind: "string"}},
	"endpoint":        {"ip": {kind: "string"}, "hostname": {kind: "string"}, "port": {kind: "integer"}, "svc_name": {kind: "string"}, "intermediate_ips": {kind: "[]string"}},
	"http_request":    {"http_method": {kind: "string"}, "uid": {kind: "string"}, "user_agent": {kind: "string"}, "version": {kind: "string"}, "url": {kind: "object url"}},
	"http_response":   {"code": {"integer", true}, "length": {kind: "integer"}, "latency": {kind: "integer"}},
	"url":             {"hostname": {kind: "string"}, "path": {"string", true}, "query_string": {kind: "string"}, "scheme": {kind: "string"}},
	"network_traffic": {"bytes": {kind: "integer"}, "bytes_in": {kind: "integer"}, "bytes_out": {kind: "integer"}},
	"tls":             {"version": {"string", true}},
	"unmapped":        nil, // anything
}

// schemaOfAll are the attributes of every class, with those of the profiles host and
// security_control.
var schemaOfAll = map[string]attribute{
	"class_uid": {"integer", true}, "class_name": {kind: "string"}, "category_uid": {"integer", true}, "category_name": {kind: "string"},
	"activity_id": {"integer", true}, "activity_name": {kind: "string"}, "type_uid": {"integer", true}, "type_name": {kind: "string"},
	"time": {"integer", true}, "duration": {kind: "integer"}, "severity_id": {"integer", true}, "severity": {kind: "string"},
	"metadata": {"object metadata", true}, "status_id": {kind: "integer"}, "status": {kind: "string"}, "status_code": {kind: "string"},
	"status_detail": {kind: "string"}, "message": {kind: "string"}, "unmapped": {kind: "object unmapped"}, "actor": {kind: "object actor"},
	"action_id": {kind: "integer"}, "action": {kind: "string"}, "disposition_id": {kind: "integer"}, "disposition": {kind: "string"},
	"authorizations": {kind: "[]object authorization"},
}

// schemaClasses are what each class has besides, the ids of its activities, and of which
// attributes there must be one.
var schemaClasses = map[float64]struct {
	category   float64
	activities []float64
	attributes map[string]attribute
	oneOf      [][]string
}{
	4002: {4, []float64{0, 1, 2, 3, 4, 5, 6, 7, 8, 99}, map[string]attribute{
		"http_request": {kind: "object http_request"}, "http_response": {kind: "object http_response"}, "src_endpoint": {kind: "object endpoint"},
		"dst_endpoint": {kind: "object endpoint"}, "traffic": {kind: "object network_traffic"}, "tls": {kind: "object tls"},
	}, [][]string{{"http_request", "http_response"}, {"src_endpoint", "dst_endpoint"}}},
	3002: {3, []float64{0, 1, 2, 3, 4, 5, 6, 99}, map[string]attribute{
		"user": {"object user", true}, "session": {kind: "object session"}, "auth_protocol_id": {kind: "integer"}, "auth_protocol": {kind: "string"},
		"logon_type_id": {kind: "integer"}, "logon_type": {kind: "string"}, "is_remote": {kind: "boolean"}, "service": {kind: "object service"},
		"src_endpoint": {kind: "object endpoint"}, "dst_endpoint": {kind: "object endpoint"}, "http_request": {kind: "object http_request"}, "http_response": {kind: "object http_response"},
	}, [][]string{{"service", "dst_endpoint"}}},
	3003: {3, []float64{0, 1, 2, 99}, map[string]attribute{
		"user": {"object user", true}, "session": {kind: "object session"}, "privileges": {"[]string", true},
		"src_endpoint": {kind: "object endpoint"}, "dst_endpoint": {kind: "object endpoint"}, "http_request": {kind: "object http_request"}, "http_response": {kind: "object http_response"},
	}, nil},
	0: {0, []float64{0, 99}, nil, nil},
}

// TestEventsAreOfTheSchema holds every event to its class: the ids, what is required, and
// that there is nothing else.
func TestEventsAreOfTheSchema(t *testing.T) {
	seen := map[float64]bool{}
	for _, line := range records(t) {
		out, ok := OCSF(nil, []byte(sealed(line)))
		if !ok {
			t.Fatalf("no event of %s", line)
		}
		var event map[string]any
		if err := json.Unmarshal(out, &event); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		uid, _ := event["class_uid"].(float64)
		seen[uid] = true
		for _, fault := range faultsOf(event) {
			t.Errorf("%s: %s", fault, out)
		}
	}
	for uid := range schemaClasses {
		if !seen[uid] {
			t.Errorf("no record is of class %v", uid)
		}
	}
}

func faultsOf(event map[string]any) (faults []string) {
	uid, _ := event["class_uid"].(float64)
	class, ok := schemaClasses[uid]
	if !ok {
		return []string{fmt.Sprintf("unknown class %v", uid)}
	}
	id, _ := event["activity_id"].(float64)
	if !slices.Contains(class.activities, id) || event["type_uid"] != uid*100+id || event["category_uid"] != class.category {
		faults = append(faults, fmt.Sprintf("activity %v, type %v, category %v", id, event["type_uid"], event["category_uid"]))
	}
	for _, names := range class.oneOf {
		if !slices.ContainsFunc(names, func(name string) bool { return event[name] != nil }) {
			faults = append(faults, fmt.Sprintf("none of %v", names))
		}
	}
	attributes := maps.Clone(schemaOfAll)
	maps.Copy(attributes, class.attributes)
	return append(faults, attributeFaults("event", event, attributes)...)
}

func attributeFaults(at string, object map[string]any, attributes map[string]attribute) (faults []string) {
	for name, a := range attributes {
		if _, ok := object[name]; a.required && !ok {
			faults = append(faults, at+" lacks "+name)
		}
	}
	for name, value := range object {
		a, ok := attributes[name]
		if !ok {
			faults = append(faults, at+" has "+name)
			continue
		}
		faults = append(faults, kindFaults(at+"."+name, value, a.kind)...)
	}
	return faults
}

func kindFaults(at string, value any, kind string) []string {
	if item, isList := strings.CutPrefix(kind, "[]"); isList {
		list, ok := value.([]any)
		if !ok || len(list) == 0 {
			return []string{at + " is no list"}
		}
		var faults []string
		for _, v := range list {
			faults = append(faults, kindFaults(at, v, item)...)
		}
		return faults
	}
	if name, isObject := strings.CutPrefix(kind, "object "); isObject {
		object, ok := value.(map[string]any)
		switch attributes := schemaObjects[name]; {
		case !ok:
			return []string{at + " is no object"}
		case attributes == nil:
			return nil
		case len(object) == 0:
			return []string{at + " is empty"}
		default:
			return attributeFaults(at, object, attributes)
		}
	}
	switch v := value.(type) {
	case string:
		if kind == "string" {
			return nil
		}
	case bool:
		if kind == "boolean" {
			return nil
		}
	case float64:
		if kind == "integer" && v == float64(int64(v)) {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s is %T, not %s", at, value, kind)}
}
