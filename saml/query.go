package saml

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"io"
	"net/url"
	"strings"
)

// redirectQuery is a message as HTTP-Redirect brings it (saml-bindings 3.4.4.1),
// read but not verified. Its signature is over octets of the query as they came,
// percent signs and all: a reader that decodes them, and encodes them again to
// verify, believes one text and verifies another (CVE-2025-31335). Here every
// value was decoded once, from the very octets that signature.signed holds.
type redirectQuery struct {
	isRequest  bool
	packed     string // the message, deflated, in base64
	relayState string
	algorithm  string // SigAlg
	signature  signature
}

// queryNames are the parameters that the binding has. No others are let in: nobody
// signs them, and our address has none of its own.
var queryNames = map[string]bool{
	"SAMLRequest": true, "SAMLResponse": true, "RelayState": true,
	"SigAlg": true, "Signature": true, "SAMLEncoding": true,
}

// encodingDeflate is the one encoding there is, and what the lack of SAMLEncoding
// means.
const encodingDeflate = "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE"

// readQuery takes a raw query apart.
func readQuery(raw string) (*redirectQuery, error) {
	fields, err := splitQuery(raw)
	if err != nil {
		return nil, err
	}
	message, isRequest := "SAMLResponse", fields["SAMLRequest"] != ""
	if isRequest {
		message = "SAMLRequest"
	}
	if (fields["SAMLResponse"] != "") == isRequest {
		return nil, refusef(CodeQuery, "query with both a SAMLRequest and a SAMLResponse, or neither")
	}
	if fields["SigAlg"] == "" || fields["Signature"] == "" {
		return nil, refusef(CodeUnsigned, "query without a SigAlg and a Signature")
	}
	values, err := decodeFields(fields)
	if err != nil {
		return nil, err
	}
	if encoding, ok := values["SAMLEncoding"]; ok && encoding != encodingDeflate {
		return nil, refusef(CodeQuery, "SAMLEncoding %.100q, expected DEFLATE or none", encoding)
	}
	if err := checkRelayState(values["RelayState"]); err != nil {
		return nil, refusef(CodeRelayState, "checking RelayState: %w", err)
	}
	q := &redirectQuery{isRequest: isRequest, packed: values[message], relayState: values["RelayState"], algorithm: values["SigAlg"]}
	if q.signature, err = querySignature(values["SigAlg"], values["Signature"]); err != nil {
		return nil, err
	}
	q.signature.signed = signedOctets(fields, message)
	return q, nil
}

// splitQuery returns the parameters as they came, each with its name and '='. A
// name counts only as it is written in the specification: one in other letters, or
// with percent signs, is what another reader might take for it.
func splitQuery(raw string) (map[string]string, error) {
	if len(raw) > maxQuerySize {
		return nil, refusef(CodeQuery, "query of %d bytes, at most %d are allowed", len(raw), maxQuerySize)
	}
	fields := map[string]string{}
	for field := range strings.SplitSeq(raw, "&") {
		name, _, ok := strings.Cut(field, "=")
		if !ok || !queryNames[name] {
			return nil, refusef(CodeQuery, "query with the parameter %.100q", field)
		}
		if fields[name] != "" {
			return nil, refusef(CodeQuery, "query with two of %s", name)
		}
		fields[name] = field
	}
	return fields, nil
}

// decodeFields decodes each value, once. A '+' stands for a blank, as in every
// form: whoever sends base64 with a bare '+' in it sends something else.
func decodeFields(fields map[string]string) (map[string]string, error) {
	values := make(map[string]string, len(fields))
	for name, field := range fields {
		value, err := url.QueryUnescape(field[len(name)+1:])
		if err != nil {
			return nil, refusef(CodeQuery, "decoding %s: %.100q", name, err.Error())
		}
		values[name] = value
	}
	return values, nil
}

// signedOctets puts together what was signed: the order is fixed, whatever the
// order in the query was. A RelayState that is there and empty was signed as such.
func signedOctets(fields map[string]string, message string) []byte {
	signed := fields[message]
	if state := fields["RelayState"]; state != "" {
		signed += "&" + state
	}
	return []byte(signed + "&" + fields["SigAlg"])
}

// querySignature reads the signature: algorithm and value.
func querySignature(algorithm, encoded string) (signature, error) {
	method, ok := signatureMethods[algorithm]
	if !ok {
		return signature{}, refusef(CodeAlgorithm, "signature algorithm %.100q of the query is not allowed", algorithm)
	}
	value, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return signature{}, refusef(CodeEncoding, "decoding the signature of the query: %w", err)
	}
	return signature{algorithm: method, value: value}, nil
}

// unpack returns the message.
func (q *redirectQuery) unpack() ([]byte, error) {
	packed, err := base64.StdEncoding.Strict().DecodeString(q.packed)
	if err != nil {
		return nil, refusef(CodeEncoding, "decoding base64: %w", err)
	}
	return inflate(packed)
}

// inflate undoes [deflate], within limits: of the size, and of how much larger it
// may get, because XML does not shrink to a hundredth. Nothing may follow.
func inflate(packed []byte) ([]byte, error) {
	limit := min(maxLogoutSize, maxInflation*len(packed))
	source := bytes.NewReader(packed)
	raw, err := io.ReadAll(io.LimitReader(flate.NewReader(source), int64(limit)+1))
	switch {
	case err != nil:
		return nil, refusef(CodeEncoding, "inflating the message: %w", err)
	case len(raw) > limit:
		return nil, refusef(CodeXMLLimit, "message of %d bytes inflates to more than %d", len(packed), limit)
	case source.Len() > 0:
		return nil, refusef(CodeEncoding, "%d bytes after the end of the deflated message", source.Len())
	}
	return raw, nil
}
