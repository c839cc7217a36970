package header

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Identity is what is known about a signed-in person. The zero value sets no header
// at all.
type Identity struct {
	// User is the name that policy and log use, usually the e-mail address.
	User string
	// Email may be empty when the identity provider sends none.
	Email string
	// Name is the display name; it may hold any letters, and be another person's too.
	Name string
	// Groups are released in this order.
	Groups []string
}

// Format says how the backends of a route are told who somebody is. The zero value
// tells no group, under the names of [XForwarded].
type Format struct {
	// Profiles are the sets of names that are used; nil for [XForwarded] alone. No two
	// names are the same in any spelling, and each is [Settable].
	Profiles []Profile
	// Values says how what cannot stand in a header is written.
	Values Values
	// Groups are the names of the groups that are released, AllGroups releases all.
	Groups    []string
	AllGroups bool
	// Foreign are names that other routes set: nobody may send them here either, since
	// one tool may stand behind several routes.
	Foreign []string
}

// Template is a Format that was checked: it makes one [Card] for each person, and
// strips from requests what only such cards may say. It is immutable and safe for
// concurrent use.
type Template struct {
	fields []field
	own    []string // folded names beside the global list that no client may set
	values Values
	groups map[string]bool // nil for all
}

// field is one header of a card.
type field struct {
	name      string // canonical
	of        aspect
	separator Separator
	listed    bool // the sidecar has to be told that it is carried
}

// aspect is what a field tells.
type aspect uint8

const (
	aspectUser aspect = iota
	aspectEmail
	aspectName
	aspectGroups
)

// NewTemplate checks f. The error names the header that is at fault.
func NewTemplate(f Format) (*Template, error) {
	t := &Template{values: f.Values}
	if !f.AllGroups {
		t.groups = make(map[string]bool, len(f.Groups))
		for _, group := range f.Groups {
			t.groups[group] = true
		}
	}
	profiles := f.Profiles
	if profiles == nil {
		standard, _ := ProfileOf(XForwarded)
		profiles = []Profile{standard}
	}
	for _, p := range profiles {
		if err := t.add(p); err != nil {
			return nil, err
		}
	}
	for _, name := range f.Foreign {
		t.guard(name)
	}
	return t, nil
}

// add adds the fields of one profile.
func (t *Template) add(p Profile) error {
	if p.Separator == "" {
		p.Separator = Comma
	}
	if !slices.Contains(Separators(), p.Separator) {
		return fmt.Errorf("group separator %q, expected one of %q", p.Separator, Separators())
	}
	for _, f := range []field{
		{name: p.User, of: aspectUser}, {name: p.ID, of: aspectUser}, {name: p.Email, of: aspectEmail}, {name: p.Name, of: aspectName},
		{name: p.Groups, of: aspectGroups, separator: p.Separator},
	} {
		if f.name == "" {
			continue
		}
		if err := Settable(f.name); err != nil {
			return fmt.Errorf("header %q cannot tell who somebody is: %w", f.name, err)
		}
		f.name = canonical(f.name)
		if slices.ContainsFunc(t.fields, func(other field) bool { return other.name == f.name }) {
			return fmt.Errorf("header %q is set twice", f.name)
		}
		f.listed = !slices.Contains(carried[:], f.name) || f.separator == Lines
		t.fields = append(t.fields, f)
		t.guard(f.name)
	}
	return nil
}

// guard has requests stripped of name, if they are not already.
func (t *Template) guard(name string) {
	folded := string(fold(nil, name))
	if !Managed(name) && !slices.Contains(t.own, folded) {
		t.own = append(t.own, folded)
	}
}

// Strip is the function [Strip] that also removes what only cards of this route, and of
// those that its Format names, may say. It is for the trailers of a request as well.
func (t *Template) Strip(h http.Header) (removed int) {
	if len(t.own) == 0 {
		return Strip(h)
	}
	for name := range h {
		if t.Guards(name) {
			delete(h, name)
			removed++
		}
	}
	return removed
}

// Names are the headers that cards may set, in canonical spelling.
func (t *Template) Names() []string {
	names := make([]string, len(t.fields))
	for i, f := range t.fields {
		names[i] = f.name
	}
	return names
}

// Guards reports whether Strip would remove a header of that name.
func (t *Template) Guards(name string) bool {
	return !harmless(name) && (Managed(name) || !plain(name) || t.guards(name))
}

func (t *Template) guards(name string) bool {
	var buf [maxName]byte
	if len(name) > maxName {
		return false
	}
	folded := fold(buf[:0], name)
	for _, own := range t.own {
		if string(folded) == own {
			return true
		}
	}
	return false
}

// ValueError says that something about a person cannot be told under [Refuse].
type ValueError struct {
	// Name is the header that would tell it.
	Name string
}

// Error names the header, never the value.
func (e *ValueError) Error() string {
	return fmt.Sprintf("value of header %s has bytes that cannot stand there as they are", e.Name)
}

// Card is what the backends of one route are told about one person. It is immutable, and
// safe for concurrent use: whoever has it may set it in any number of requests.
type Card struct {
	lines   []line
	private []line // for the sidecar
}

// line is a header; without values it is absent.
type line struct {
	name   string
	values []string
}

// Card makes that of id. What is empty stays absent, whatever the client has sent. The
// error is a [*ValueError].
func (t *Template) Card(id Identity) (*Card, error) {
	c := &Card{lines: make([]line, 0, len(t.fields))}
	groups := t.Released(id.Groups)
	var set []string
	var user string
	for _, f := range t.fields {
		values, changed := t.write(f, id, groups)
		if changed && t.values == Refuse {
			return nil, &ValueError{Name: f.name}
		}
		c.lines = append(c.lines, line{f.name, values})
		if len(values) == 0 {
			continue
		}
		if f.name == User {
			user = values[0]
		}
		switch {
		case len(values) > 1:
			set = append(set, f.name+"="+strconv.Itoa(len(values)))
		case f.listed:
			set = append(set, f.name)
		}
	}
	if len(set) > 0 {
		c.private = append(c.private, line{SetNames, []string{strings.Join(set, ",")}})
	}
	if who := Encode(id.User); who != user {
		c.private = append(c.private, line{Person, []string{who}})
	}
	return c, nil
}

// write returns the values of one field.
func (t *Template) write(f field, id Identity, groups []string) (values []string, changed bool) {
	var text string
	switch f.of {
	case aspectUser:
		text = id.User
	case aspectEmail:
		text = id.Email
	case aspectName:
		text = id.Name
	case aspectGroups:
		return t.writeGroups(f.separator, groups)
	}
	if text == "" {
		return nil, false
	}
	written, changed := t.values.write(text, "")
	return []string{written}, changed
}

// writeGroups joins the names. A separator within one (distinguished names have commas)
// must not read as two groups.
func (t *Template) writeGroups(separator Separator, groups []string) (values []string, changed bool) {
	if len(groups) == 0 {
		return nil, false
	}
	escape := separator
	if separator == Lines {
		escape = Comma
	}
	names := make([]string, len(groups))
	for i, group := range groups {
		written, isChanged := t.values.write(group, string(escape))
		names[i], changed = written, changed || isChanged
	}
	if separator == Lines {
		return names, changed
	}
	return []string{strings.Join(names, string(separator))}, changed
}

// Released returns those of groups that the route's backends may know of.
func (t *Template) Released(groups []string) []string {
	var out []string
	for _, group := range groups {
		if group != "" && (t.groups == nil || t.groups[group]) {
			out = append(out, group)
		}
	}
	return out
}

// Set replaces in h everything that the card tells, and tells the sidecar what it has
// to carry. The values are shared and must not be changed. h was stripped before.
func (c *Card) Set(h http.Header) {
	c.Tell(h)
	for _, l := range c.private {
		h[l.name] = l.values
	}
}

// Tell is Set without what is for a sidecar: for whoever hands the answer on himself.
func (c *Card) Tell(h http.Header) {
	for _, l := range c.lines {
		if len(l.values) == 0 {
			delete(h, l.name)
		} else {
			h[l.name] = l.values
		}
	}
}
