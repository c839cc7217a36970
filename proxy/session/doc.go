// Package session remembers, between two requests, that somebody is signed in
// and which sign-ons and sign-offs are under way. Everything that it remembers about a person
// is sealed into cookies with keys from Vault, so that a restarted gateway or
// another replica knows it with no database; what must happen once only, and
// what was revoked, is remembered in memory for as long as it matters. So are cookies
// that were opened, to open them once, and what is under way for each session, to end
// with it.
//
// It is not about SAML, routes or pages, and writes no response but Set-Cookie
// headers.
//
// Hostile input: every cookie and every token of a URL. Whatever does not open
// under our keys, for exactly this purpose and this host, is as good as absent.
// Output: a [State], a [Ticket], a [Begin], a [Pending] or a [Remote].
//
// Cookies follow RFC 6265bis: all carry the __Host- prefix, Secure and HttpOnly,
// so that neither a tool nor a neighbouring host can set or read them.
package session
