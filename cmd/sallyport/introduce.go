package main

import (
	"context"
	"errors"
	"fmt"
	goio "io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/vaultpki"
	"github.com/sallyport/sallyport/vaultpki/introduce"
	"github.com/sallyport/sallyport/vaultpki/introduce/swarm"
)

// introduceFlags say what to introduce, and how it gets there.
type introduceFlags struct {
	operator        operatorFlags
	role            string
	ttl             time.Duration
	cidrs, metadata []string
	delivery        delivery
}

// delivery is where the wrapping token goes: to a file, into a Docker secret, or
// to standard output.
type delivery struct {
	file       string
	secret     string
	dockerHost string
	replace    bool
}

// introduceCommand is for whoever starts a process, and needs a token that can do
// just this: the policy that introduce policy prints.
func introduceCommand(io stdio) *cobra.Command {
	var intro introduceFlags
	cmd := &cobra.Command{
		Use:   "introduce",
		Short: "Mint a wrapping token for one start of one role",
		Long: `Mint a response-wrapped, single-use SecretID of one AppRole, and print the
wrapping token, or write it to a file that only its owner reads, or store it as a
Docker secret. Whoever unwraps it first can log in as that role, once; a process
that finds it used raises the interception alarm.

A Docker secret has one value for ever: use it for a service of one task that
does not restart, and secret-driver for all others. If the delivery fails, the
token is revoked, should yours allow it.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := requireFlags(cmd, "role", "vault-addr"); err != nil {
				return err
			}
			return intro.run(cmd.Context(), io)
		},
	}
	intro.operator.add(cmd.Flags(), io)
	flags := cmd.Flags()
	flags.StringVar(&intro.role, "role", "", "`NAME` of the AppRole to introduce")
	flags.DurationVar(&intro.ttl, "wrap-ttl", vaultpki.DefaultWrapTTL, "how long the token may wait to be used")
	flags.StringArrayVar(&intro.cidrs, "cidr", nil, "`NETWORK` from which the introduction is of use; again for another")
	flags.StringArrayVar(&intro.metadata, "metadata", nil, "`NAME=VALUE` for Vault's audit log, not secret; again for another")
	flags.StringVar(&intro.delivery.file, "file", "", "write the token to `FILE`, mode 0600, instead of standard output")
	flags.StringVar(&intro.delivery.secret, "docker-secret", "", "store the token as the Docker secret `NAME` instead; it is not printed")
	flags.StringVar(&intro.delivery.dockerHost, "docker-host", env(io, swarm.DefaultHost, "DOCKER_HOST"), "`SOCKET` of the container engine, a manager of a Swarm (DOCKER_HOST)")
	flags.BoolVar(&intro.delivery.replace, "replace", false, "remove the Docker secret of that name first, if it is an earlier introduction of the role that no service uses")
	cmd.AddCommand(introducePolicyCommand(io))
	return cmd
}

// run mints and delivers. What can be found out before is, so that a mistake or an
// engine that is away costs no introduction.
func (i *introduceFlags) run(ctx context.Context, io stdio) error {
	minting, err := i.minting()
	if err != nil {
		return err
	}
	token, err := i.operator.token()
	if err != nil {
		return err
	}
	if minting.WrapTTL > vaultpki.DefaultMaxWrapTTL {
		_, _ = fmt.Fprintf(io.Err, "warning: a process takes a token of more than 1h only with --max-wrap-ttl %s\n", minting.WrapTTL)
	}
	deliver, end, err := i.delivery.prepare(ctx, io, i.role)
	if err != nil {
		return err
	}
	defer end()
	_, err = introduce.Deliver(ctx, introduce.Config{Server: i.operator.server(), Token: token, Minting: minting}, deliver)
	var undelivered *introduce.UndeliveredError
	if !errors.As(err, &undelivered) {
		return err
	}
	more := hintDocker(err, i.delivery.secret)
	if more == "" && i.delivery.secret != "" {
		more = "; should the engine have made it all the same: docker secret rm " + i.delivery.secret
	}
	return &hinted{err, undelivered.Hint() + more}
}

// minting reads what the flags say of the introduction.
func (i *introduceFlags) minting() (vaultpki.Minting, error) {
	m := vaultpki.Minting{AuthMount: i.operator.authMount, Role: i.role, WrapTTL: i.ttl}
	for _, text := range i.cidrs {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return m, usageError{fmt.Errorf("flag --cidr is %q, expected a network such as 10.0.3.0/24", text)}
		}
		m.CIDRs = append(m.CIDRs, network)
	}
	for _, text := range i.metadata {
		name, value, isPair := strings.Cut(text, "=")
		if _, twice := m.Metadata[name]; !isPair || name == "" || twice {
			return m, usageError{fmt.Errorf("flag --metadata is %q, expected NAME=VALUE, each name once", text)}
		}
		if m.Metadata == nil {
			m.Metadata = map[string]string{}
		}
		m.Metadata[name] = value
	}
	if err := m.Check(); err != nil {
		return m, usageError{err}
	}
	return m, nil
}

// prepare returns the way to deliver. end lets go of what it holds.
func (d delivery) prepare(ctx context.Context, io stdio, role string) (deliver func(vaultpki.Wrapped) error, end func(), err error) {
	switch {
	case d.secret != "" && d.file != "":
		return nil, nil, usageError{errors.New("both --file and --docker-secret are given, expected one")}
	case d.secret == "" && d.replace:
		return nil, nil, usageError{errors.New("flag --replace is given without --docker-secret")}
	case d.secret != "":
		return d.prepareSecret(ctx, io, role)
	case d.file != "":
		if err := checkTokenPlace(d.file); err != nil {
			return nil, nil, err
		}
	}
	return func(wrapped vaultpki.Wrapped) error { return deliverText(io, d.file, wrapped) }, func() {}, nil
}

// prepareSecret finds out whether the engine would take the secret.
func (d delivery) prepareSecret(ctx context.Context, io stdio, role string) (func(vaultpki.Wrapped) error, func(), error) {
	engine, err := swarm.NewEngine(d.dockerHost)
	if err == nil {
		err = swarm.CheckSecretName(d.secret)
	}
	if err != nil {
		return nil, nil, usageError{err}
	}
	storage := &swarm.Storage{Engine: engine, Name: d.secret, Replace: d.replace}
	if err := storage.Prepare(ctx, role); err != nil {
		engine.Close()
		return nil, nil, &hinted{err, strings.TrimPrefix(hintDocker(err, d.secret), "; ")}
	}
	return func(wrapped vaultpki.Wrapped) error {
		id, err := storage.Store(ctx, role, wrapped)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(io.Err, "docker secret %s (%s) made: start the task within %s (accessor %s)\n", d.secret, id, wrapped.TTL, wrapped.Accessor)
		return nil
	}, engine.Close, nil
}

// hintDocker says what to do about an engine's refusal, behind a semicolon; it is
// empty for all else.
func hintDocker(err error, name string) string {
	switch {
	case errors.Is(err, swarm.ErrNoEngine):
		return "; name the engine's socket by --docker-host, and check that you may use it"
	case errors.Is(err, swarm.ErrNoManager):
		return "; run this on a manager of the Swarm, or make one: docker swarm init"
	case errors.Is(err, swarm.ErrNameTaken):
		return fmt.Sprintf("; a secret has one value for ever: choose another name, such as %s-%s, or --replace one that no service uses",
			name, time.Now().UTC().Format("20060102T150405Z"))
	case errors.Is(err, swarm.ErrInUse):
		return "; a secret that a service uses cannot be removed: choose another name, and docker service update --secret-rm … --secret-add …"
	}
	return ""
}

// deliverText prints the wrapping token alone on standard output, so that it can
// be piped, or writes it to a file.
func deliverText(io stdio, file string, wrapped vaultpki.Wrapped) error {
	if file == "" {
		_, err := fmt.Fprintln(io.Out, wrapped.Token)
		return err
	}
	if err := writeSecretFile(file, wrapped.Token+"\n"); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(io.Err, "wrapping token written to %s: use it within %s (accessor %s)\n", file, wrapped.TTL, wrapped.Accessor)
	return nil
}

// mostOfToken is more than any wrapping token has.
const mostOfToken = 4 << 10

// checkTokenPlace finds out whether a token may be written to file: its folder has to be
// there, and in its place nothing but an earlier token, or what one has left.
func checkTokenPlace(file string) error {
	if _, err := os.Stat(filepath.Dir(file)); err != nil {
		return &hinted{usageError{fmt.Errorf("writing %s: %w", file, err)}, "make its folder first, on a tmpfs and for its reader alone"}
	}
	info, err := os.Lstat(file)
	switch {
	case err != nil:
		return nil // it is absent, or writing will tell
	case !info.Mode().IsRegular(): // putting a token in its place would cost a device or a link, or fail with the token minted
		return &hinted{usageError{fmt.Errorf("flag --file is %q, which is no regular file", file)}, "name a file that is not there yet, or leave the flag out: the token is then on standard output"}
	}
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil // writing will tell
	}
	defer f.Close()
	text, err := goio.ReadAll(goio.LimitReader(f, mostOfToken+1))
	if err != nil || len(text) > mostOfToken || len(strings.Fields(string(text))) > 1 {
		return usageError{fmt.Errorf("flag --file is %q, which has something else in it than an earlier token, expected a file that may be replaced", file)}
	}
	return nil
}

// writeSecretFile replaces file in one step; at no time does anybody but its
// owner see the content.
func writeSecretFile(file, content string) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".sallyport-*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	_, err = tmp.WriteString(content)
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", file, err), os.Remove(tmp.Name()))
	}
	return nil
}

// introducePolicyCommand prints what a deployer's token needs. It asks nobody.
func introducePolicyCommand(io stdio) *cobra.Command {
	var policy introduce.Policy
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Print the policy of a token that introduces some roles and reads nothing",
		Long: `Print the policy of a token that introduces some roles and reads nothing, for

  sallyport introduce policy --role sallyport-gateway | vault policy write deployer -

It is what a deployer and a secret driver need. SecretIDs can be made wrapped and
no other way.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(policy.Roles) == 0 {
				return usageError{errors.New("flag --role is missing, expected the NAME of an AppRole, once or more often")}
			}
			text, err := policy.Text()
			if err != nil {
				return usageError{err}
			}
			_, err = fmt.Fprint(io.Out, text)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&policy.Roles, "role", nil, "`NAME` of an AppRole to introduce; again for another")
	flags.StringVar(&policy.AuthMount, "auth-mount", "approle", "`MOUNT` of the AppRole auth method")
	flags.DurationVar(&policy.MaxWrapTTL, "max-wrap-ttl", time.Hour, "longest life of a wrapping token")
	flags.BoolVar(&policy.Renew, "renew", false, "let it keep itself alive, as a secret driver does")
	flags.StringVar(&policy.Heir, "heir", "", "let it mint its own next introduction, as the AppRole `NAME`, for its heir file")
	flags.BoolVar(&policy.Revoke, "revoke", false, "let it revoke what could not be delivered, and with that any token whose accessor it knows")
	return cmd
}
