// Package audit answers what people ask of the access log: who opened this tool,
// what did this person do, whom did a rule turn away. It has the words for it, a
// [Filter], and what is answered, an [Entry]; package index finds entries in many
// large files, package report sums them up, and package join lines them up with
// Vault's own log. Whether the log is whole is package verify's to say.
//
// Hostile input: files are what whoever could write to them made of them, and most
// values of an honest record come from a stranger. A line that is no record is
// passed over and counted; an Entry's values are as long as a line allows, and have
// in them whatever their line escaped.
//
// Output: entries, each with the very bytes of its line.
package audit
