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

// FieldOf returns the field whose value stands under a name in a record.
func FieldOf(name []byte) (f Field, known bool) {
	switch string(name) {
	case "event.action":
		return Action, true
	case "sallyport.decision":
		return Decision, true
	case "event.reason":
		return Reason, true
	case "rule.name":
		return Rule, true
	case "user.name":
		return User, true
	case "sallyport.route":
		return Route, true
	case "url.domain":
		return Host, true
	case "client.address":
		return Address, true
	case "http.request.method":
		return Method, true
	case "http.response.status_code":
		return Status, true
	case "url.path":
		return Path, true
	case "http.request.id":
		return RequestID, true
	case "sallyport.session.id":
		return Session, true
	case "service.name":
		return Service, true
	case "sallyport.vault.accessor":
		return Accessor, true
	case "sallyport.log.instance":
		return Instance, true
	}
	return 0, false
}
