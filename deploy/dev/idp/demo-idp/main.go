// Command demo-idp runs the demo's SAML identity provider.
//
//	demo-idp -url https://idp.corp.localhost:8444 -signing-key K -signing-cert C -print-metadata
//	demo-idp -url … -signing-key K -signing-cert C -listen 127.0.0.1:8444 -tls-key K -tls-cert C \
//	    -provider https://door.sallyport.localhost:8443/saml/metadata -ca CA.pem
//
// The provider is a file or an https address below .localhost; it is read at each
// sign-on, so the gateway may start later than this.
package main

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"

	"github.com/sallyport/sallyport/deploy/dev/idp"
	"github.com/sallyport/sallyport/deploy/dev/localhost"
	"github.com/sallyport/sallyport/deploy/dev/program"
	"github.com/sallyport/sallyport/deploy/dev/serve"
)

func main() { program.Main("demo-idp", run) }

// options are the flags.
type options struct {
	url, listen, provider, ca string
	signingKey, signingCert   string
	tlsKey, tlsCert           string
	printMetadata             bool
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("demo-idp", flag.ContinueOnError)
	flags.StringVar(&o.url, "url", "", "address that browsers use, https://HOST:PORT")
	flags.StringVar(&o.listen, "listen", "", "address to listen on")
	flags.StringVar(&o.provider, "provider", "", "service provider's metadata: a file or an https address")
	flags.StringVar(&o.ca, "ca", "", "file with the CA certificate of the provider's address")
	flags.StringVar(&o.signingKey, "signing-key", "", "file with the key that signs assertions")
	flags.StringVar(&o.signingCert, "signing-cert", "", "file with its certificate")
	flags.StringVar(&o.tlsKey, "tls-key", "", "file with the key of the listener")
	flags.StringVar(&o.tlsCert, "tls-cert", "", "file with its certificate and chain")
	flags.BoolVar(&o.printMetadata, "print-metadata", false, "write the IdP's metadata to the standard output and end")
	return o, program.Parse(flags, args, stderr)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	opts, err := parse(args, stderr)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	provider, err := newIdP(opts, log)
	if err != nil {
		return err
	}
	if opts.printMetadata {
		data, err := provider.Metadata()
		if err != nil {
			return err
		}
		_, err = stdout.Write(data)
		return err
	}
	pair, err := tls.LoadX509KeyPair(opts.tlsCert, opts.tlsKey)
	if err != nil {
		return fmt.Errorf("reading the listener's certificate: %w", err)
	}
	plain, err := new(net.ListenConfig).Listen(ctx, "tcp", opts.listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	ln := tls.NewListener(plain, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	return serve.Until(ctx, ln, provider, log)
}

func newIdP(o options, log *slog.Logger) (*idp.IdP, error) {
	base, err := url.Parse(o.url)
	if err != nil || base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("reading -url: %q is not https://HOST:PORT", o.url)
	}
	key, cert, err := signingPair(o.signingCert, o.signingKey)
	if err != nil {
		return nil, err
	}
	source, err := providerSource(o.provider, o.ca)
	if err != nil {
		return nil, err
	}
	return idp.New(idp.Config{
		BaseURL: base, Key: key, Certificate: cert,
		Provider: source, Users: idp.DemoUsers(), Log: log,
	})
}

func signingPair(certFile, keyFile string) (crypto.Signer, *x509.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the signing key: %w", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, errors.New("reading the signing key: it cannot sign")
	}
	return key, pair.Leaf, nil
}

func providerSource(provider, ca string) (idp.MetadataSource, error) {
	if !strings.HasPrefix(provider, "https://") {
		return idp.FromFile(provider), nil
	}
	client, err := localhost.Client(ca)
	if err != nil {
		return nil, err
	}
	return idp.FromURL(client, provider), nil
}
