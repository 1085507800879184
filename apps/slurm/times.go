package slurm

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"bramble/fault"
	"bramble/job"
)

// maxLimit is the longest time limit that is read; Slurm's own is 2³² minutes.
const maxLimit = 100 * 365 * 24 * time.Hour

// limit reads --time.
func (b *Batch) limit(s string) (err error) {
	b.Spec.Timeout, err = ParseLimit(s)
	return err
}

// ParseLimit reads a time limit as Slurm has it: minutes, minutes:seconds, hours:minutes:seconds, days-hours,
// days-hours:minutes and days-hours:minutes:seconds. 0 is no limit.
func ParseLimit(s string) (time.Duration, error) {
	if slices.Contains([]string{"-1", "infinite", "unlimited"}, strings.ToLower(s)) {
		return 0, nil
	}
	days, rest, dashed := strings.Cut(s, "-")
	if !dashed {
		days, rest = "0", s
	}
	parts := strings.Split(rest, ":")
	units := []time.Duration{time.Minute, time.Second}
	if dashed || len(parts) == 3 {
		units = []time.Duration{time.Hour, time.Minute, time.Second}
	}
	total, ok := amount(days, 24*time.Hour)
	if len(parts) > len(units) {
		ok = false
	}
	for i := 0; ok && i < len(parts); i++ {
		var d time.Duration
		d, ok = amount(parts[i], units[i])
		total += d
	}
	if !ok || total > maxLimit {
		return 0, fault.New(fault.Misused, "%q is no time limit", clip(s)).Hint("--time=30 for minutes, 1:30:00, or 2-12 for two days and twelve hours")
	}
	return total, nil
}

// amount is so many of a unit.
func amount(digits string, unit time.Duration) (time.Duration, bool) {
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > uint64(maxLimit/unit) {
		return 0, false
	}
	return time.Duration(n) * unit, true
}

// begin reads --begin.
func (b *Batch) begin(s string) (err error) {
	b.Spec.Begin, err = parseBegin(s, b.now)
	return err
}

// parseBegin reads when a job may begin: now+1hour, 16:00, 4pm, tomorrow, 2026-12-24T18:00, 12/24, in any
// order of day and time. A time of day that has passed is tomorrow's, a date without a year the next such one.
func parseBegin(s string, now time.Time) (time.Time, error) {
	wrong := fault.New(fault.Misused, "%q is no time to begin at", clip(s)).Hint("--begin=16:00, now+1hour, tomorrow, or 2026-12-24T18:00")
	words := strings.Fields(strings.NewReplacer(" am", "am", " pm", "pm").Replace(strings.ToLower(s)))
	if rest, ok := strings.CutPrefix(strings.Join(words, ""), "now"); ok {
		d, ok := later(rest)
		if !ok {
			return time.Time{}, wrong
		}
		return now.Add(d), nil
	}
	w := when{now: now}
	for _, word := range words {
		day, clock, both := strings.Cut(word, "t")
		if both && day != "" && isDigit(day[0]) && strings.Contains(day, "-") {
			if !w.date(day) || !w.clock(clock) {
				return time.Time{}, wrong
			}
		} else if !w.clock(word) && !w.date(word) {
			return time.Time{}, wrong
		}
	}
	if !w.dated && !w.timed {
		return time.Time{}, wrong
	}
	return w.time(), nil
}

// later reads what may follow "now": nothing, or + and a count of a unit.
func later(s string) (time.Duration, bool) {
	if s == "" {
		return 0, true
	}
	s, ok := strings.CutPrefix(s, "+")
	unit := strings.TrimLeft(s, "0123456789")
	digits := s[:len(s)-len(unit)]
	if !ok {
		return 0, false
	}
	for name, d := range map[string]time.Duration{"seconds": time.Second, "minutes": time.Minute, "hours": time.Hour, "days": 24 * time.Hour, "weeks": 7 * 24 * time.Hour} {
		if unit == "" {
			unit = "seconds"
		}
		if strings.HasPrefix(name, unit) {
			return amount(digits, d)
		}
	}
	return 0, false
}

// when is a day and a time of day as far as they were said.
type when struct {
	now              time.Time
	year, day        int
	month            time.Month
	since            time.Duration // midnight
	dated, timed     bool
	yearless, spoken bool // the date had no year; it was today or tomorrow
}

// clock reads 16:00, 4:30pm, 4pm and the times that have names.
func (w *when) clock(s string) bool {
	if w.timed {
		return false
	}
	switch s {
	case "midnight":
		s = "00:00"
	case "noon":
		s = "12:00"
	case "fika":
		s = "15:00"
	case "teatime":
		s = "16:00"
	}
	for _, layout := range []string{"15:04", "15:04:05", "3:04pm", "3:04:05pm", "3pm"} {
		if t, err := time.Parse(layout, s); err == nil {
			w.since = time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second
			w.timed = true
			return true
		}
	}
	return false
}

// date reads a day: today, tomorrow, 2026-12-24, 12/24, 12/24/26 and 122426.
func (w *when) date(s string) bool {
	if w.dated {
		return false
	}
	t := w.now
	switch s {
	case "today":
		w.spoken = true
	case "tomorrow":
		t = t.AddDate(0, 0, 1)
		w.spoken = true
	default:
		var err error
		for _, layout := range []string{"2006-01-02", "1/2/06", "1/2/2006", "010206", "1/2"} {
			if t, err = time.Parse(layout, s); err == nil {
				break
			}
		}
		if err != nil {
			return false
		}
		if w.yearless = t.Year() == 0; w.yearless {
			t = t.AddDate(w.now.Year(), 0, 0)
		}
	}
	w.year, w.month, w.day = t.Date()
	w.dated = true
	return true
}

func (w *when) time() time.Time {
	if !w.dated {
		w.year, w.month, w.day = w.now.Date()
	}
	at := func() time.Time {
		clock := time.Time{}.Add(w.since)
		return time.Date(w.year, w.month, w.day, clock.Hour(), clock.Minute(), clock.Second(), 0, w.now.Location())
	}
	switch t := at(); {
	case !w.dated && t.Before(w.now):
		w.day++
	case w.yearless && t.Before(w.now):
		w.year++
	}
	return at()
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// signal reads --signal=[B:]SIGNAL[@SECONDS].
func (b *Batch) signal(s string) error {
	wrong := fault.New(fault.Misused, "%q names no signal to send before the end", clip(s)).Hint("--signal=B:USR1@120")
	flags, rest, prefixed := strings.Cut(s, ":")
	if !prefixed {
		flags, rest = "", s
	}
	for _, c := range strings.ToUpper(flags) {
		switch c {
		case 'B':
			b.Spec.SignalBatch = true
		case 'R':
			b.warn("--signal: R: is not honoured: there are no reservations")
		default:
			return wrong
		}
	}
	name, seconds, timed := strings.Cut(rest, "@")
	before := 60 * time.Second
	if timed {
		n, err := strconv.ParseUint(seconds, 10, 16)
		if err != nil {
			return wrong
		}
		before = time.Duration(n) * time.Second
	}
	name, ok := signalName(name)
	if !ok {
		return wrong
	}
	b.Spec.Signal, b.Spec.SignalBefore = name, before
	return nil
}

// Signal reads what to send before a time limit, as --signal has it: [B:]NAME[@SECONDS].
func Signal(text string, s *job.Spec) error {
	b := Batch{Spec: *s}
	err := b.signal(text)
	s.Signal, s.SignalBefore, s.SignalBatch = b.Spec.Signal, b.Spec.SignalBefore, b.Spec.SignalBatch
	return err
}

// signalName is a signal's name without SIG, from a name or one of the numbers that Linux gives it on all but MIPS.
func signalName(s string) (string, bool) {
	names := []string{1: "HUP", 2: "INT", 3: "QUIT", 6: "ABRT", 9: "KILL", 10: "USR1", 12: "USR2", 14: "ALRM", 15: "TERM", 18: "CONT", 19: "STOP", 20: "TSTP"}
	if n, err := strconv.Atoi(s); err == nil {
		return names[min(max(0, n), len(names)-1)], n > 0 && n < len(names) && names[n] != ""
	}
	s = strings.TrimPrefix(strings.ToUpper(s), "SIG")
	return s, s != "" && slices.Contains(names, s)
}
