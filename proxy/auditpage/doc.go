// Package auditpage is the page on which auditors look through the access log of the
// gateway that they have reached: search, timelines, denials, what happens now, and
// whether the log is whole. It only reads, and every address of it is asked for by GET.
//
// It knows no session and lets nobody in: whoever calls [Page.Serve] has decided that
// the person may, ends the request when that is over, and writes down what was looked
// for.
//
// Hostile input: the query, which becomes a [Search] or is refused; and every value of a
// record, since strangers send them. Values reach a page through html/template alone,
// and a spreadsheet behind a mark that keeps it from computing.
//
// Nothing here is waited for by a request of anybody else's: records are offered, and
// dropped and counted where there is no room; searches are bounded in number, in time
// and in what they return.
package auditpage
