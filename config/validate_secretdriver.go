package config

import (
	"net/netip"
	"path"
	"strings"
	"time"
)

const (
	minWrapTTL = time.Second
	maxWrapTTL = time.Hour // what a process accepts, unless it is told otherwise
	// maxSocketPath is what the kernel has room for in an address.
	maxSocketPath = 107
)

// validateSecretDriver reports what is wrong with values that are each well
// formed. Defaults are filled in already.
func validateSecretDriver(s *SecretDriver, faults *collector) {
	if !path.IsAbs(s.Socket) || path.Clean(s.Socket) != s.Socket || len(s.Socket) > maxSocketPath || !isPrintable(s.Socket) {
		faults.refuse("socket", "the absolute path of a Unix socket, of at most 107 bytes, such as /run/docker/plugins/sallyport.sock")
	}
	faults.admin("admin", s.Admin, s.UnsafeAdminNotLoopback)
	faults.within("stop.drain", s.Stop.Drain, 0, maxDrain)
	for i, role := range s.Roles {
		at := entry("roles", i)
		if !vaultRole.MatchString(role.Role) {
			faults.refuse(join(at, "role"), "the name of an AppRole, made of letters, digits and _ . - with no dot in front")
		}
		faults.within(join(at, "wrap_ttl"), role.WrapTTL, minWrapTTL, maxWrapTTL)
		faults.texts(join(at, "networks"), role.Networks, judgeNetwork)
		faults.driven(at, role.Services, role.Stacks, role.Labels)
	}
	for i, secret := range s.Secrets {
		faults.drivenSecret(entry("secrets", i), secret)
	}
}

func (c *collector) drivenSecret(at string, s DrivenSecret) {
	c.mount(join(at, "mount"), s.Mount)
	c.mount(join(at, "path"), s.Path)
	c.texts(join(at, "fields"), s.Fields, judgeText)
	if len(s.Fields) == 0 && !s.Wrapped {
		c.add(at, "neither fields nor wrapped", "at least one of them: with neither nothing is handed out")
	}
	c.within(join(at, "wrap_ttl"), s.WrapTTL, minWrapTTL, maxWrapTTL)
	c.driven(at, s.Services, s.Stacks, s.Labels)
}

// driven reports which services an entry is for, if that is not said well.
func (c *collector) driven(at string, services, stacks, labels []string) {
	if len(services) == 0 && len(stacks) == 0 {
		c.add(at, "neither services nor stacks", "at least one of them: an entry for every service is not accepted")
	}
	c.texts(join(at, "services"), services, judgeService)
	c.texts(join(at, "stacks"), stacks, judgeText)
	c.texts(join(at, "labels"), labels, judgeLabelPair)
	names := map[string]bool{}
	for i, label := range labels {
		name, _, _ := strings.Cut(label, "=")
		if names[name] {
			c.refuse(entry(join(at, "labels"), i), "each name once: a label has one value")
		}
		names[name] = true
	}
}

// judgeService accepts names of services, and patterns in which some letter or
// digit is fixed: what fits every service was hardly meant.
func judgeService(value string) string {
	const expected = "the name of a service or a pattern such as shop_*, with at least one letter or digit"
	_, err := path.Match(value, "")
	plain := strings.ContainsFunc(value, func(c rune) bool { return isLabelByte(c) && c != '-' || 'A' <= c && c <= 'Z' })
	odd := strings.ContainsFunc(value, func(c rune) bool {
		return !isLabelByte(c) && (c < 'A' || c > 'Z') && !strings.ContainsRune("_.*?", c)
	})
	if err != nil || !plain || odd || len(value) > maxTextLength {
		return expected
	}
	return ""
}

func judgeLabelPair(value string) string {
	name, _, isPair := strings.Cut(value, "=")
	if !isPair || name == "" {
		return "NAME=VALUE, as in com.example.tier=edge"
	}
	return judgeText(value)
}

// judgeNetwork accepts a network that is written as its first address.
func judgeNetwork(value string) string {
	prefix, err := netip.ParsePrefix(value)
	if err != nil {
		return "a network such as 10.0.3.0/24"
	}
	if prefix != prefix.Masked() {
		return "a network by its first address: " + prefix.Masked().String()
	}
	return ""
}
