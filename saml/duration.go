package saml

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxDuration is what a longer one counts as.
const maxDuration = 10 * 365 * 24 * time.Hour

// xsDuration is xs:duration (xmlschema-2 3.2.6) without a sign: the durations of
// metadata are none of the past. The number of digits is bounded, which the
// standard leaves to us.
var xsDuration = regexp.MustCompile(`^P(?:(\d{1,9})Y)?(?:(\d{1,9})M)?(?:(\d{1,9})D)?(T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})(?:\.\d{1,9})?S)?)?$`)

// durationUnits are those of xsDuration's groups. A year and a month are the
// shortest that there are: what may be kept for a month may be kept for 28 days.
var durationUnits = map[int]time.Duration{
	1: 365 * 24 * time.Hour, 2: 28 * 24 * time.Hour, 3: 24 * time.Hour,
	5: time.Hour, 6: time.Minute, 7: time.Second,
}

// parseDuration reads xs:duration to the second. The result is at most
// [maxDuration].
func parseDuration(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	groups := xsDuration.FindStringSubmatch(s)
	if groups == nil || s == "P" || groups[4] == "T" {
		return 0, fmt.Errorf("duration %.100q, expected a form like PT6H or P1D", s)
	}
	var total time.Duration
	for i, unit := range durationUnits {
		n, err := strconv.ParseInt(groups[i], 10, 64)
		if err != nil {
			continue // the unit is not there
		}
		if n > int64(maxDuration/unit) {
			return maxDuration, nil
		}
		total += time.Duration(n) * unit
	}
	return min(total, maxDuration), nil
}
