package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/config"
	"github.com/sallyport/sallyport/saml"
)

// maxInspected bounds what is read to be explained: metadata is the largest.
const maxInspected = metadataBytes

// inspectFlags say what a document is held against.
type inspectFlags struct {
	metadata, entity, config string
	values                   bool
}

// inspectCommand explains a document that somebody has saved; nobody is asked.
func inspectCommand(std stdio) *cobra.Command {
	var flags inspectFlags
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Explain a metadata document or a captured response, offline",
		Long: `Explain a metadata document or a captured response, offline: what it says, and what
a gateway would refuse, all at once. FILE is "-" for the standard input. A response
is XML, its base64, or the form that the browser posted, as its developer tools show
it; which one it is shows by itself. What is in an encrypted assertion only the
gateway can read: "sallyport saml trace" has the checks that it made.

With --metadata, signatures are verified by the identity provider's metadata, and
with --config, audience and addresses are held against a gateway's configuration;
else a response is held against what it says itself. Values of a person are left
out unless --values is given. The exit code is 1 if anything needs attention.`,
		Args: func(_ *cobra.Command, args []string) error {
			switch err := fmt.Errorf("%d files, expected one, or - for the standard input", len(args)); {
			case len(args) == 0 && flags.metadata != "":
				return &hinted{usageError{err}, "--metadata goes with a response; to explain the metadata itself: sallyport saml inspect " + flags.metadata}
			case len(args) != 1:
				return usageError{err}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := readInspected(std, args[0])
			if err != nil {
				return err
			}
			found, err := flags.inspect(text, time.Now())
			if err != nil {
				return err
			}
			if _, err := found.WriteTo(std.Out); err != nil {
				return err
			}
			if n := found.Problems(); n > 0 {
				return fmt.Errorf("%s attention", needing(n))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&flags.metadata, "metadata", "", "`FILE` with the identity provider's metadata, for a response")
	cmd.Flags().StringVar(&flags.entity, "idp-entity-id", "", "`URI` of the identity provider, for metadata of several")
	cmd.Flags().StringVar(&flags.config, "config", "", "the gateway's configuration `FILE`, for a response")
	cmd.Flags().BoolVar(&flags.values, "values", false, "show the subject and the values of attributes")
	return cmd
}

// needing says how many lines need something.
func needing(lines int) string {
	if lines == 1 {
		return "1 line needs"
	}
	return fmt.Sprintf("%d lines need", lines)
}

// readInspected reads a file that may be anything, or the standard input.
func readInspected(std stdio, name string) ([]byte, error) {
	if name != "-" {
		text, err := readPublicFile(name, maxInspected)
		if err != nil {
			return nil, usageError{err}
		}
		return text, nil
	}
	text, err := io.ReadAll(io.LimitReader(std.In, maxInspected+1))
	if err == nil && len(text) > maxInspected {
		err = fmt.Errorf("more than %d bytes", maxInspected)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the standard input: %w", err)
	}
	return text, nil
}

// looksLikeMetadata is the root of a metadata document, behind what may stand before
// it.
var looksLikeMetadata = regexp.MustCompile(`^\x{feff}?\s*(?:<\?[^>]*>\s*|<!--(?s:.*?)-->\s*)*<(?:[\w.-]+:)?(?:EntityDescriptor|EntitiesDescriptor)[\s>]`)

// inspect explains text as of now.
func (f inspectFlags) inspect(text []byte, now time.Time) (saml.Inspection, error) {
	if looksLikeMetadata.Match(text) {
		return saml.InspectMetadata(text, now), nil
	}
	against := saml.ResponseInspection{IdPEntityID: f.entity, KeysElsewhere: true, Values: f.values}
	if f.metadata != "" {
		metadata, err := os.ReadFile(f.metadata)
		if err != nil {
			return saml.Inspection{}, usageError{fmt.Errorf("reading the identity provider's metadata: %w", err)}
		}
		against.IdPMetadata = metadata
	}
	if f.config != "" {
		text, err := source(f.config).readFile()
		if err != nil {
			return saml.Inspection{}, err
		}
		gateway, err := config.LoadGateway(f.config, text)
		if err != nil {
			return saml.Inspection{}, err
		}
		against.EntityID, against.ACSURL, against.ClockSkew = gateway.SAML.EntityID, gateway.ACSURL(), gateway.SAML.ClockSkew.Duration
	}
	return saml.InspectResponse(text, against), nil
}
