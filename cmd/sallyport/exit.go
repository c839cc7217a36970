package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/proxy"
	"github.com/sallyport/sallyport/proxy/sidecar"
	"github.com/sallyport/sallyport/proxy/sidecar/secrets"
	"github.com/sallyport/sallyport/proxy/sidecar/supervise"
	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/provision"
)

// Exit codes. They are part of the interface: orchestrators and runbooks act on
// them. docs/exit-codes.md says what to do about each.
const (
	exitOK           = 0
	exitFailure      = 1
	exitUsage        = 2
	exitDrain        = 3
	exitLoosens      = 4
	exitTampered     = 5
	exitApp          = 6
	exitAppStart     = 7
	exitAppSecrets   = 8
	exitNoToken      = 10
	exitIntercepted  = 11
	exitForged       = 12
	exitUnreachable  = 13
	exitAmbiguous    = 14
	exitLoginRefused = 15
	exitDenied       = 16
	exitBadSecret    = 17
	exitCertificate  = 18
	exitExpired      = 19
	exitSealed       = 20
	exitTokenLost    = 21
	exitClock        = 22
	exitExposed      = 23
)

// usageError is a mistake in the command line.
type usageError struct{ error }

// Unwrap returns the mistake.
func (e usageError) Unwrap() error { return e.error }

// hinted adds to an error what to do about it.
type hinted struct {
	error
	hint string
}

// Unwrap returns the error without the hint.
func (e *hinted) Unwrap() error { return e.error }

// spentError is the failure of a process whose introduction is used up: the
// next start needs another, unless it has an heir.
type spentError struct {
	error
	role string
	heir string // the file with what the next start needs; "" for none
}

// Unwrap returns the failure.
func (e *spentError) Unwrap() error { return e.error }

// secretError is a secret that Vault gave and that is of no use.
type secretError struct {
	where, hint string
	err         error
}

// Error names the place and the cause, never the content.
func (e *secretError) Error() string { return fmt.Sprintf("reading %s: %v", e.where, e.err) }

// Unwrap returns the cause.
func (e *secretError) Unwrap() error { return e.err }

// certificateError is a certificate that Vault did not give.
type certificateError struct{ error }

// Unwrap returns the cause.
func (e *certificateError) Unwrap() error { return e.error }

// vaultExits are the exit codes of the reasons for which Vault's side fails.
var vaultExits = map[vaultpki.Reason]int{
	vaultpki.ReasonConfig:         exitUsage,
	vaultpki.ReasonNoToken:        exitNoToken,
	vaultpki.ReasonIntercepted:    exitIntercepted,
	vaultpki.ReasonForged:         exitForged,
	vaultpki.ReasonUnreachable:    exitUnreachable,
	vaultpki.ReasonAmbiguous:      exitAmbiguous,
	vaultpki.ReasonLoginRefused:   exitLoginRefused,
	vaultpki.ReasonDenied:         exitDenied,
	vaultpki.ReasonMissingSecret:  exitBadSecret,
	vaultpki.ReasonMissingField:   exitBadSecret,
	vaultpki.ReasonBadCertificate: exitCertificate,
	vaultpki.ReasonExpired:        exitExpired,
	vaultpki.ReasonSealed:         exitSealed,
	vaultpki.ReasonTokenLost:      exitTokenLost,
	vaultpki.ReasonClock:          exitClock,
}

// exitCode maps an error to its documented code.
func exitCode(err error) int {
	var usage usageError
	var faults *config.Faults
	var secret *secretError
	var certificate *certificateError
	var loosening *provision.LooseningError
	var tampered *tamperedError
	var ended *supervise.ExitedError
	var unstarted *supervise.StartError
	var guardEnded *guardEndedError
	var exposed *sidecar.ExposedError
	var rendering *appSecretsError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &guardEnded):
		return exitCertificate
	case errors.As(err, &unstarted):
		return exitAppStart
	case errors.As(err, &ended) && ended.Success():
		return exitOK
	case errors.As(err, &ended):
		return exitApp
	case errors.Is(err, context.Canceled): // a signal, whatever Vault was doing
		return exitFailure
	case errors.As(err, &usage), errors.As(err, &faults):
		return exitUsage
	case errors.As(err, &secret):
		return exitBadSecret
	case errors.As(err, &rendering):
		return rendering.exitCode()
	case errors.As(err, &certificate) && vaultpki.ReasonOf(err) == vaultpki.ReasonDenied:
		return exitCertificate // by the PKI role or by a policy: the hint knows
	case errors.Is(err, proxy.ErrDrain):
		return exitDrain
	case errors.As(err, &loosening):
		return exitLoosens
	case errors.As(err, &tampered):
		return exitTampered
	case errors.As(err, &exposed):
		return exitExposed
	}
	if code, ok := vaultExits[vaultpki.ReasonOf(err)]; ok {
		return code
	}
	return exitFailure
}

// explain prints what went wrong and, on lines of their own, what to do.
func explain(w io.Writer, command string, err error) {
	var faults *config.Faults
	if errors.As(err, &faults) {
		// Each fault is a line that an editor can jump to.
		_, _ = fmt.Fprintf(w, "%s: the configuration has faults (%d)\n%v\n", command, len(faults.List), faults)
	} else {
		_, _ = fmt.Fprintf(w, "%s: %v\n", command, err)
	}
	if hint := hintOf(err); hint != "" && hint != hintFaults { // they have just been shown
		_, _ = fmt.Fprintf(w, "hint: %s\n", hint)
	}
	var spent *spentError
	switch {
	case !errors.As(err, &spent):
	case spent.heir != "":
		_, _ = fmt.Fprintf(w, "hint: the introduction is used up, the next start logs in with its heir in %s\n", spent.heir)
	default:
		_, _ = fmt.Fprintf(w, "hint: the introduction is used up, the next start needs another: sallyport introduce --role %s\n", spent.role)
	}
	if code := exitCode(err); code >= exitNoToken {
		_, _ = fmt.Fprintf(w, "exit code: %d\n", code)
	}
}

// hintFaults is for a log line, which shows the faults of a configuration on one.
const hintFaults = "correct it; `sallyport check --config FILE` shows every fault"

// hintOf is what the error says to do, if it says so.
func hintOf(err error) string {
	var faults *config.Faults
	var vault *vaultpki.Error
	var secret *secretError
	var usage usageError
	var more *hinted
	var rendering *appSecretsError
	var unstarted *supervise.StartError
	var ended *supervise.ExitedError
	switch {
	case errors.As(err, &more):
		return more.hint
	case errors.As(err, &unstarted):
		return hintStart(unstarted)
	case errors.As(err, &ended):
		return hintEnded(ended)
	case errors.As(err, &secret):
		return secret.hint
	case errors.As(err, &rendering):
		return secrets.Hint(err)
	case errors.As(err, &vault) && (vault.Hint != "" || vault.Reason != vaultpki.ReasonConfig):
		return vault.Hint
	case errors.As(err, &faults):
		return hintFaults
	case errors.As(err, &usage), errors.As(err, &vault):
		return "run the command with --help"
	}
	return ""
}

// hintStart is what to do about an application that cannot be started.
func hintStart(err error) string {
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "install it, or write its whole path behind --: it is not in the folders of PATH, " + os.Getenv("PATH")
	case errors.Is(err, fs.ErrNotExist):
		return "correct the path behind --; if it is that of a script, its first line may name an interpreter that is not there"
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("let user %d execute it (chmod +x), or write its interpreter before it", os.Geteuid())
	case errors.Is(err, syscall.ENOEXEC):
		return "it is no program of this machine: a script needs an interpreter in its first line (#!), or before it behind --"
	}
	return ""
}

// hintEnded is what to do about an application that has ended.
func hintEnded(err *supervise.ExitedError) string {
	switch {
	case err.Success():
		return ""
	case err.Cause != nil:
		return "look at what the app has written, and at child.check: does it ask for what the app answers?"
	}
	return "look at what the app has written; it is started again if child.restart is on-failure or always"
}
