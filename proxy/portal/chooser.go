package portal

import "net/http"

// Chooser is the page on which a person says who shall sign them in.
type Chooser struct {
	Tool string // its title, if it is known what for; may be empty
	// Choices are the identity providers, in the order in which they stand.
	Choices []Choice
	// AskAddress offers a field for the e-mail address, by whose domain the identity
	// provider is found. It is sent to Action as login_hint, by GET, with Fields.
	AskAddress bool
	Action     string
	Fields     []Field
	// Unknown says that no identity provider was found by the address, and Address is
	// what was typed, to be corrected.
	Unknown bool
	Address string
}

// Choice is one identity provider.
type Choice struct {
	Title, URL string
	Last       bool // it was used last
}

// WriteChooser answers with the page.
func (p *Pages) WriteChooser(w http.ResponseWriter, c Chooser) error {
	return p.write(w, http.StatusOK, p.common+p.ordinary+noFrames, "chooser.html", c)
}
