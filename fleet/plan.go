package fleet

import (
	"fmt"
	"time"
)

// View is how the head sees one node's connection and heartbeats. It holds moments of the
// head's own clock and is never stored. The zero View is a node that was never heard of.
type View struct {
	State State
	Conn  string        // the open connection, as Event names it; "" when it has no name
	Open  bool          // a connection is open
	Heard time.Time     // last sign of life: a connection made, or a beat
	Shut  time.Time     // when the last connection closed
	Until time.Time     // a suspect node is down from here on
	Grace time.Time     // no node is down before this
	Pace  time.Duration // how often it beats; 0: BeatEvery
}

// Kind is what was noticed.
type Kind string

const (
	Connected    Kind = "connected"    // the node made a connection
	Disconnected Kind = "disconnected" // a connection of it closed
	Beat         Kind = "beat"         // a heartbeat arrived
	Tick         Kind = "tick"         // time passed; due at Next
	Removed      Kind = "removed"      // it is no member any more
)

// Event is one thing noticed about a node. Conn tells its connections apart: one that
// replaced another may well be seen before the other closes. "" fits any.
type Event struct {
	Kind Kind
	Conn string
}

// Change is a step from one state to another.
type Change struct {
	From State     `json:"from,omitempty"` // "" for a node that was never heard of
	To   State     `json:"to"`
	At   time.Time `json:"at"`
	Why  string    `json:"why"`
}

// Returning is the view of a known node when the head has just started.
func Returning(now time.Time) View {
	return View{State: Suspect, Until: now.Add(HeadGrace), Grace: now.Add(HeadGrace)}
}

// Observe decides what an event makes of a node; there is at most one change.
//
//	            | Connected | Disconnected (¹)       | Beat   | Tick
//	never heard | up        | –                      | up     | –
//	up          | up        | suspect                | up     | suspect, silent for long (⁴)
//	suspect     | up        | down in ReconnectGrace | up (²) | down, at Until (³)
//	down        | up        | –                      | up (²) | –
//
// Removed makes any node gone, and nothing changes that.
//
// (¹) of the connection that counts, the newest; others are passed over.
// (²) unless the connection closed less than BeatEvery ago: then the beat was under way before.
// (³) Until is DownAfter the last sign of life, ReconnectGrace after a connection closed, or
// HeadGrace after the head started. A tick that comes ReconnectGrace late says that the head
// itself stood still with the nodes' news waiting, so it gives them that long once more.
// (⁴) SuspectAfter the last sign of life, or 2½ beats where those are rarer.
func Observe(view View, ev Event, now time.Time) (View, []Change) {
	before := view.State
	if before == Gone {
		return view, nil
	}
	why := ""
	switch ev.Kind {
	case Connected:
		why = view.connect(ev.Conn, now)
	case Disconnected:
		why = view.disconnect(ev.Conn, now)
	case Beat:
		why = view.beat(now)
	case Tick:
		why = view.tick(now)
	case Removed:
		view, why = View{State: Gone}, "removed from the cluster"
	}
	if view.State == before {
		return view, nil
	}
	return view, []Change{{From: before, To: view.State, At: now, Why: why}}
}

// Next is when a Tick is due if nothing else happens; the zero time when none is.
func Next(view View) time.Time {
	switch view.State {
	case Up:
		return view.Heard.Add(max(SuspectAfter, view.Pace*5/2))
	case Suspect:
		return view.Until
	}
	return time.Time{}
}

// Pace is how often each of so many nodes says how it is doing: so that the head hears not much more than so many
// of them a second, and yet each often enough to be down DownAfter it fell silent.
func Pace(nodes, most int) time.Duration {
	return BeatEvery * time.Duration(min(3, 1+(nodes-1)/most))
}

func (v *View) connect(conn string, now time.Time) string {
	v.Conn, v.Open = conn, true
	v.Heard, v.State = now, Up
	return "connected"
}

func (v *View) disconnect(conn string, now time.Time) string {
	if !v.Open || conn != "" && v.Conn != "" && conn != v.Conn {
		return ""
	}
	v.Open, v.Conn, v.Shut = false, "", now
	until := now.Add(ReconnectGrace)
	switch v.State {
	case Up:
		v.suspect(until)
	case Suspect:
		v.suspect(earlier(until, v.Until))
	}
	return "connection closed"
}

// beat takes the place of a connection whose making was not noticed, once it cannot be a straggler.
func (v *View) beat(now time.Time) string {
	if !v.Open && !v.Shut.IsZero() && now.Sub(v.Shut) < BeatEvery {
		return ""
	}
	v.Open, v.Heard, v.State = true, now, Up
	return "heartbeat"
}

func (v *View) tick(now time.Time) string {
	due := Next(*v)
	if due.IsZero() || now.Before(due) {
		return ""
	}
	again := now.Add(ReconnectGrace)
	switch {
	case v.State == Up:
		v.suspect(later(v.Heard.Add(DownAfter), again))
	case now.Sub(due) >= ReconnectGrace:
		v.suspect(again)
	default:
		v.State = Down
	}
	return v.absence(now)
}

// absence says how long the node has been away, and since what.
func (v *View) absence(now time.Time) string {
	since, what := v.Heard, "silent for %v"
	switch {
	case !v.Open && v.Shut.IsZero():
		since, what = v.Grace.Add(-HeadGrace), "not seen in the %v since the head started"
	case !v.Open:
		since, what = v.Shut, "not back %v after its connection closed"
	}
	return fmt.Sprintf(what, now.Sub(since).Round(time.Second))
}

// suspect makes the node suspect, and down at a time that is not within the grace.
func (v *View) suspect(until time.Time) {
	v.State, v.Until = Suspect, later(until, v.Grace)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
