package index

import (
	"github.com/sallyport/sallyport/proxy/accesslog/audit"
)

// scratch is memory that is used again for block after block, by one goroutine.
type scratch struct {
	times, offsets, lengths, sequences []int64
	rows                               []uint16
	meets                              []bool
}

// pick returns the rows of a block that a matcher asks for, but for their text. They
// are valid until the next call, as are the times.
func (s *scratch) pick(b *block, matcher *audit.Matcher, first, last int64) (rows []uint16, err error) {
	rows = s.rows[:0]
	for i := range b.rows {
		rows = append(rows, uint16(i))
	}
	s.rows = rows
	for _, c := range matcher.Conditions() {
		if rows, err = s.narrow(b, rows, c); err != nil || len(rows) == 0 {
			return nil, err
		}
	}
	if s.times, err = b.numbers(s.times, columnTime); err != nil {
		return nil, err
	}
	if b.first >= first && b.last <= last {
		return rows, nil
	}
	kept := rows[:0]
	for _, row := range rows {
		if t := s.times[row]; t >= first && t <= last {
			kept = append(kept, row)
		}
	}
	return kept, nil
}

// narrow leaves the rows that meet a condition: each different value is judged once.
func (s *scratch) narrow(b *block, rows []uint16, c audit.Condition) ([]uint16, error) {
	texts, err := b.texts(c.Field)
	if err != nil {
		return nil, err
	}
	s.meets = s.meets[:0]
	some := false
	for _, value := range texts.values {
		meets := c.Match(string(value))
		s.meets, some = append(s.meets, meets), some || meets
	}
	if !some {
		return nil, nil
	}
	kept := rows[:0]
	for _, row := range rows {
		if s.meets[texts.code(int(row))] {
			kept = append(kept, row)
		}
	}
	return kept, nil
}
