package config

import (
	"net/mail"
	"net/url"
	"path"
)

// ACME says how the certificates that browsers see are ordered from an ACME
// server.
type ACME struct {
	// Directory is the https URL of the server's directory. Default "none":
	// EdgePKI issues.
	Directory string `yaml:"directory"`
	// Email is the account's. Required with a Directory. Default "none".
	Email string `yaml:"email"`
	// AgreeToTerms says that the server's terms of service are agreed to. It must
	// be true with a Directory. Default false.
	AgreeToTerms bool `yaml:"agree_to_terms"`
	// CAFile is an absolute path to the PEM certificates that are trusted for the
	// Directory's own TLS. Default "system": those of the operating system.
	CAFile string `yaml:"ca_file"`
	// Challenge is "tls-alpn-01", at Listen.HTTPS, or "http-01", at
	// Listen.ACMEHTTP. Default "tls-alpn-01".
	Challenge string `yaml:"challenge"`
	// KVPath is the folder of KVMount where account, certificates and keys are.
	// Default "sallyport/acme".
	KVPath string `yaml:"kv_path"`
	// EABPath is the secret with eab_key_id and eab_mac_key, which bind the
	// account to one that the server knows. Default "none".
	EABPath string `yaml:"eab_path"`
}

// Values that stand for the absence of others, and the two challenges.
const (
	none          = "none"
	systemRoots   = "system"
	tlsALPN       = "tls-alpn-01"
	httpChallenge = "http-01"
)

// On says whether there is an ACME server.
func (a ACME) On() bool { return a.Directory != none }

// HTTP says whether names are validated by http-01.
func (a ACME) HTTP() bool { return a.Challenge == httpChallenge }

// SystemRoots says whether the operating system's authorities are trusted for
// the directory.
func (a ACME) SystemRoots() bool { return a.CAFile == systemRoots }

// Bound says whether the account is bound to one that the server knows.
func (a ACME) Bound() bool { return a.EABPath != none }

func (c *collector) acme(at string, a ACME) {
	if a.On() {
		if u, err := url.Parse(a.Directory); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
			c.refuse(join(at, "directory"), `an https URL such as https://acme-v02.api.letsencrypt.org/directory, or "none"`)
		}
		if address, err := mail.ParseAddress(a.Email); err != nil || address.Address != a.Email {
			c.refuse(join(at, "email"), "an address such as ops@example.com for the account")
		}
		if !a.AgreeToTerms {
			c.refuse(join(at, "agree_to_terms"), "true, once the terms of service of the server have been read")
		}
	}
	if !a.SystemRoots() && (!path.IsAbs(a.CAFile) || !isPrintable(a.CAFile)) {
		c.refuse(join(at, "ca_file"), `an absolute path, or "system"`)
	}
	if a.Challenge != tlsALPN && a.Challenge != httpChallenge {
		c.refuse(join(at, "challenge"), tlsALPN+" or "+httpChallenge)
	}
	c.mount(join(at, "kv_path"), a.KVPath)
	c.mount(join(at, "eab_path"), a.EABPath)
}
