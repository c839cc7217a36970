package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
)

// templatesAreGood finds what is wrong with the templates of a configuration, those in files
// of their own among them.
func templatesAreGood(cfg *config.Sidecar) []config.Finding {
	findings := inlineTemplatesAreGood(cfg)
	for i, file := range cfg.Secrets.Files {
		if file.TemplateFile == "" {
			continue
		}
		key := fmt.Sprintf("secrets.files[%d].template_file", i)
		text, err := readTemplate(file.TemplateFile)
		if err != nil {
			findings = append(findings, config.Finding{Key: key, Value: fmt.Sprintf("a file that cannot be read (%v)", err), Expected: "a template"})
			continue
		}
		if found := judgeTemplate(key, file.TemplateFile, text); found != nil {
			found.Line = 0 // it is in the other file
			findings = append(findings, *found)
		}
	}
	return findings
}

// inlineTemplatesAreGood is templatesAreGood of those that stand in the configuration.
func inlineTemplatesAreGood(cfg *config.Sidecar) []config.Finding {
	var findings []config.Finding
	judge := func(key, text string) {
		if text == "" {
			return
		}
		if found := judgeTemplate(key, "template", text); found != nil {
			findings = append(findings, *found)
		}
	}
	for i, file := range cfg.Secrets.Files {
		judge(fmt.Sprintf("secrets.files[%d].template", i), file.Template)
	}
	for i, variable := range cfg.Secrets.Env {
		judge(fmt.Sprintf("secrets.env[%d].template", i), variable.Template)
	}
	if cfg.Secrets.HasStdin() {
		judge("secrets.stdin", cfg.Secrets.Stdin)
	}
	return findings
}

// judgeTemplate finds what is wrong with one template, nil if nothing is.
func judgeTemplate(key, name, text string) *config.Finding {
	err := secrets.CheckTemplate(name, text)
	if err == nil {
		return nil
	}
	found := &config.Finding{
		Key: key, Value: fmt.Sprintf("a faulty one (%v)", err),
		Expected: "a template in the language of consul-template",
	}
	if hint := secrets.Hint(err); hint != "" {
		found.Expected += "; " + hint
	}
	var fault *secrets.Error
	if errors.As(err, &fault) {
		found.Line = fault.Line
	}
	return found
}

// maxTemplateFile bounds a file with a template, in bytes.
const maxTemplateFile = 1 << 20

// readTemplate reads a file with a template, and a byte more than such a file may have.
func readTemplate(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTemplateFile+1))
	return string(text), err
}
