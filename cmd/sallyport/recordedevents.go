package main

import (
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/sallyport/sallyport/proxy/accesslog"
)

// Reasons of events in the access log.
const (
	reasonLoaded  = "loaded"  // at the start
	reasonChanged = "changed" // since
	reasonAtStart = "start"
	reasonAgain   = "again"
)

// What changes, in the access log.
const (
	objectConfiguration = "configuration"
	objectSessionKeys   = "session_keys"
	objectSAMLKeys      = "saml_keys"
	objectAssertionKeys = "assertion_keys"
	objectMetadata      = "idp_metadata"
	objectOwnMetadata   = "own_metadata"
	objectCredential    = "credential"
	objectPseudonymKey  = "pseudonym_key"
	objectCertificate   = "certificate"
	objectRoots         = "trusted_roots"
)

// said is what a line of the process's log says, by its keys.
type said map[string]slog.Value

func (s said) text(key string) string {
	v, ok := s[key]
	if !ok {
		return ""
	}
	return v.String()
}

func (s said) list(key string) []string {
	list, _ := s[key].Any().([]string)
	return list
}

func (s said) time(key string) time.Time {
	t, _ := s[key].Any().(time.Time)
	return t
}

// eventMaker returns what makes the event of a line, if it is one.
func eventMaker(line slog.Record, with []slog.Attr) (func() accesslog.Event, bool) {
	if line.Level < slog.LevelInfo {
		return nil, false
	}
	maker, ok := eventsOfLog[line.Message]
	if !ok {
		return nil, false
	}
	return func() accesslog.Event {
		s := said{}
		for _, a := range with {
			s[a.Key] = a.Value.Resolve()
		}
		line.Attrs(func(a slog.Attr) bool {
			s[a.Key] = a.Value.Resolve()
			return true
		})
		return maker(s)
	}, true
}

// eventsOfLog are the lines of the log that are events, by their messages. It is never
// written to; a test looks whether there are such lines.
var eventsOfLog = map[string]func(said) accesslog.Event{ //nolint:gochecknoglobals // a lookup table
	"wrapping token found":   introductionLine("found"),
	"secret id found":        introductionLine("found"),
	"heir found":             introductionLine("heir_found"),
	"wrapping token checked": introductionLine("checked"),
	"secret id unwrapped":    introductionLine("unwrapped"),
	"heir minted":            introductionLine("heir_minted"),
	"logged in":              loggedIn,
	"vault token is lost":    tokenLost,

	"wrapping token is not known to vault: it was used by somebody else, or expired":                    introductionAlarm,
	"wrapping token is not known to vault and is past its end":                                          introductionAlarm,
	"wrapping token is not known to vault: an earlier start of this process was ended while it used it": introductionAlarm,
	"wrapping token is not what the deployer's call makes":                                              introductionAlarm,
	"connection was lost in a one-time call: the credential may be spent":                               introductionAlarm,
	"heir was not used, and is kept: the clocks of this host and of vault differ":                       introductionAlarm,
	"heir is spent: a process was ended, or lost vault, while it logged in with it":                     introductionAlarm,

	"certificate issued":      certificateChange("issued"),
	"certificate renewed":     certificateChange("renewed"),
	"certificate revoked":     certificateChange("revoked"),
	"certificate has expired": certificateChange("expired"),
	"assertion key certified": certificateChange("issued"),
	"trusted roots changed":   rootsChange,

	"configuration loaded":                             configurationLoaded,
	"session keys read":                                keysRead(objectSessionKeys),
	"assertion keys read":                              keysRead(objectAssertionKeys),
	"saml secrets read":                                keysRead(objectSAMLKeys),
	"credential for tools read":                        keysRead(objectCredential),
	"key of pseudonyms read":                           keysRead(objectPseudonymKey),
	"new version in use":                               newVersion,
	"new version refused, the one before stays in use": newVersionRefused,
	"identity provider is out, nobody signs in there":  idpOut,

	"renewal of certificates asked for": renewalAsked,
	"looking for new versions":          func(said) accesslog.Event { return accesslog.Event{Action: accesslog.ActionOperator, Reason: "reload"} },

	"serving":  func(said) accesslog.Event { return accesslog.Event{Action: accesslog.ActionStart, Reason: "serving"} },
	"stopping": func(said) accesslog.Event { return accesslog.Event{Action: accesslog.ActionStop, Reason: "stopping"} },
	"stopped": func(s said) accesslog.Event {
		return accesslog.Event{Action: accesslog.ActionStop, Reason: "stopped", Failed: s.text("clean") == "false"}
	},
}

// introduced is what lines about an introduction say of it.
func introduced(s said) accesslog.Vault {
	v := accesslog.Vault{Method: s.text("auth_method"), Source: s.text("file"), Hash: s.text("token_hash")}
	if v.Source == "" {
		v.Source = s.text("source")
	}
	return v
}

func introductionLine(reason string) func(said) accesslog.Event {
	return func(s said) accesslog.Event {
		return accesslog.Event{Action: accesslog.ActionIntroduction, Reason: reason, Vault: introduced(s)}
	}
}

func introductionAlarm(s said) accesslog.Event {
	return accesslog.Event{
		Action: accesslog.ActionAlarm, Alert: true, Failed: true, Reason: s.text("event"), Vault: introduced(s), Cause: s.text("cause"),
	}
}

func loggedIn(s said) accesslog.Event {
	return accesslog.Event{Action: accesslog.ActionLogin, Vault: accesslog.Vault{Method: s.text("auth_method"), Policies: s.list("policies")}}
}

func tokenLost(s said) accesslog.Event {
	v := accesslog.Event{
		Action: accesslog.ActionTokenLost, Failed: true, Reason: "token_ended", Vault: accesslog.Vault{Method: s.text("auth_method")}, Cause: s.text("cause"),
	}
	if s.text("revoked") == "true" {
		v.Reason = "token_revoked"
	}
	return v
}

func certificateChange(reason string) func(said) accesslog.Event {
	return func(s said) accesslog.Event {
		return accesslog.Event{
			Action: accesslog.ActionCertificate, Reason: reason, Failed: reason == "expired", Object: accesslog.Object{Kind: objectCertificate},
			Certificate: accesslog.Certificate{Name: s.text("name"), Serial: s.text("serial"), NotAfter: s.time("not_after")},
		}
	}
}

func rootsChange(s said) accesslog.Event {
	return accesslog.Event{
		Action: accesslog.ActionCertificate, Reason: reasonChanged,
		Object: accesslog.Object{Kind: objectRoots, Version: fmt.Sprint(s["added"].Any()), Before: fmt.Sprint(s["removed"].Any())},
	}
}

func configurationLoaded(s said) accesslog.Event {
	return accesslog.Event{Action: accesslog.ActionConfig, Reason: reasonLoaded, Object: accesslog.Object{Kind: objectConfiguration, Name: s.text("source")}}
}

func keysRead(kind string) func(said) accesslog.Event {
	return func(s said) accesslog.Event {
		return accesslog.Event{Action: accesslog.ActionKeys, Reason: reasonLoaded, Object: accesslog.Object{Kind: kind, Name: s.text("path"), Version: s.text("version")}}
	}
}

// versionChange is what lines about something that is followed say.
func versionChange(s said, before string) accesslog.Event {
	v := accesslog.Event{Action: accesslog.ActionKeys, Object: accesslog.Object{
		Kind: s.text("what"), Name: s.text("source"), Version: s.text("version"), Before: s.text(before), Sections: s.list("sections"),
	}}
	if v.Object.Kind == objectConfiguration {
		v.Action = accesslog.ActionConfig
	}
	return v
}

func newVersion(s said) accesslog.Event {
	v := versionChange(s, "before")
	v.Reason = reasonChanged
	return v
}

func newVersionRefused(s said) accesslog.Event {
	v := versionChange(s, "in_use")
	v.Failed, v.Reason, v.Cause = true, s.text("event"), s.text("cause")
	return v
}

func idpOut(s said) accesslog.Event {
	return accesslog.Event{
		Action: accesslog.ActionKeys, Failed: true, Reason: s.text("event"), Object: accesslog.Object{Kind: objectMetadata, Name: s.text("idp")}, Cause: s.text("cause"),
	}
}

func renewalAsked(s said) accesslog.Event {
	client := s.text("remote")
	if host, _, err := net.SplitHostPort(client); err == nil {
		client = host
	}
	return accesslog.Event{
		Action: accesslog.ActionOperator, Reason: "renewal", Client: client, Object: accesslog.Object{Kind: objectCertificate, Name: s.text("name")},
	}
}
