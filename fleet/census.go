package fleet

import (
	"maps"
	"slices"
	"strings"

	"bramble/fault"
)

// census is which names and labels there are among some nodes.
type census struct {
	names  map[string]bool
	labels map[string]bool
}

func newCensus(nodes []*Node) census {
	c := census{names: make(map[string]bool, len(nodes)), labels: map[string]bool{}}
	for _, n := range nodes {
		c.names[n.Name] = true
		for key := range n.Labels {
			c.labels[key] = true
		}
	}
	return c
}

// holds reports whether the node meets the term, its ! aside.
func (c census) holds(t *term, n *Node) bool {
	switch t.kind {
	case byName:
		return t.set[n.Name]
	case byWord:
		if c.names[t.text] {
			return n.Name == t.text
		}
		_, labelled := n.Labels[t.text]
		return labelled
	case byField, byLabel:
		return slices.Contains(n.values(t.key), t.value)
	}
	return true
}

// check is fault.NotFound when the term speaks of a node or a label that is not there, and
// fault.Misused when it is a field's name alone.
func (c census) check(t *term, selection string) error {
	var missing []string
	for _, name := range t.names {
		if !c.names[name] {
			missing = append(missing, name)
		}
	}
	labelled := t.kind != byLabel || c.labels[t.key]
	if labelled && (len(missing) == 0 || t.kind == byWord && c.labels[t.text]) {
		return nil
	}
	known := slices.Collect(maps.Keys(c.names))
	what := "no node is called "
	switch {
	case !labelled:
		missing, known = []string{t.key}, slices.Collect(maps.Keys(c.labels))
		what = "no node has a label "
	case reserved(t.text):
		return fault.New(fault.Misused, "%s: %s needs a value, such as %s", place(selection, t.at), t.text, example(t.text)).Hint("bramble nodes")
	case t.kind == byWord:
		known = slices.AppendSeq(known, maps.Keys(c.labels))
		what = "no node or label is called "
	}
	instead, try := c.instead(t, selection, missing[0], known)
	text := what + clip(Fold(missing)) + instead
	if t.text != selection {
		text = place(selection, t.at) + ": " + text
	}
	return fault.New(fault.NotFound, "%s", text).Hint("%s", try)
}

// instead is what there is in place of something missing, and what to try: of a range, names like it, and the same with their zeros.
func (c census) instead(t *term, selection, missing string, known []string) (text, try string) {
	try = "bramble nodes"
	alike := c.alike(t.names)
	if t.kind != byName || len(t.names) < 2 || len(alike) == 0 {
		if near := Nearest(missing, Natural(known)); near != "" {
			text = "; the nearest is " + near
		}
		return text, try
	}
	text = "; there is " + clip(Fold(alike))
	padded, end := c.padded(t.names), t.at+len(t.text)
	meant := selection[:end-len(strings.TrimPrefix(t.text, "name="))] + Fold(padded) + selection[end:]
	if len(padded) > 0 && clip(meant) == meant {
		try = "'" + meant + "', with as many digits as nodes have"
	}
	return text, try
}

// alike are the nodes whose names differ only in their numbers from those of a hostlist's item, which do so too.
func (c census) alike(names []string) (alike []string) {
	if len(names) == 0 {
		return nil
	}
	shape := boxOf(names[0]).shape()
	for name := range c.names {
		if boxOf(name).shape() == shape {
			alike = append(alike, name)
		}
	}
	return alike
}

// padded are the nodes that are meant by names whose numbers have more zeros in front, or fewer; nil where one is nobody's.
func (c census) padded(names []string) (padded []string) {
	known := map[string]string{}
	for name := range c.names {
		known[unpadded(name)] = name
	}
	for _, name := range names {
		if !c.names[name] {
			name = known[unpadded(name)]
		}
		if name == "" {
			return nil
		}
		padded = append(padded, name)
	}
	return padded
}

// example shows how a reserved word is used.
func example(word string) string {
	return word + "=" + map[string]string{"model": "pi4", "arch": "arm64", "role": "head", "state": "up", "name": "node1"}[word]
}

// values is what a node has under a key of a selection: several roles, or none of a label.
func (n *Node) values(key string) []string {
	switch key {
	case "model":
		return []string{n.Model}
	case "arch":
		return []string{n.Arch}
	case "state":
		return []string{string(n.State)}
	case "role":
		return n.Roles
	}
	if value, labelled := n.Labels[key]; labelled {
		return []string{value}
	}
	return nil
}

// said is what all nodes together have under a key and a selection can say, in natural order.
func said(key string, nodes []*Node) []string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.values(key)...)
	}
	return slices.DeleteFunc(Natural(all), func(value string) bool { return value == "" || !only(value, isWord) })
}

// clip shortens a list that nobody would read to its end.
func clip(list string) string {
	const most = 80
	if len(list) <= most {
		return list
	}
	return list[:most] + "…"
}
