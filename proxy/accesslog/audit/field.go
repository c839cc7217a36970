package audit

import (
	"fmt"
	"slices"
)

// Field is a value of an entry that can be asked for and counted by.
type Field uint8

// The fields.
const (
	Action Field = iota
	Decision
	Reason
	Rule
	User
	Route
	Host
	Address
	Method
	Status
	Path
	RequestID
	Session
	Service
	Accessor
	Instance

	// Fields is how many there are.
	Fields
)

// Times that can be counted by, besides fields.
const (
	// Hour is the hour in UTC of an entry's time, as "2006-01-02T15".
	Hour Field = Fields + iota
	// Day is the day in UTC, as "2006-01-02".
	Day
)

// fieldNames are what fields are called on a command line and in a file.
var fieldNames = [...]string{
	Action: "action", Decision: "decision", Reason: "reason", Rule: "rule", User: "user", Route: "route", Host: "host",
	Address: "address", Method: "method", Status: "status", Path: "path", RequestID: "request_id", Session: "session",
	Service: "service", Accessor: "accessor", Instance: "instance", Hour: "hour", Day: "day",
}

// String is the field's name.
func (f Field) String() string {
	if int(f) < len(fieldNames) && fieldNames[f] != "" {
		return fieldNames[f]
	}
	return fmt.Sprintf("field %d", uint8(f))
}

// FieldNamed returns the field of a name.
func FieldNamed(name string) (f Field, known bool) {
	i := slices.Index(fieldNames[:], name)
	if i < 0 || name == "" {
		return 0, false
	}
	return Field(i), true //nolint:gosec // as many as there are names
}

// members are where in a record the value of a field stands. The first name that a
// record has a value under counts.
var members = map[string]Field{
	"event.action":              Action,
	"sallyport.decision":        Decision,
	"event.reason":              Reason,
	"rule.name":                 Rule,
	"user.name":                 User,
	"sallyport.route":           Route,
	"url.domain":                Host,
	"client.address":            Address,
	"http.request.method":       Method,
	"http.response.status_code": Status,
	"url.path":                  Path,
	"http.request.id":           RequestID,
	"sallyport.session.id":      Session,
	"service.name":              Service,
	"sallyport.vault.accessor":  Accessor,
	"sallyport.log.instance":    Instance,
}
