package auditpage

import (
	"context"
	"net/url"
)

// maxDenials is how many kinds of denials a page shows.
const maxDenials = 200

// denials is the page of denials by reason and rule.
type denials struct {
	Form    form
	Chips   []chip
	Kinds   []denialRow
	Extent  Extent
	Started bool
}

// denialRow is one kind of denials, and where they are found.
type denialRow struct {
	Denial
	Times, Seen, At string
	URL             string
	Share           int // of the most frequent kind, in percent
}

// denials fills that page.
func (v *visit) denials(ctx context.Context) (title string, data any, err error) {
	out := denials{Form: v.form(ctx), Chips: v.chips()}
	if out.Extent, err = v.page.cfg.Store.Extent(ctx); err != nil {
		return "", nil, err
	}
	out.Started = out.Extent.Count > 0
	if len(v.asked.faults) > 0 {
		return "Denials", out, nil
	}
	kinds, err := v.page.cfg.Store.Denials(ctx, &v.asked.Search, maxDenials)
	if err != nil {
		return "", nil, err
	}
	for _, k := range kinds {
		out.Kinds = append(out.Kinds, denialRow{
			Denial: k, Times: grouped(int64(k.Count)), Seen: k.Last.UTC().Format("2006-01-02 15:04:05"), At: k.Last.UTC().Format("2006-01-02T15:04:05Z"),
			URL: v.page.address(pathSearch, v.kindQuery(k)), Share: max(1, k.Count*100/kinds[0].Count),
		})
	}
	return "Denials", out, nil
}

// kindQuery looks for the denials of one kind, within what was looked for.
func (v *visit) kindQuery(k Denial) string {
	only := asked{values: url.Values{}}
	for name, given := range v.asked.values {
		only.values[name] = given
	}
	only.values.Set(paramDecision, "deny")
	for param, value := range map[string]string{paramReason: k.Reason, paramRule: k.Rule, paramTool: k.Tool} {
		if value != "" {
			only.values.Set(param, value)
		}
	}
	return only.values.Encode()
}
