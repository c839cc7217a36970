package provision

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/vaultpki"
)

// auditDevice is a device that must be enabled. To look at devices and to enable
// one takes sudo.
type auditDevice AuditDevice

// check returns the faults of a device.
func (d AuditDevice) check() error {
	faults := []error{checkText("Audit.Path", d.Path)}
	switch d.Type {
	case "file":
		if !strings.HasPrefix(d.File, "/") {
			faults = append(faults, fmt.Errorf("audit device %q: file %q: expected an absolute path", d.Path, d.File))
		}
	case "syslog", "stdout":
	default:
		faults = append(faults, fmt.Errorf("audit device %q: type %q: expected file, syslog or stdout", d.Path, d.Type))
	}
	return errors.Join(faults...)
}

// settings returns type and options as Vault has them.
func (d auditDevice) settings() (kind string, options map[string]string) {
	switch d.Type {
	case "syslog":
		facility, tag := d.Facility, d.Tag
		setDefault(&facility, "AUTH")
		setDefault(&tag, "vault")
		return "syslog", map[string]string{"facility": facility, "tag": tag}
	case "stdout":
		return "file", map[string]string{"file_path": "stdout"}
	}
	return "file", map[string]string{"file_path": d.File}
}

// plan enables a device that is absent. One that differs is in the way: to
// change it means to disable it, and meanwhile nothing is recorded.
func (d auditDevice) plan(ctx context.Context, client *Client) (*Change, error) {
	devices, err := client.read(ctx, "sys/audit")
	var denied *vaultpki.Error
	if errors.As(err, &denied) && denied.Reason == vaultpki.ReasonDenied && !strings.Contains(err.Error(), "invalid token") {
		denied.Hint = `look at audit devices, and enable one, with a token of sudo: path "sys/audit*" { capabilities = ["read", "update", "sudo"] }`
	}
	if err != nil {
		return nil, err
	}
	kind, options := d.settings()
	object := "audit device " + d.Path
	var have map[string]any
	if devices != nil {
		have, _ = devices.Data[d.Path+"/"].(map[string]any)
	}
	if have == nil {
		var details []string
		for _, name := range slices.Sorted(maps.Keys(options)) {
			details = append(details, name+" "+options[name])
		}
		return &Change{Create: true, Object: object, Details: append([]string{kind}, details...), apply: d.enable}, nil
	}
	return nil, d.compatible(object, have)
}

// compatible refuses a device that records elsewhere, or records secrets.
func (d auditDevice) compatible(object string, have map[string]any) error {
	inTheWay := func(hint, cause string, args ...any) error {
		return &vaultpki.Error{Reason: vaultpki.ReasonConfig, Op: "checking", Where: object, Err: fmt.Errorf(cause, args...), Hint: hint}
	}
	const other = "write in the file's audit what the device has, or give it another path there: path names the device, below sys/audit"
	kind, want := d.settings()
	options, _ := have["options"].(map[string]any)
	if found, _ := have["type"].(string); found != kind {
		return inTheWay(other, "the device at sys/audit/%s is of type %q, expected %q", d.Path, found, kind)
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if found, given := options[name]; given && found != want[name] {
			return inTheWay(other, "the %s of the device at sys/audit/%s is %q, expected %q", name, d.Path, found, want[name])
		}
	}
	if raw, _ := options["log_raw"].(string); strings.EqualFold(raw, "true") {
		return inTheWay("enable another and disable this one", "it records secrets as they are (log_raw)")
	}
	return nil
}

func (d auditDevice) enable(ctx context.Context, client *Client) error {
	kind, options := d.settings()
	return client.write(ctx, "sys/audit/"+d.Path, map[string]any{"type": kind, "options": options})
}
