package main

import (
	"bytes"
	"embed"
	"fmt"
	"strings"
	"text/template"

	"github.com/sallyport/sallyport/deploy/dev/idp"
)

//go:embed templates
var templateFiles embed.FS

func templates() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"loopback": loopback,
		"join":     strings.Join,
	}).ParseFS(templateFiles, "templates/*"))
}

// toolView is a tool with the names that follow from it.
type toolView struct {
	tool
	Host, Backend string
}

func view(t tool) toolView { return toolView{tool: t, Host: t.host(), Backend: t.backend()} }

// stackView is what the gateway's and Vault's files are made from.
type stackView struct {
	DoorHost                  string
	Port, AdminPort           int
	AccessLog, AuditIndex     string
	Auditors                  string
	Tools                     []toolView
	Data, VaultCert, VaultKey string
	VaultPort, ClusterPort    int
	VaultAddress              string
}

func (s settings) view() stackView {
	v := stackView{
		DoorHost: doorHost, Port: s.Port, AdminPort: s.adminPort(), AccessLog: s.in("log", "access.log"),
		AuditIndex: s.in("audit"), Auditors: idp.Auditors,
		Data: s.raftDir(), VaultCert: s.vaultCAFile(), VaultKey: s.in("vault", "key.pem"),
		VaultPort: s.vaultPort(), ClusterPort: s.clusterPort(), VaultAddress: s.vaultAddress(),
	}
	for _, t := range s.tools() {
		v.Tools = append(v.Tools, view(t))
	}
	return v
}

// writeFiles writes every configuration file of the stack.
func (s settings) writeFiles() error {
	if err := fill("vault.hcl", s.in("vault", "vault.hcl"), s.view()); err != nil {
		return err
	}
	if err := fill("gateway.yaml", s.in("gateway.yaml"), s.view()); err != nil {
		return err
	}
	for _, t := range s.tools() {
		if err := fill("sidecar.yaml", s.sidecarFile(t), view(t)); err != nil {
			return err
		}
	}
	return nil
}

func (s settings) sidecarFile(t tool) string { return s.in("sidecar-" + t.Name + ".yaml") }

func fill(name, path string, data any) error {
	var buf bytes.Buffer
	if err := templates().ExecuteTemplate(&buf, name, data); err != nil {
		return fmt.Errorf("filling in %s: %w", name, err)
	}
	return save(path, buf.Bytes())
}
