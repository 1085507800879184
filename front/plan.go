package front

import (
	"slices"
	"time"
)

// Health is what is known of a member.
type Health struct {
	Down   bool          `json:"down"`
	Since  time.Time     `json:"since"`           // of being down, or up; zero: nothing was heard yet
	Why    string        `json:"why,omitempty"`   // it is down
	Until  time.Time     `json:"until,omitempty"` // a request may try it again; zero: checks bring it back
	Pause  time.Duration `json:"pause,omitempty"` // before Until, the last time
	Passes int           `json:"passes"`          // in a row
	Fails  int           `json:"fails"`           // in a row
	Back   bool          `json:"back,omitempty"`  // it was down before
}

// Sign is one thing that was seen of a member.
type Sign struct {
	OK    bool
	Check bool   // by a check, and not by a visitor's request
	Plain bool   // a failure that leaves no doubt: nobody listens there
	Why   string // it is none
}

const (
	requestsFall  = 3 // failures of requests in a row that take a member out
	shortestPause = time.Second
	longestPause  = time.Minute
)

// Next is what is known after a sign.
//
// Where there are checks, they alone bring a member back; else a request may try it after a pause, which doubles each time.
func (h Health) Next(s Sign, c Check, now time.Time) Health {
	c = c.filled()
	if s.OK {
		if h.Down && c.active() && !s.Check {
			return h
		}
		h.Passes, h.Fails = h.Passes+1, 0
		if h.Since.IsZero() {
			h.Since = now
		}
		if !h.Down || s.Check && h.Passes < c.Rise {
			return h
		}
		return Health{Since: now, Back: true, Passes: h.Passes, Pause: h.Pause}
	}
	h.Passes, h.Fails = 0, h.Fails+1
	if h.Down {
		h.Why = s.Why
		if !c.active() {
			h.Pause = min(2*h.Pause, longestPause)
			h.Until = now.Add(h.Pause)
		}
		return h
	}
	fall := c.Fall
	switch {
	case s.Plain:
		fall = 1
	case fall <= 0 && s.Check:
		fall = 1
	case fall <= 0:
		fall = requestsFall
	}
	if h.Fails < fall {
		return h
	}
	down := Health{Down: true, Since: now, Why: s.Why, Fails: h.Fails, Back: true}
	if !c.active() {
		down.Pause = shortestPause
		if h.Pause > 0 && now.Sub(h.Since) <= 2*h.Pause { // it has hardly been back
			down.Pause = min(2*h.Pause, longestPause)
		}
		down.Until = now.Add(down.Pause)
	}
	return down
}

// May reports whether new requests may go to a member with this health.
func (h Health) May(now time.Time) bool {
	return !h.Down || !h.Until.IsZero() && !now.Before(h.Until)
}

// candidate is what decides whether a member is asked.
type candidate struct {
	Set  int
	Duty Duty
	May  bool // it is enabled and well
}

// eligible are the positions of those that may be asked: of the lowest set that has any, the regular ones and a spare for
// each of them that cannot be, or else those that stand by.
func eligible(all []candidate) []int {
	sets := map[int]bool{}
	for _, c := range all {
		sets[c.Set] = true
	}
	order := make([]int, 0, len(sets))
	for set := range sets {
		order = append(order, set)
	}
	slices.Sort(order)
	for _, set := range order {
		var regular, spares, standby []int
		missing := 0
		for i, c := range all {
			switch {
			case c.Set != set:
			case !c.May:
				if c.Duty == Regular {
					missing++
				}
			case c.Duty == Spare:
				spares = append(spares, i)
			case c.Duty == Standby:
				standby = append(standby, i)
			default:
				regular = append(regular, i)
			}
		}
		if chosen := append(regular, spares[:min(missing, len(spares))]...); len(chosen) > 0 {
			return chosen
		}
		if len(standby) > 0 {
			return standby
		}
	}
	return nil
}

// weight is a member's share while it comes back slowly: from a tenth to all of its weight.
func weight(m Member, h Health, slow time.Duration, now time.Time) float64 {
	full := float64(max(m.Weight, 1))
	if slow <= 0 || !h.Back || h.Down {
		return full
	}
	return full * min(max(float64(now.Sub(h.Since))/float64(slow), 0.1), 1)
}

// leastIdle is the share of its weight that a node has left which is all busy: visitors still find out how it does.
const leastIdle = 0.05

// idle is the share of its weight that a node has left of whose processors so much is busy, 0 to 1.
func idle(busy float64) float64 { return min(max(1-busy, leastIdle), 1) }

// runner is a member as the choice between those that are eligible sees it.
type runner struct {
	weight  float64
	busy    int64 // requests under way
	traffic int64 // bytes, those of requests under way guessed
}

// least is the position of the runner with the smallest cost for its weight that is not out; -1 is none. Turn, which grows, lets
// those that are alike take turns.
func least(all []runner, out func(int) bool, turn uint64, cost func(runner) int64) int {
	best, at := 0.0, -1
	for k := range all {
		i := (k + int(turn%uint64(len(all)))) % len(all)
		if out(i) {
			continue
		}
		if c := float64(cost(all[i])) / all[i].weight; at < 0 || c < best {
			best, at = c, i
		}
	}
	return at
}

// less is which of two runners is less busy for its weight, with what it would get.
func less(a, b runner) bool {
	return float64(a.busy+1)*b.weight < float64(b.busy+1)*a.weight
}
