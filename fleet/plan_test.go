package fleet_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"bramble/fleet"
)

// at is a moment so many seconds into a test.
func at(seconds float64) time.Time {
	return time.Unix(1_000_000, 0).Add(time.Duration(seconds * float64(time.Second)))
}

// step is something noticed, and what is then to be seen.
type step struct {
	at    float64
	kind  fleet.Kind
	conn  string
	state fleet.State
	next  float64 // when a tick is due; 0: never
}

const (
	connected    = fleet.Connected
	disconnected = fleet.Disconnected
	beat         = fleet.Beat
	tick         = fleet.Tick
	removed      = fleet.Removed

	up      = fleet.Up
	suspect = fleet.Suspect
	down    = fleet.Down
	gone    = fleet.Gone
)

func TestObserve(t *testing.T) {
	tests := []struct {
		name  string
		view  fleet.View
		steps []step
	}{
		{"a new node", fleet.View{}, []step{
			{1, tick, "", "", 0},
			{1, disconnected, "a", "", 0},
			{2, connected, "a", up, 5},
			{3, beat, "", up, 6},
			{4, beat, "", up, 7},
		}},
		{"a new node whose connection was not noticed", fleet.View{}, []step{
			{1, beat, "", up, 4},
			{2, disconnected, "a", suspect, 4},
		}},
		{"a closed connection", fleet.View{}, []step{
			{1, connected, "a", up, 4},
			{2, disconnected, "a", suspect, 4},
			{3.9, tick, "", suspect, 4},
			{4, tick, "", down, 0},
			{5, tick, "", down, 0},
			{6, disconnected, "a", down, 0},
			{7, connected, "b", up, 10},
		}},
		{"back in time", fleet.View{}, []step{
			{1, connected, "a", up, 4},
			{2, disconnected, "a", suspect, 4},
			{3.9, connected, "b", up, 6.9},
			{4, tick, "", up, 6.9},
		}},
		{"silence", fleet.View{}, []step{
			{1, connected, "a", up, 4},
			{2, beat, "", up, 5},
			{4.9, tick, "", up, 5},
			{5, tick, "", suspect, 12},
			{11.9, tick, "", suspect, 12},
			{12, tick, "", down, 0},
			{20, beat, "", up, 23},
		}},
		{"silence that ends", fleet.View{}, []step{
			{1, connected, "a", up, 4},
			{4, tick, "", suspect, 11},
			{10.9, beat, "", up, 13.9},
			{11, tick, "", up, 13.9},
		}},
		{"silence, then another connection", fleet.View{}, []step{
			{1, connected, "a", up, 4},
			{4, tick, "", suspect, 11},
			{5, connected, "b", up, 8},
			{6, disconnected, "a", up, 8},
			{7, disconnected, "b", suspect, 9},
		}},
		{"silence, then a closed connection: the earlier end counts", fleet.View{}, []step{
			{1, connected, "a", up, 4},
			{4, tick, "", suspect, 11},
			{5, disconnected, "a", suspect, 7},
			{7, tick, "", down, 0},
		}},
		{"the connection closes when silence is nearly over", fleet.View{}, []step{
			{1, connected, "a", up, 4},
			{4, tick, "", suspect, 11},
			{10, disconnected, "a", suspect, 11},
			{11, tick, "", down, 0},
		}},
		{"down from silence, and the connection closes later", fleet.View{}, []step{
			{1, connected, "a", up, 4},
			{4, tick, "", suspect, 11},
			{11, tick, "", down, 0},
			{13, disconnected, "a", down, 0},
			{13.5, beat, "", down, 0}, // under way when it closed
			{14, beat, "", up, 17},
		}},
		{"the new connection is seen before the old one closes", fleet.View{}, []step{
			{1, connected, "a", up, 4},
			{2, connected, "b", up, 5},
			{3, disconnected, "a", up, 5},
			{4, beat, "", up, 7},
			{5, disconnected, "b", suspect, 7},
		}},
		{"connections without names", fleet.View{}, []step{
			{1, connected, "", up, 4},
			{2, disconnected, "a", suspect, 4},
			{3, connected, "b", up, 6},
			{4, disconnected, "", suspect, 6},
		}},
		{"a beat that was under way", fleet.View{}, []step{
			{1, connected, "a", up, 4},
			{2, disconnected, "a", suspect, 4},
			{2.9, beat, "", suspect, 4},
			{4, tick, "", down, 0},
		}},
		{"a beat that proves a connection", fleet.View{}, []step{
			{1, connected, "a", up, 4},
			{2, disconnected, "a", suspect, 4},
			{3, beat, "", up, 6},
			{5, disconnected, "c", suspect, 7},
		}},
		{"the head has just started", fleet.Returning(at(0)), []step{
			{1, tick, "", suspect, 15},
			{2, disconnected, "z", suspect, 15},
			{14.9, tick, "", suspect, 15},
			{15, tick, "", down, 0},
			{16, connected, "a", up, 19},
			{17, disconnected, "a", suspect, 19},
		}},
		{"back after the head", fleet.Returning(at(0)), []step{
			{4, connected, "a", up, 7},
			{5, beat, "", up, 8},
			{15, beat, "", up, 18},
		}},
		{"back after the head by a beat alone", fleet.Returning(at(0)), []step{
			{0.1, beat, "", up, 3.1},
		}},
		{"nobody is down within the head's grace", fleet.Returning(at(0)), []step{
			{1, connected, "a", up, 4},
			{2, disconnected, "a", suspect, 15},
			{3, connected, "b", up, 6},
			{6, tick, "", suspect, 15},
			{7, disconnected, "b", suspect, 15},
			{15, tick, "", down, 0},
		}},
		{"the head stood still while a node was up", fleet.View{}, []step{
			{1, connected, "a", up, 4},
			{60, tick, "", suspect, 62},
			{60.1, beat, "", up, 63.1},
		}},
		{"the head stood still while a node died", fleet.View{}, []step{
			{1, connected, "a", up, 4},
			{60, tick, "", suspect, 62},
			{62, tick, "", down, 0},
		}},
		{"the head stood still while a node was suspect", fleet.View{}, []step{
			{1, connected, "a", up, 4},
			{2, disconnected, "a", suspect, 4},
			{6, tick, "", suspect, 8}, // late
			{9.9, tick, "", down, 0},  // not that late
		}},
		{"removed", fleet.View{}, []step{
			{1, connected, "a", up, 4},
			{2, removed, "", gone, 0},
			{3, beat, "", gone, 0},
			{4, connected, "b", gone, 0},
			{4, disconnected, "b", gone, 0},
			{5, tick, "", gone, 0},
			{6, removed, "", gone, 0},
		}},
		{"removed while down", fleet.Returning(at(0)), []step{
			{15, tick, "", down, 0},
			{16, removed, "", gone, 0},
		}},
		{"removed while suspect", fleet.Returning(at(0)), []step{{1, removed, "", gone, 0}}},
		{"removed before it was heard of", fleet.View{}, []step{{1, removed, "", gone, 0}}},
		{"a kind from the future", fleet.Returning(at(0)), []step{{1, "moved", "", suspect, 15}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			view := test.view
			for _, s := range test.steps {
				view = observe(t, view, fleet.Event{Kind: s.kind, Conn: s.conn}, at(s.at))
				if view.State != s.state {
					t.Fatalf("%v at %v s: %s; want %s", s.kind, s.at, view.State, s.state)
				}
				var next time.Time
				if s.next > 0 {
					next = at(s.next)
				}
				if got := fleet.Next(view); !got.Equal(next) {
					t.Fatalf("%v at %v s: next look at %v; want %v s", s.kind, s.at, got.Sub(at(0)).Seconds(), s.next)
				}
			}
		})
	}
}

// observe is fleet.Observe with what holds for every call: a change is told if and only if the state changed.
func observe(t *testing.T, before fleet.View, ev fleet.Event, now time.Time) fleet.View {
	t.Helper()
	after, changes := fleet.Observe(before, ev, now)
	if before.State == after.State {
		if len(changes) > 0 {
			t.Fatalf("%v left it %s and told %+v", ev, after.State, changes)
		}
		return after
	}
	if len(changes) != 1 || changes[0].From != before.State || changes[0].To != after.State || changes[0].At != now || changes[0].Why == "" {
		t.Fatalf("%v took it from %q to %q and told %+v", ev, before.State, after.State, changes)
	}
	return after
}

func TestChangesSayWhy(t *testing.T) {
	tests := []struct {
		view   fleet.View
		events []step
		why    string
	}{
		{fleet.View{}, []step{{at: 1, kind: connected}}, "connected"},
		{fleet.View{}, []step{{at: 1, kind: beat}}, "heartbeat"},
		{fleet.View{}, []step{{at: 1, kind: connected}, {at: 2, kind: disconnected}}, "connection closed"},
		{fleet.View{}, []step{{at: 1, kind: connected}, {at: 2, kind: disconnected}, {at: 4, kind: tick}}, "not back 2s after its connection closed"},
		{fleet.View{}, []step{{at: 1, kind: connected}, {at: 4, kind: tick}}, "silent for 3s"},
		{fleet.View{}, []step{{at: 1, kind: connected}, {at: 4, kind: tick}, {at: 11.2, kind: tick}}, "silent for 10s"},
		{fleet.Returning(at(0)), []step{{at: 15, kind: tick}}, "not seen in the 15s since the head started"},
		{fleet.Returning(at(0)), []step{{at: 15, kind: removed}}, "removed from the cluster"},
	}
	for _, test := range tests {
		view, last := test.view, []fleet.Change(nil)
		for _, e := range test.events {
			view, last = fleet.Observe(view, fleet.Event{Kind: e.kind}, at(e.at))
		}
		if len(last) != 1 || last[0].Why != test.why {
			t.Errorf("got %+v; want %q", last, test.why)
		}
	}
}

// Random lives, looked at on time or late: whatever happens, the rules of DESIGN hold.
func TestObserveInvariants(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	seen := map[string]bool{}
	for range 3_000 {
		live(t, random, seen)
	}
	for _, step := range []string{
		">up", "up>suspect", "suspect>up", "suspect>down", "down>up", ">gone", "up>gone", "suspect>gone", "down>gone",
	} {
		if !seen[step] {
			t.Errorf("no life had the step %s", step)
		}
	}
}

// live lives one life of 200 events, beside a record of its own of what happened.
func live(t *testing.T, random *rand.Rand, seen map[string]bool) {
	var view fleet.View
	var log []string
	now, real := at(0), truth{punctual: random.IntN(4) > 0}
	if random.IntN(2) == 0 {
		view, real.grace = fleet.Returning(now), now.Add(fleet.HeadGrace)
	}
	pace := float64(time.Second) * float64(1+5*random.IntN(2))
	for range 200 {
		ev, before := fleet.Event{Kind: tick}, view
		soon := now.Add(time.Duration(random.ExpFloat64() * pace))
		if next := fleet.Next(view); real.punctual && !next.IsZero() && next.Before(soon) {
			now = next
		} else {
			now, ev = soon, real.happen(random)
		}
		alive := real.note(ev, now)
		view = observe(t, view, ev, now)
		log = append(log, fmt.Sprintf("%.3f %v %s: %s>%s", now.Sub(at(0)).Seconds(), ev.Kind, ev.Conn, before.State, view.State))
		if before.State != view.State {
			seen[string(before.State)+">"+string(view.State)] = true
		}
		for _, broken := range []string{real.judgeLife(before, view, ev, alive), real.judgeDeath(before, view, ev, now), real.judgeEnd(view, now)} {
			if broken != "" {
				t.Fatalf("%s:\n%s", broken, strings.Join(log[max(0, len(log)-12):], "\n"))
			}
		}
	}
}

// truth is what really happened to a node.
type truth struct {
	punctual bool      // looked at whenever that is due
	grace    time.Time // the end of the head's
	heard    time.Time // last sign of life that counts
	shut     time.Time // when the connection that counts closed
	conn     int       // the newest connection
	open     bool
	unnamed  bool // the open one was not noticed when it was made
	removed  bool
}

// happen makes something happen.
func (w *truth) happen(random *rand.Rand) fleet.Event {
	switch n := random.IntN(160); {
	case n < 40:
		return fleet.Event{Kind: connected, Conn: fmt.Sprint(w.conn + 1)}
	case n < 80:
		return fleet.Event{Kind: disconnected, Conn: fmt.Sprint(max(1, w.conn-random.IntN(2)))}
	case n < 140:
		return fleet.Event{Kind: beat}
	case n < 141:
		return fleet.Event{Kind: removed}
	}
	return fleet.Event{Kind: tick}
}

// note records an event and reports whether it is a sign of life.
func (w *truth) note(ev fleet.Event, now time.Time) bool {
	switch ev.Kind {
	case connected:
		w.conn++
		w.unnamed = false
	case disconnected:
		if w.open && (w.unnamed || ev.Conn == fmt.Sprint(w.conn)) {
			w.shut, w.open = now, false
		}
		return false
	case beat:
		if !w.open && !w.shut.IsZero() && now.Sub(w.shut) < fleet.BeatEvery {
			return false
		}
		w.unnamed = w.unnamed || !w.open
	default:
		w.removed = w.removed || ev.Kind == removed
		return false
	}
	w.heard, w.open = now, true
	return true
}

// judgeLife names the rule of being up that was broken, or nothing.
func (w *truth) judgeLife(before, after fleet.View, ev fleet.Event, alive bool) string {
	switch {
	case w.removed != (after.State == gone):
		return "a node is gone when it was removed, and for good"
	case w.removed:
	case alive && after.State != up:
		return "a beat or connection makes a node up"
	case !alive && after.State == up && before.State != up:
		return "only a sign of life makes a node up"
	case ev.Kind == disconnected && !w.open && after.State == up:
		return "up without a connection"
	}
	return ""
}

// judgeDeath names the rule of being suspect and down that was broken, or nothing.
func (w *truth) judgeDeath(before, after fleet.View, ev fleet.Event, now time.Time) string {
	silent, away := now.Sub(w.heard), now.Sub(w.shut)
	switch {
	case after.State == up && ev.Kind == tick && silent >= fleet.SuspectAfter:
		return "still up after silence"
	case after.State == suspect && before.State == up && ev.Kind == tick && silent < fleet.SuspectAfter:
		return "suspect before it was silent long enough"
	case after.State != down || before.State == down:
	case before.State != suspect || ev.Kind != tick:
		return "a node is down only after it was suspect, by a tick"
	case w.open && silent < fleet.DownAfter:
		return "down before it was silent long enough"
	case !w.open && !w.shut.IsZero() && away < fleet.ReconnectGrace && silent < fleet.DownAfter:
		return "down before it was away long enough"
	case now.Before(w.grace):
		return "down within the head's grace"
	}
	return ""
}

// judgeEnd names the limit that a suspect node's wait breaks, or nothing.
func (w *truth) judgeEnd(view fleet.View, now time.Time) string {
	if view.State != suspect {
		return ""
	}
	next := fleet.Next(view)
	switch {
	case next.IsZero() || next.After(latest(now.Add(fleet.DownAfter), w.grace)):
		return "suspect without an end"
	case w.punctual && w.open && next.After(latest(w.heard.Add(fleet.DownAfter), w.grace)):
		return "suspect for longer than silence is"
	case w.punctual && !w.open && !w.shut.IsZero() && next.After(latest(w.shut.Add(fleet.ReconnectGrace), w.grace)):
		return "suspect for longer than the reconnect grace"
	}
	return ""
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
