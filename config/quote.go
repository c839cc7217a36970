package config

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxQuoted is how many bytes of a value a fault repeats.
const maxQuoted = 64

// quote renders a value for a message: quoted, cut, and not at all if it looks
// like a credential. No key takes one, but people paste in the wrong place,
// and faults end up in logs.
func quote(value string) string {
	if looksSecret(value) {
		return "[redacted]"
	}
	if len(value) <= maxQuoted {
		return strconv.Quote(value)
	}
	cut := maxQuoted
	for cut > 0 && !utf8.RuneStart(value[cut]) {
		cut--
	}
	return strconv.Quote(value[:cut]) + "…"
}

// UUIDs are SecretIDs, and what has three parts and begins like JSON is a JWT.
var (
	uuidForm = regexp.MustCompile(`(?i)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	jwtForm  = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.`)
	keyForm  = regexp.MustCompile(`^[A-Za-z0-9+/_=-]{32,}$`)
)

// looksSecret recognises PEM blocks, Vault's tokens, SecretIDs, JWTs, keys and
// passwords in URLs.
func looksSecret(value string) bool {
	if uuidForm.MatchString(value) || jwtForm.MatchString(value) || isKey(value) {
		return true
	}
	for _, prefix := range [...]string{"hvs.", "hvb.", "hvr.", "s.", "b."} {
		// Vault's tokens are longer than any host that begins like them should be.
		if strings.HasPrefix(value, prefix) && len(value) >= 24 && !strings.Contains(value[len(prefix):], ".") {
			return true
		}
	}
	return strings.Contains(value, "-----BEGIN") || hasPassword(value)
}

// isKey recognises random bytes as base64 or hexadecimal digits: long, and with more
// digits than words and paths have.
func isKey(value string) bool {
	if !keyForm.MatchString(value) || strings.HasPrefix(value, "/") {
		return false
	}
	const digits = "0123456789"
	count, upper := 0, false
	for _, c := range value {
		if strings.ContainsRune(digits, c) {
			count++
		}
		upper = upper || unicode.IsUpper(c)
	}
	return count*20 >= len(value) && (upper || count*4 >= len(value))
}

// hasPassword recognises "scheme://user@host" and "user:password@host".
func hasPassword(value string) bool {
	_, authority, isURL := strings.Cut(value, "://")
	if !isURL {
		authority = value
	}
	authority, _, _ = strings.Cut(authority, "/")
	user, _, found := strings.Cut(authority, "@")
	return found && (isURL || strings.Contains(user, ":"))
}

// printable replaces what cannot be shown on one line.
func printable(message string) string {
	return strings.Map(func(c rune) rune {
		if !strconv.IsPrint(c) {
			return '·'
		}
		return c
	}, message)
}
