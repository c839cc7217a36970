package saml

import (
	"bytes"
	"encoding/xml"
	"net/http"
)

// ReadLogout reads what came to the single logout service: a query (HTTP-Redirect)
// or a form (HTTP-POST). A body that is too large closes the connection. The error
// is a *[Refusal].
func ReadLogout(w http.ResponseWriter, r *http.Request) (LogoutMessage, error) {
	read := readLogoutForm
	switch r.Method {
	case http.MethodGet:
		read = readLogoutQuery
	case http.MethodPost:
	default:
		return LogoutMessage{}, refusef(CodeMethod, "method %.20q, expected GET or POST", r.Method)
	}
	m, err := read(w, r)
	if err != nil {
		return LogoutMessage{}, err
	}
	if err := checkStream(m.raw, logoutLimits()); err != nil {
		return LogoutMessage{}, err
	}
	m.Issuer = issuerIn(m.raw)
	return m, nil
}

// readLogoutQuery reads HTTP-Redirect. A body counts for nothing.
func readLogoutQuery(_ http.ResponseWriter, r *http.Request) (LogoutMessage, error) {
	query, err := readQuery(r.URL.RawQuery)
	if err != nil {
		return LogoutMessage{}, err
	}
	raw, err := query.unpack()
	if err != nil {
		return LogoutMessage{}, err
	}
	return LogoutMessage{IsRequest: query.isRequest, RelayState: query.relayState, raw: raw, query: query}, checkBeginning(raw)
}

// readLogoutForm reads HTTP-POST. There is no query at such an address, so that
// nobody has to know which of two messages counts.
func readLogoutForm(w http.ResponseWriter, r *http.Request) (LogoutMessage, error) {
	if r.URL.RawQuery != "" {
		return LogoutMessage{}, refusef(CodeQuery, "form posted with the query %.100q", r.URL.RawQuery)
	}
	form, err := readForm(w, r, maxLogoutBody)
	if err != nil {
		return LogoutMessage{}, err
	}
	requests := form[fieldRequest]
	messages := append(requests[:len(requests):len(requests)], form[fieldResponse]...)
	if len(messages) != 1 || messages[0] == "" {
		return LogoutMessage{}, refusef(CodeForm, "%d SAMLRequest and SAMLResponse fields, expected one that is not empty", len(messages))
	}
	m := LogoutMessage{IsRequest: len(requests) == 1}
	if m.RelayState, err = relayStateOf(form); err != nil {
		return LogoutMessage{}, err
	}
	m.raw, err = decodeResponse(messages[0])
	return m, err
}

// issuerIn returns the Issuer of a message, which has passed the stream gate; empty
// if its first element is something else, or no name at all. Nothing but the choice
// of who judges the message depends on it: that is where it is compared.
func issuerIn(raw []byte) string {
	dec := xml.NewDecoder(bytes.NewReader(raw))
	opened := 0
	for {
		token, err := dec.Token()
		if err != nil {
			return "" // the end
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if opened++; opened < 2 {
			continue
		}
		if start.Name != (xml.Name{Space: nsAssertion, Local: "Issuer"}) {
			return ""
		}
		// The stream gate lets nothing through that could stand between two pieces
		// of text.
		token, err = dec.Token()
		if text, ok := token.(xml.CharData); err == nil && ok && checkEntityID(string(text)) == nil {
			return string(text)
		}
		return ""
	}
}
