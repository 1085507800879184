package fleet

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"bramble/fault"
)

// MaxSelector is the longest selection that is read, in bytes.
const MaxSelector = 8 << 10

// Selector says which nodes. Its text, what people give to --on, is read so:
//
//	selection = member { "," member }
//	member    = term { "&" term }
//	term      = [ "!" ] ( "all" | hostlist | field "=" value | "name=" hostlist | label [ "=" value ] )
//	field     = "model" | "arch" | "role" | "state"
//
// Space may stand around terms, there are no parentheses, and ! binds tightest, then &, then the comma:
//
//  1. A term is a set of nodes, and !term is all the others. A label alone is the nodes
//     that have it, whatever its value; a word that is a node's name and a label is the node.
//  2. A member is what all its terms have in common.
//  3. A member with a term that has no ! adds its nodes. One whose every term has a ! only
//     takes away: each node that it does not hold leaves what the others add.
//  4. First every member adds, then every member takes away, so order does not matter:
//     "all,!node3" and "!node3,all" are the same. Where no member adds, all nodes are there
//     to take away from: "!node3" is "all&!node3".
//
// The zero Selector is all nodes.
type Selector struct {
	text    string
	members []member
}

type member []term

// adds reports whether the member adds nodes, rather than takes them away.
func (m member) adds() bool { return slices.ContainsFunc(m, func(t term) bool { return !t.not }) }

// kind is what a term goes by.
type kind int

const (
	byAll   kind = iota
	byName       // names of nodes
	byWord       // one word: a node, else a label
	byField      // one of a node's own facts
	byLabel      // a label and its value
)

// term is one condition on a node.
type term struct {
	kind  kind
	not   bool
	at    int             // where it begins in the selection, after the !
	text  string          // as typed, after the !
	names []string        // byName, byWord: in the order written
	set   map[string]bool // the same
	key   string          // byField, byLabel
	value string
}

// ParseSelector reads a selection, or says with fault.Misused where it cannot. Whether
// its names exist is for Select to find out.
func ParseSelector(text string) (Selector, error) {
	if len(text) > MaxSelector {
		return Selector{}, fault.New(fault.Misused, "the selection has %d bytes; at most %d are read", len(text), MaxSelector).
			Hint("give the nodes a label, and select by that")
	}
	r := &reader{text: text, left: MaxNames}
	s := Selector{text: text}
	for {
		m, err := r.member()
		if err != nil {
			return Selector{}, err
		}
		s.members = append(s.members, m)
		if !r.accept(',') {
			return s, nil
		}
	}
}

// member reads up to a comma or the end.
func (r *reader) member() (member, error) {
	var m member
	for {
		t, err := r.term()
		if err != nil {
			return nil, err
		}
		m = append(m, t)
		switch {
		case r.done() || r.peek() == ',':
			return m, nil
		case !r.accept('&'):
			return nil, r.misread(r.at, "a comma or & goes between terms, and %s is neither", r.here())
		}
	}
}

// term reads one term and the space around it.
func (r *reader) term() (term, error) {
	r.space()
	t := term{not: r.accept('!')}
	r.space()
	t.at = r.at
	err := r.condition(&t)
	if err != nil {
		return t, err
	}
	t.text = strings.TrimRight(r.text[t.at:r.at], " \t")
	return t, nil
}

// condition reads a term without its !.
func (r *reader) condition(t *term) error {
	word := r.take(isWord)
	if r.accept('=') {
		return r.pair(t, word)
	}
	if word == "all" && r.peek() != '[' {
		r.space()
		return nil
	}
	r.at = t.at
	if err := r.nodes(t); err != nil {
		return err
	}
	if len(t.names) == 1 && t.names[0] == word {
		t.kind = byWord
	}
	return nil
}

// nodes reads a hostlist's item.
func (r *reader) nodes(t *term) (err error) {
	t.kind = byName
	if t.names, err = r.names(); err != nil {
		return err
	}
	t.set = make(map[string]bool, len(t.names))
	for _, name := range t.names {
		t.set[name] = true
	}
	return nil
}

// pair reads what follows "key=".
func (r *reader) pair(t *term, key string) error {
	if key == "name" {
		return r.nodes(t)
	}
	if key == "" || len(key) > maxLabel {
		return r.misread(t.at, "a name of 1 to %d bytes goes in front of =", maxLabel)
	}
	start := r.at
	t.key, t.value = key, r.take(isWord)
	if t.value == "" || len(t.value) > maxLabel {
		return r.misread(start, "a value of 1 to %d bytes goes after %s=", maxLabel, key)
	}
	r.space()
	t.kind = byField
	switch key {
	case "model", "arch", "role":
	case "state":
		if states := []string{string(Up), string(Suspect), string(Down)}; !slices.Contains(states, t.value) {
			return r.misread(start, "no node is ever %q; a state is one of %s", t.value, strings.Join(states, ", "))
		}
	default:
		t.kind = byLabel
		if err := ValidLabel(key, t.value); err != nil {
			return r.misread(t.at, "%v", err)
		}
	}
	return nil
}

// String is the selection as it was written.
func (s Selector) String() string { return s.text }

// Select returns the nodes that are selected, in natural order of their names. It is
// fault.NotFound when a name or label is nobody's, even behind a !, and when nothing is left.
func (s Selector) Select(nodes []Node) ([]Node, error) {
	selected, err := s.find(pointers(nodes))
	if err != nil {
		return nil, err
	}
	return values(selected), nil
}

// find is Select without moving nodes, which are large.
func (s Selector) find(nodes []*Node) ([]*Node, error) {
	if len(nodes) == 0 {
		return nil, fault.New(fault.NotFound, "the cluster has no nodes yet").Hint("bramble token create")
	}
	c := newCensus(nodes)
	for _, m := range s.members {
		for i := range m {
			if err := c.check(&m[i], s.text); err != nil {
				return nil, err
			}
		}
	}
	selected := s.pick(nodes, c)
	if len(selected) == 0 {
		return nil, s.nothing(nodes, c)
	}
	return selected, nil
}

// Match is Select for those who wait for nodes to appear: a name or label that is
// nobody's matches nothing, and so may the whole.
func (s Selector) Match(nodes []Node) []Node {
	all := pointers(nodes)
	return values(s.pick(all, newCensus(all)))
}

// Meant are the nodes that a selection means by now which Select found nodes for when it was given: one that it names may be no member
// any more, and the others are meant as before. "" is all.
func Meant(selection string, nodes []Node) []Node {
	s, err := ParseSelector(cmp.Or(selection, "all"))
	if err != nil {
		return nil // Select has refused it
	}
	return s.Match(nodes)
}

func pointers(nodes []Node) []*Node {
	all := make([]*Node, len(nodes))
	for i := range nodes {
		all[i] = &nodes[i]
	}
	return all
}

func values(nodes []*Node) []Node {
	all := make([]Node, len(nodes))
	for i, n := range nodes {
		all[i] = *n
	}
	return all
}

func (s Selector) pick(nodes []*Node, c census) []*Node {
	selected := make([]*Node, 0, len(nodes)) // mostly all are meant
	for _, n := range nodes {
		if s.holds(n, c) {
			selected = append(selected, n)
		}
	}
	byName := func(a, b *Node) int { return NaturalCompare(a.Name, b.Name) }
	if !slices.IsSortedFunc(selected, byName) {
		slices.SortFunc(selected, byName)
	}
	return selected
}

// holds is rules 3 and 4 for one node.
func (s Selector) holds(n *Node, c census) bool {
	adding, added := false, false
	for _, m := range s.members {
		holds := !slices.ContainsFunc(m, func(t term) bool { return c.holds(&t, n) == t.not })
		switch {
		case m.adds():
			adding, added = true, added || holds
		case !holds:
			return false
		}
	}
	return added || !adding
}

// nothing explains an empty selection by the first term that no node meets, if there is one.
func (s Selector) nothing(nodes []*Node, c census) error {
	for _, t := range slices.Concat(s.members...) {
		if t.not || slices.ContainsFunc(nodes, func(n *Node) bool { return c.holds(&t, n) }) {
			continue
		}
		text := "no node has " + t.text
		if have := said(t.key, nodes); len(have) > 0 {
			text += "; there is " + clip(strings.Join(have, ", "))
		}
		return fault.New(fault.NotFound, "%s", text).Hint("bramble nodes")
	}
	return fault.New(fault.NotFound, "no node is selected by %s", strconv.Quote(clip(s.text))).Hint("bramble nodes")
}
