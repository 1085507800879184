package each

import (
	"strconv"
	"strings"

	"bramble/fault"
)

// Halt is when to stop before all inputs have been used, as --halt says it.
type Halt struct {
	Now     bool   // end what runs; else only start nothing more
	What    string // fail, success or done; "" never
	Count   int    // so many of them
	Percent int    // or so many of a hundred inputs
}

// ParseHalt reads never, soon,fail=1, now,fail=30%, now,success=1, now,done=3, and the old 0, 1 and 2.
func ParseHalt(text string) (Halt, error) {
	switch text {
	case "", "never", "0":
		return Halt{}, nil
	case "1":
		return Halt{What: "fail", Count: 1}, nil
	case "2":
		return Halt{Now: true, What: "fail", Count: 1}, nil
	}
	bad := fault.New(fault.Misused, "--halt %q: never, or when and why: soon,fail=1 or now,success=1 or now,fail=30%%", text).Hint("--halt soon,fail=1")
	when, why, _ := strings.Cut(text, ",")
	what, number, _ := strings.Cut(why, "=")
	percent := strings.HasSuffix(number, "%")
	n, err := strconv.Atoi(strings.TrimSuffix(number, "%"))
	if err != nil || n < 1 || when != "now" && when != "soon" || what != "fail" && what != "success" && what != "done" || percent && n > 100 {
		return Halt{}, bad
	}
	h := Halt{Now: when == "now", What: what, Count: n}
	if percent {
		h.Count, h.Percent = 0, n
	}
	return h, nil
}

// Due reports whether it is time to stop, after so many runs failed and succeeded; total is 0 while it is not known.
func (h Halt) Due(failed, succeeded, total int) bool {
	n := map[string]int{"fail": failed, "success": succeeded, "done": failed + succeeded}[h.What]
	switch {
	case h.What == "":
		return false
	case h.Percent > 0:
		return total > 0 && n >= 3 && n*100 >= h.Percent*total
	}
	return n >= h.Count
}
