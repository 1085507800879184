package term

import (
	"math"
	"strconv"
	"strings"
	"time"

	"bramble/fault"
)

// ParseBytes reads an amount of memory or disk: "512M", "1.5GiB", "64k", "1048576".
// K, M, G and T mean powers of 1024 with or without B and iB, as in Slurm and
// Docker. The error is fault.Misused.
func ParseBytes(text string) (int64, error) {
	bad := fault.New(fault.Misused, "%q is not an amount of bytes", text).Hint("a number and a unit, such as 512M or 1.5GiB")
	number, unit := splitUnit(text)
	value, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, bad
	}
	unit = strings.ToLower(unit)
	scale := 0
	if unit != "" && unit != "b" {
		scale = strings.IndexByte("kmgtpe", unit[0]) + 1
		switch unit[1:] {
		case "", "b", "ib":
		default:
			return 0, bad
		}
		if scale == 0 {
			return 0, bad
		}
	}
	value *= math.Pow(1024, float64(scale))
	if value >= math.MaxInt64 {
		return 0, fault.New(fault.Misused, "%q is more than can be counted", text).Hint("a smaller amount, such as 512M")
	}
	return int64(math.Round(value)), nil
}

// splitUnit parts "1.5 GiB" into "1.5" and "GiB".
func splitUnit(text string) (number, unit string) {
	text = strings.TrimSpace(text)
	end := len(text) - len(strings.TrimLeft(text, "0123456789."))
	return text[:end], strings.TrimSpace(text[end:])
}

// ParseDuration reads a span of time: "90s", "2h", "1h30m", "4d", "2 min 5 s", and
// Slurm's "MM:SS", "HH:MM:SS", "D-HH", "D-HH:MM" and "D-HH:MM:SS". A bare number
// is refused, being minutes to Slurm and seconds to most. The error is fault.Misused.
func ParseDuration(text string) (time.Duration, error) {
	trimmed := strings.TrimSpace(text)
	parse := parseUnits
	if strings.ContainsAny(trimmed, ":-") {
		parse = parseClock
	}
	seconds, ok := parse(trimmed)
	switch {
	case !ok && isNumber(trimmed):
		return 0, fault.New(fault.Misused, "%q has no unit", text).Hint("%ss for seconds, %sm for minutes", trimmed, trimmed)
	case !ok:
		return 0, fault.New(fault.Misused, "%q is not a span of time", text).Hint("such as 90s, 2h, 4d or 1-12:00:00")
	case seconds >= math.MaxInt64/1e9:
		return 0, fault.New(fault.Misused, "%q is longer than can be counted", text).Hint("less than 290 years")
	}
	return time.Duration(math.Round(seconds * 1e9)), nil
}

func isNumber(text string) bool {
	number, unit := splitUnit(text)
	return number != "" && unit == ""
}

// secondsIn is the length of a unit in seconds, or 0.
func secondsIn(unit string) float64 {
	switch strings.ToLower(unit) {
	case "ms":
		return 0.001
	case "s", "sec":
		return 1
	case "m", "min":
		return 60
	case "h":
		return 3600
	case "d":
		return 86400
	}
	return 0
}

// parseUnits reads numbers, each with its unit.
func parseUnits(text string) (seconds float64, ok bool) {
	for text != "" {
		number, rest := splitUnit(text)
		end := strings.IndexAny(rest, "0123456789. ")
		if end < 0 {
			end = len(rest)
		}
		value, err := strconv.ParseFloat(number, 64)
		unit := secondsIn(rest[:end])
		if err != nil || unit == 0 {
			return 0, false
		}
		seconds += value * unit
		text = strings.TrimSpace(rest[end:])
		ok = true
	}
	return seconds, ok
}

// parseClock reads Slurm's forms: after days the fields are hours, minutes and
// seconds from the left, without days they end with the seconds.
func parseClock(text string) (seconds float64, ok bool) {
	days, clock, hasDays := strings.Cut(text, "-")
	if !hasDays {
		days, clock = "0", text
	}
	fields := strings.Split(clock, ":")
	if len(fields) > 3 {
		return 0, false
	}
	sizes := []float64{3600, 60, 1}
	if !hasDays {
		sizes = sizes[3-len(fields):]
	}
	n, err := strconv.ParseUint(days, 10, 32)
	if err != nil {
		return 0, false
	}
	seconds = float64(n) * 86400
	for i, field := range fields {
		n, err := strconv.ParseUint(field, 10, 32)
		if err != nil {
			return 0, false
		}
		seconds += float64(n) * sizes[i]
	}
	return seconds, true
}
