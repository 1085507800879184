package web

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bramble/event"
	"bramble/fleet"
	"bramble/job"
	"bramble/term"
)

// tileSize is how much of a node the Nodes page shows.
type tileSize int

const (
	large tileSize = iota
	small          // where there are more than manyNodes
)

// manyNodes is from how many on tiles become small.
const manyNodes = 100

func sizeFor(nodes int) tileSize {
	if nodes > manyNodes {
		return small
	}
	return large
}

func (s tileSize) template() string { return [...]string{"tile", "cell"}[s] }

// of is what the size's template is drawn from.
func (s tileSize) of(n fleet.Node, h *history) any {
	if s == small {
		return cellOf(n)
	}
	return tileOf(n, h)
}

// tileID is the element of a node on the Nodes page. A name has no characters that an id may not have.
func tileID(name string) string { return "n-" + name }

// gauge is one row of a tile: what it is, how much now, and how it came there.
type gauge struct {
	Name   string
	Class  string // its colour
	Value  string
	More   string // second value
	Title  string // in full, for those who point at it or cannot see it
	Area   string // SVG paths; "" for none
	Line   string
	Line2  string
	Top    string // what the scale ends at
	Bottom string
}

// tile is what is drawn of a node.
type tile struct {
	fleet.Node
	ID                   string
	Word                 string // its state
	Load, Mem, Heat, Net gauge
	Facts                string
	Labels               []string
}

func tileOf(n fleet.Node, h *history) tile {
	return tile{Node: n, ID: tileID(n.Name), Word: stateWord(n), Facts: factsOf(n), Labels: labelWords(n.Labels),
		Load: loadGauge(n, h), Mem: memoryGauge(n, h), Heat: heatGauge(n, h), Net: netGauge(h)}
}

// cell is what is drawn of a node where there are many: it changes seldom, and costs little.
type cell struct {
	ID, Name           string
	State              fleet.State
	Word               string
	Drained            bool
	Busy, Memory, Heat string
	LoadBar, MemBar    int // per mille
}

func cellOf(n fleet.Node) cell {
	c := cell{ID: tileID(n.Name), Name: n.Name, State: n.State, Word: stateWord(n), Drained: n.Drained != "",
		Busy: percent(n.Sample.CPU), Memory: percent(memoryShare(n)), Heat: "–", LoadBar: bar(n.Sample.CPU), MemBar: bar(memoryShare(n))}
	if n.Sample.Temp != 0 {
		c.Heat = fmt.Sprintf("%.0f °C", n.Sample.Temp)
	}
	return c
}

func memoryShare(n fleet.Node) float64 {
	if n.Sample.MemTotal == 0 {
		return 0
	}
	return float64(n.Sample.MemUsed) / float64(n.Sample.MemTotal)
}

func stateWord(n fleet.Node) string {
	if n.Drained != "" && n.State == fleet.Up {
		return "drained"
	}
	return string(n.State)
}

func factsOf(n fleet.Node) string {
	words := []string{cmp.Or(n.Model, "unknown board"), count(n.Cores, "core")}
	if n.Sample.Uptime > 0 && n.State == fleet.Up {
		words = append(words, "up "+term.Duration(roundUptime(n.Sample.Uptime)))
	}
	return strings.Join(words, " · ")
}

// roundUptime leaves seconds out of what has lasted minutes, and minutes out of what has lasted hours.
func roundUptime(seconds int64) time.Duration {
	d := time.Duration(seconds) * time.Second
	switch {
	case d >= 24*time.Hour:
		return d.Truncate(time.Hour)
	case d >= time.Hour:
		return d.Truncate(10 * time.Minute)
	}
	return d.Truncate(time.Minute)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return term.Count(int64(n)) + " " + what + "s"
}

func loadGauge(n fleet.Node, h *history) gauge {
	busy, avg := h.values(busyCores), h.values(load)
	top := ceiling(float64(max(1, n.Cores)), busy, avg)
	return gauge{Name: "load", Class: "load", Value: fmt.Sprintf("%.2f", n.Sample.Load), More: percent(n.Sample.CPU) + " busy",
		Title: fmt.Sprintf("load average %.2f on %s, which are %s busy", n.Sample.Load, count(n.Cores, "core"), percent(n.Sample.CPU)),
		Area:  area(busy, 0, top), Line: line(busy, 0, top), Line2: line(avg, 0, top),
		Top: fmt.Sprintf("%.3g", top), Bottom: "0"}
}

func memoryGauge(n fleet.Node, h *history) gauge {
	share := memoryShare(n)
	values := h.values(memory)
	return gauge{Name: "memory", Class: "mem", Value: percent(share), More: term.Bytes(n.Sample.MemUsed),
		Title: fmt.Sprintf("%s of %s memory in use", term.Bytes(n.Sample.MemUsed), term.Bytes(n.Sample.MemTotal)),
		Area:  area(values, 0, 1), Line: line(values, 0, 1), Top: term.Bytes(n.Sample.MemTotal), Bottom: "0"}
}

// Scale of temperatures, °C: a Raspberry Pi slows itself down at 80 to 85.
const (
	coolest = 20
	hottest = 90
)

func heatGauge(n fleet.Node, h *history) gauge {
	g := gauge{Name: "temp", Class: "heat", Value: "–", Title: "no temperature sensor", Top: "90 °C", Bottom: "20 °C"}
	if n.Sample.Temp == 0 {
		return g
	}
	values := h.values(heat)
	g.Value = fmt.Sprintf("%.0f °C", n.Sample.Temp)
	g.Title = fmt.Sprintf("%.1f °C at the hottest sensor", n.Sample.Temp)
	g.Area, g.Line = area(values, coolest, hottest), line(values, coolest, hottest)
	if now, ever := throttled(n.Sample.Throttled); now != "" {
		g.More, g.Title = now, g.Title+"; "+now
	} else if ever != "" {
		g.Title += "; since boot: " + ever
	}
	return g
}

// throttled puts the firmware's bits into words: what holds now, and what has held since boot.
// Source: the get_throttled bits of Raspberry Pi's vcgencmd.
func throttled(bits uint32) (now, ever string) {
	words := []string{"under-voltage", "frequency capped", "throttled", "too hot"}
	for i, word := range words {
		if now == "" && bits&(1<<i) != 0 {
			now = word
		}
		if ever == "" && bits&(1<<(16+i)) != 0 {
			ever = word
		}
	}
	return now, ever
}

// leastNet is the least scale of network lines, bytes a second, so that chatter looks like what it is.
const leastNet = 64_000

func netGauge(h *history) gauge {
	rx, tx := h.values(received), h.values(sent)
	top := ceiling(leastNet, rx, tx)
	return gauge{Name: "net", Class: "net", Value: "↓ " + term.Rate(h.now(received)), More: "↑ " + term.Rate(h.now(sent)),
		Title: fmt.Sprintf("%s received, %s sent", term.Rate(h.now(received)), term.Rate(h.now(sent))),
		Area:  area(rx, 0, top), Line: line(rx, 0, top), Line2: line(tx, 0, top), Top: term.Rate(top), Bottom: "0"}
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

// bar is a share in per mille, in steps of 20 so that a cell changes seldom.
func bar(share float64) int { return 20 * int(min(1, max(0, share))*50+0.5) }

func labelWords(labels map[string]string) []string {
	var words []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		word := key
		if labels[key] != "" {
			word += "=" + labels[key]
		}
		words = append(words, word)
	}
	return words
}

// totals is the first line of the Nodes page.
type totals struct {
	Nodes, Up, Suspect, Down, Cores int
	Load                            string
	MemUsed, Memory                 string
	Hottest                         string
	HottestName                     string
	Shown                           bool // a selection leaves nodes out
	All                             int
}

func totalsOf(nodes []fleet.Node, all int) totals {
	t := totals{Nodes: len(nodes), All: all, Shown: len(nodes) != all}
	var used, total int64
	var sum, top float64
	for _, n := range nodes {
		switch n.State {
		case fleet.Up:
			t.Up++
			t.Cores += n.Cores
			used, total, sum = used+n.Sample.MemUsed, total+n.Sample.MemTotal, sum+n.Sample.Load
			if n.Sample.Temp > top {
				top, t.HottestName = n.Sample.Temp, n.Name
			}
		case fleet.Suspect:
			t.Suspect++
		default:
			t.Down++
		}
	}
	t.Load, t.MemUsed, t.Memory = fmt.Sprintf("%.2f", sum), term.Bytes(used), term.Bytes(total)
	if top > 0 {
		t.Hottest = fmt.Sprintf("%.0f °C", top)
	}
	return t
}

// progress is a job's tasks as a bar of parts.
type progress struct {
	Parts []part
	Done  string // share that has ended
	Text  string
}

// part is a stretch of the bar, in per mille.
type part struct {
	Class string
	X, W  float64
}

func progressOf(s job.Summary) progress {
	var p progress
	whole, x := float64(max(1, s.Tasks)), 0.0
	var words []string
	for _, c := range []struct {
		class string
		n     int
	}{{"done", s.Counts.Done}, {"failed", s.Counts.Failed}, {"cancelled", s.Counts.Cancelled}, {"running", s.Counts.Running}, {"pending", s.Counts.Pending}} {
		if c.n == 0 {
			continue
		}
		w := 1000 * float64(c.n) / whole
		if c.class != "pending" {
			p.Parts = append(p.Parts, part{c.class, x, w})
		}
		words = append(words, term.Count(int64(c.n))+" "+c.class)
		x += w
	}
	ended := s.Counts.Done + s.Counts.Failed + s.Counts.Cancelled
	p.Done = fmt.Sprintf("%d %%", 100*ended/max(1, s.Tasks))
	p.Text = strings.Join(words, ", ")
	return p
}

// jobTitle is a job's name, or what it runs.
func jobTitle(s job.Spec) string {
	return cmp.Or(s.Name, commandText(s))
}

// commandText is a job's command as one would type it, cut to what fits a line.
func commandText(s job.Spec) string {
	if len(s.Script) > 0 {
		first, _, _ := strings.Cut(string(s.Script), "\n")
		return clip("script " + first)
	}
	words := make([]string, len(s.Args))
	for i, arg := range s.Args {
		words[i] = quote(arg)
	}
	return clip(strings.Join(words, " "))
}

func clip(text string) string {
	if runes := []rune(text); len(runes) > 400 {
		return string(runes[:399]) + "…"
	}
	return text
}

// mention splits an event's text at what it is about, its node or its job, so that the page can link it.
type mention struct{ Before, Name, After, Link string }

func mentionOf(e event.Event) mention {
	if e.Job != 0 {
		name := fmt.Sprintf("job %d", e.Job)
		if m, ok := splitAt(e.Text, name); ok {
			m.Link = fmt.Sprintf("/jobs/%d", e.Job)
			return m
		}
		return mention{Before: e.Text + " ", Name: name, Link: fmt.Sprintf("/jobs/%d", e.Job)}
	}
	m, ok := splitAt(e.Text, e.Node)
	if ok {
		m.Link = "/nodes/" + e.Node
	}
	return m
}

// splitAt cuts text around a name that stands by itself: node1, but not node12.
func splitAt(text, name string) (m mention, ok bool) {
	for at := 0; name != ""; {
		i := strings.Index(text[at:], name)
		if i < 0 {
			break
		}
		i, at = at+i, at+i+len(name)
		if !endsInName(text[:i]) && !beginsWithName(text[at:]) {
			return mention{Before: text[:i], Name: name, After: text[at:]}, true
		}
	}
	return mention{Before: text}, false
}

func endsInName(text string) bool { return text != "" && isNameByte(text[len(text)-1]) }

func beginsWithName(text string) bool { return text != "" && isNameByte(text[0]) }

func isNameByte(c byte) bool {
	return c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// quote writes a word as a shell would need it.
func quote(word string) string {
	if word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=@%+,^") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// took is how long a job has run, "" before it started.
func took(s job.Summary, now time.Time) string {
	if s.Started.IsZero() {
		return ""
	}
	if !s.Ended.IsZero() {
		return term.Duration(roundTime(max(0, s.Ended.Sub(s.Started))))
	}
	return term.Duration(max(0, now.Sub(s.Started)).Truncate(100 * time.Millisecond))
}
