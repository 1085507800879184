package term

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"bramble/sorts"
)

// Unit is what a Bar counts.
type Unit int

const (
	Items Unit = iota // 1,234
	Data              // bytes
)

func (u Unit) amount(n int64) string {
	if u == Data {
		return Bytes(n)
	}
	return Count(n)
}

// widest is the most bytes that an amount up to total takes.
func (u Unit) widest(total string) int {
	if u == Data {
		return max(len(total), len("1023 MiB"))
	}
	return len(total)
}

func (u Unit) rate(perSecond float64) string {
	switch {
	case u == Data:
		return Rate(perSecond)
	case perSecond < 10:
		return fmt.Sprintf("%.1f/s", perSecond)
	}
	return Count(int64(perSecond)) + "/s"
}

// phase is where a Bar stands, in the order in which a short screen gives them room.
type phase int

const (
	running phase = iota
	failed
	waiting // running, but nothing has happened yet
	succeeded
)

// view is what is known of a Bar at one moment.
type view struct {
	name        string
	done, total int64
	unit        Unit
	rate        float64 // a second
	phase       phase
	state       string
}

func (v view) shownPhase() phase {
	if v.phase == running && v.done == 0 && v.state == "" {
		return waiting
	}
	return v.phase
}

// frame is the lines to draw: every bar, or as many as there are rows for and a last line that counts the others.
func frame(views []view, width, rows int, style Style) []string {
	shown, hidden := choose(views, rows)
	nameWidth := 0
	for _, v := range shown {
		nameWidth = max(nameWidth, cells(v.name))
	}
	nameWidth = min(nameWidth, max(width/3, 1))
	var lines []string
	for _, v := range shown {
		lines = append(lines, v.line(nameWidth, width, style))
	}
	if len(hidden) > 0 {
		lines = append(lines, style.Dim(style.Ellipsis()+" and "+more(hidden)))
	}
	return lines
}

// choose parts the views into those with a line of their own and the others.
func choose(views []view, rows int) (shown, hidden []view) {
	if len(views) <= rows {
		return views, nil
	}
	order := make([]int, len(views))
	for i := range order {
		order[i] = i
	}
	sorts.Stable(order, func(a, b int) int { return int(views[a].shownPhase() - views[b].shownPhase()) })
	cut := max(rows-1, 0)
	slices.Sort(order[:cut])
	for i, at := range order {
		if i < cut {
			shown = append(shown, views[at])
		} else {
			hidden = append(hidden, views[at])
		}
	}
	return shown, hidden
}

// more counts the views that have no line: "43 more: 12 waiting, 31 done".
func more(views []view) string {
	words := []string{running: "running", failed: "failed", waiting: "waiting", succeeded: "done"}
	counts := make([]int, len(words))
	for _, v := range views {
		counts[v.shownPhase()]++
	}
	var parts []string
	for i, n := range counts {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", Count(int64(n)), words[i]))
		}
	}
	return fmt.Sprintf("%s more: %s", Count(int64(len(views))), strings.Join(parts, ", "))
}

// line is one bar, at most width cells.
func (v view) line(nameWidth, width int, style Style) string {
	name := shorten(v.name, nameWidth, style)
	name += strings.Repeat(" ", max(0, nameWidth-cells(name)))
	switch {
	case v.phase == succeeded:
		return shorten(name+"  "+style.Good(v.state), width, style)
	case v.phase == failed:
		return shorten(name+"  "+style.Bad(v.state), width, style)
	case v.shownPhase() == waiting:
		return shorten(name+"  "+style.Dim("waiting"), width, style)
	case v.total <= 0:
		return shorten(name+"  "+strings.Join(v.counter(), "  "), width, style)
	}
	return shorten(name+"  "+v.gauge(width-nameWidth-2, style), width, style)
}

// counter is the words of a bar whose total is not known.
func (v view) counter() []string {
	var words []string
	if v.done > 0 {
		words = append(words, v.unit.amount(v.done))
	}
	if v.rate > 0 {
		words = append(words, v.unit.rate(v.rate))
	}
	if v.state != "" {
		words = append(words, v.state)
	}
	return words
}

const (
	barMax  = 30 // cells
	barMin  = 6
	tailMin = 16 // "59 min 59 s left" must not make the bar jump
)

// gauge is the bar and as many figures as leave room for it; figures have fixed
// widths, so that it does not jump about.
func (v view) gauge(room int, style Style) string {
	fraction := clamp(float64(v.done) / float64(v.total))
	total := v.unit.amount(v.total)
	figures := []string{
		fmt.Sprintf("%3.0f%%", math.Floor(fraction*100)),
		fmt.Sprintf("%*s", v.unit.widest(total)+3+len(total), v.unit.amount(v.done)+" / "+total),
		fmt.Sprintf("%10s", v.rateText()),
		v.tail(),
	}
	keep := []string{figures[0], "", "", ""}
	room -= cells(figures[0]) + 2
	for _, i := range []int{3, 1, 2} { // by importance
		need := cells(figures[i]) + 2
		if i == 3 {
			need = max(need, tailMin+2)
		}
		if need <= room-barMin {
			keep[i] = figures[i]
			room -= need
		}
	}
	bar := style.paint("36", style.Bar(fraction, min(room, barMax)))
	parts := slices.DeleteFunc(append([]string{bar}, keep...), func(s string) bool { return s == "" })
	return strings.TrimRight(strings.Join(parts, "  "), " ")
}

func (v view) rateText() string {
	if v.rate == 0 {
		return ""
	}
	return v.unit.rate(v.rate)
}

// tail is what is going on, or how long it will still take.
func (v view) tail() string {
	left := float64(v.total-v.done) / v.rate
	switch {
	case v.state != "":
		return v.state
	case v.rate > 0 && left > 0 && left < 1e7:
		return Duration(time.Duration(math.Ceil(left))*time.Second) + " left"
	}
	return ""
}

// meter measures a rate that follows the last few seconds.
type meter struct {
	start time.Time // the last moment at which nothing was done
	at    time.Time // of the last measurement
	done  int64
	value float64 // a second
}

const (
	meterWarmUp = time.Second            // no rate before
	meterEvery  = 500 * time.Millisecond // between two figures, so that they can be read
	meterMemory = 5 * time.Second        // after which a measurement has lost most of its weight
)

// rate is the rate now that done are done; 0 when it is too early to say.
func (m *meter) rate(now time.Time, done int64) float64 {
	if done == 0 {
		m.start = now
	}
	elapsed := now.Sub(m.start)
	if elapsed < meterWarmUp {
		return 0
	}
	since := now.Sub(m.at)
	switch {
	case m.at.IsZero():
		m.value = float64(done) / elapsed.Seconds()
	case since < meterEvery:
		return m.value
	default:
		weight := 1 - math.Exp(-since.Seconds()/meterMemory.Seconds())
		m.value += weight * (float64(done-m.done)/since.Seconds() - m.value)
	}
	m.at, m.done = now, done
	return m.value
}
