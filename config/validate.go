package config

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// What the fields that stay text must look like. The decoder has checked the
// typed fields already. No part of a path in Vault begins with a dot: "..",
// above all, would climb out of the mount.
var (
	routeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)
	vaultRole = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]*$`)
	vaultPath = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$`)
)

const (
	minCertificateTTL = 5 * time.Minute
	maxDrain          = 10 * time.Minute
	maxAnnounce       = 5 * time.Minute
	maxTextLength     = 256
)

// within reports a duration outside of least and most.
func (c *collector) within(path string, value Duration, least, most time.Duration) {
	if value.Duration < least || value.Duration > most {
		c.refuse(path, fmt.Sprintf("%s to %s", Duration{least}, Duration{most}))
	}
}

// count reports a number outside of least and most.
func (c *collector) count(path string, value, least, most int) {
	if value < least || value > most {
		c.refuse(path, fmt.Sprintf("%d to %d", least, most))
	}
}

// oneOf reports a value that is none of those that there are.
func (c *collector) oneOf(path, value string, known []string) {
	if !slices.Contains(known, value) {
		c.refuse(path, "one of "+strings.Join(known, ", "))
	}
}

// texts reports the entries of a list that judge does not accept, and those
// that stand twice.
func (c *collector) texts(path string, values []string, judge func(string) string) {
	for i, value := range values {
		at := entry(path, i)
		if expected := judge(value); expected != "" {
			c.refuse(at, expected)
		}
		if first := slices.Index(values, value); first < i {
			c.refuse(at, fmt.Sprintf("each entry once; %s is the same", entry(path, first)))
		}
	}
}

// judgeText returns what was expected instead of value, or "". What it refuses
// could not equal anything that arrives, or would confuse who reads it.
func judgeText(value string) string {
	switch {
	case value != strings.TrimSpace(value):
		return "text without white space around it"
	case len(value) > maxTextLength:
		return fmt.Sprintf("text of at most %d bytes", maxTextLength)
	case !isPrintable(value):
		return "one line of text without control characters"
	}
	return ""
}

// judgeMember is judgeText for a user or a group. A comma is nearly always two
// names in one entry, except in a distinguished name (RFC 4514).
func judgeMember(value string) string {
	if strings.Contains(value, ",") && !strings.Contains(value, "=") {
		return "one name per entry, without a comma unless it is a distinguished name such as CN=Staff,DC=example,DC=com"
	}
	return judgeText(value)
}

// isPrintable reports whether value is visible and stays on one line: it has
// no control characters, no line or paragraph separator, no invisible
// formatting such as a change of the writing direction.
func isPrintable(value string) bool {
	return utf8.ValidString(value) && !strings.ContainsFunc(value, func(c rune) bool {
		return !unicode.IsGraphic(c) || unicode.In(c, unicode.Zl, unicode.Zp)
	})
}

// listen reports an address that cannot be listened on.
func (c *collector) listen(path, address string) {
	if _, ok := listenHost(address); !ok {
		c.refuse(path, "host:port or :port, such as :8443 or 127.0.0.1:9090")
	}
}

// admin reports an admin listener that other machines can reach, unless that
// was asked for.
func (c *collector) admin(path, address string, anywhere bool) {
	c.listen(path, address)
	if host, ok := listenHost(address); ok && !anywhere && !isLoopback(host) {
		c.refuse(path, "a loopback address such as 127.0.0.1:9090, or unsafe_admin_not_loopback: true beside it")
	}
}

// listenHost returns the host of "host:port", or "" for ":port".
func listenHost(address string) (host string, ok bool) {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = parsePort(port)
	}
	return host, err == nil && (host == "" || isDialable(host))
}

func (c *collector) pki(path string, pki PKI) {
	c.mount(join(path, "mount"), pki.Mount)
	if !vaultRole.MatchString(pki.Role) {
		c.refuse(join(path, "role"), "the name of a role, made of letters, digits and _ . - with no dot in front")
	}
	if pki.TTL.Duration < minCertificateTTL {
		c.refuse(join(path, "ttl"), "at least 5m, so that a renewal has time for a second try")
	}
}

// mount reports what cannot be a path in Vault.
func (c *collector) mount(path, value string) {
	if !vaultPath.MatchString(value) {
		c.refuse(path, "a path in Vault without a slash at either end, such as secret or sallyport/saml")
	}
}

func (c *collector) stop(path string, stop Stop) {
	c.within(join(path, "announce"), stop.Announce, 0, maxAnnounce)
	c.within(join(path, "drain"), stop.Drain, 0, maxDrain)
}
