package join

import (
	"encoding/json"
	"time"
)

// Access is a line of Vault's audit log: something that Vault was asked for, and
// answered.
type Access struct {
	Time      time.Time
	Operation string
	Path      string
	// Accessor is that of the token that asked, and Issued that of one that was given out
	// in the answer: of a login. Both are in the form of Vault's log.
	Accessor, Issued string
	// DisplayName is who the token says it is.
	DisplayName   string
	RequestID     string
	RemoteAddress string
	// Error is why it was refused, "" if it was not.
	Error string
}

// vaultLine is what is read of a line of a file or socket device.
type vaultLine struct {
	Time time.Time `json:"time"`
	Type string    `json:"type"`
	Auth struct {
		Accessor    string `json:"accessor"`
		DisplayName string `json:"display_name"`
	} `json:"auth"`
	Request struct {
		ID            string `json:"id"`
		Operation     string `json:"operation"`
		Path          string `json:"path"`
		RemoteAddress string `json:"remote_address"`
		Accessor      string `json:"client_token_accessor"`
	} `json:"request"`
	Response struct {
		Auth struct {
			Accessor string `json:"accessor"`
		} `json:"auth"`
		WrapInfo struct {
			Accessor string `json:"wrapped_accessor"`
		} `json:"wrap_info"`
	} `json:"response"`
	Error string `json:"error"`
}

// parseVault reads a line of Vault's log. isAccess is false for a line that is none,
// such as one that only says that a request has come; ok is false for one that is not
// of Vault's log.
func parseVault(text []byte) (a Access, isAccess, ok bool) {
	var line vaultLine
	if json.Unmarshal(text, &line) != nil || line.Type == "" || line.Time.IsZero() {
		return a, false, false
	}
	if line.Type != "response" {
		return a, false, true
	}
	a = Access{
		Time: line.Time.UTC(), Operation: line.Request.Operation, Path: line.Request.Path, Accessor: line.Auth.Accessor,
		Issued: line.Response.Auth.Accessor, DisplayName: line.Auth.DisplayName, RequestID: line.Request.ID,
		RemoteAddress: line.Request.RemoteAddress, Error: line.Error,
	}
	if a.Accessor == "" {
		a.Accessor = line.Request.Accessor
	}
	if a.Issued == "" {
		a.Issued = line.Response.WrapInfo.Accessor
	}
	return a, true, true
}
