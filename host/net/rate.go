package hostnet

import (
	"fmt"
	"strconv"
	"strings"

	"bramble/fault"
)

// Rate is a link's speed in bits per second; 0 is unshaped.
type Rate uint64

const (
	minRate Rate = 8_000           // below it, the shaper's clock overflows
	maxRate Rate = 100_000_000_000 // above it, its queue does
)

var rateUnits = []struct {
	suffix string
	factor float64
}{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}

// ParseRate reads a speed such as 100mbit, 2.5gbit or 10mbit/s; fault.Misused for anything else.
func ParseRate(text string) (Rate, error) {
	s := strings.TrimSuffix(strings.ToLower(strings.TrimSpace(text)), "/s")
	for _, unit := range rateUnits {
		number, ok := strings.CutSuffix(s, unit.suffix)
		if !ok {
			continue
		}
		value, err := strconv.ParseFloat(number, 64)
		if err != nil || strings.Trim(number, "0123456789.") != "" {
			break
		}
		rate := Rate(min(value*unit.factor, float64(maxRate)+1))
		if rate < minRate || rate > maxRate {
			return 0, fault.New(fault.Misused, "a link of %s cannot be imitated", text).Hint("a rate from %s to %s", minRate, maxRate)
		}
		return rate, nil
	}
	return 0, fault.New(fault.Misused, "%q is not the speed of a link", text).Hint("100mbit or 1gbit")
}

// String is the form that ParseRate reads, in the largest unit that keeps it whole.
func (r Rate) String() string {
	for _, unit := range rateUnits {
		if factor := Rate(unit.factor); r > 0 && r%factor == 0 {
			return fmt.Sprintf("%d%s", r/factor, unit.suffix)
		}
	}
	return "unshaped"
}

// MarshalText writes "" for an unshaped link.
func (r Rate) MarshalText() ([]byte, error) {
	if r == 0 {
		return nil, nil
	}
	return []byte(r.String()), nil
}

// UnmarshalText reads what MarshalText wrote and what people type as a flag.
func (r *Rate) UnmarshalText(text []byte) (err error) {
	if *r = 0; len(text) > 0 {
		*r, err = ParseRate(string(text))
	}
	return err
}
