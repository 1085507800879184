package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bramble/fault"
	"bramble/fleet"
	"bramble/term"
)

type nodesCmd struct {
	List   nodesListCmd   `cmd:"" default:"withargs" help:"List the nodes."`
	Label  nodesLabelCmd  `cmd:"" help:"Set labels (camera=1, fast) or take them off (camera-)."`
	Rename nodesRenameCmd `cmd:"" help:"Give a node another name."`
	Remove nodesRemoveCmd `cmd:"" help:"End a node's membership; it is cut off at once."`
}

type nodesListCmd struct {
	On    string `help:"Which nodes: all, node[01-16], model=pi3, a label; , or & and !." default:"all" placeholder:"SEL"`
	JSON  bool   `help:"Print a JSON list."`
	Watch bool   `short:"w" help:"Stay and show changes."`
}

func (nodesListCmd) Examples() string {
	return `bramble nodes
bramble nodes --on 'model=pi4&!camera'
bramble nodes label node3 camera=1
`
}

func (c *nodesListCmd) Run(e *env) error {
	sel, err := fleet.ParseSelector(c.On)
	if err != nil {
		return err
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	if !c.Watch {
		nodes, err := cl.Fleet.Nodes(e.ctx)
		if err != nil {
			return err
		}
		return c.once(e, sel, nodes)
	}
	s := e.out.Stdout
	block := term.NewBlock(s)
	for nodes, err := range cl.Fleet.Watch(e.ctx) {
		if err != nil {
			return err
		}
		chosen := sel.Match(nodes)
		switch {
		case c.JSON:
			err = term.JSONLine(s, listed(chosen))
		case s.CanRedraw():
			block.Draw(nodesTable(s.Style, chosen).Lines(s))
		default:
			err = nodesTable(s.Style, chosen).Write(s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *nodesListCmd) once(e *env, sel fleet.Selector, nodes []fleet.Node) error {
	if len(nodes) > 0 {
		var err error
		if nodes, err = sel.Select(nodes); err != nil {
			return err
		}
	}
	if c.JSON {
		return term.JSON(e.out.Stdout, listed(nodes))
	}
	return nodesTable(e.out.Stdout.Style, nodes).Write(e.out.Stdout)
}

// listed makes sure that no list is null in JSON.
func listed(nodes []fleet.Node) []fleet.Node {
	all := append([]fleet.Node{}, nodes...)
	for i := range all {
		if all[i].Roles == nil {
			all[i].Roles = []string{}
		}
	}
	return all
}

func nodesTable(s term.Style, nodes []fleet.Node) *term.Table {
	t := term.NewTable(term.Column{Title: "NODE"}, term.Column{Title: "STATE"}, term.Column{Title: "ROLES", Priority: 4},
		term.Column{Title: "MODEL", Priority: 1}, term.Column{Title: "CORES", Right: true, Priority: 1},
		term.Column{Title: "LOAD", Right: true, Priority: 2}, term.Column{Title: "MEMORY", Right: true, Priority: 1},
		term.Column{Title: "USED", Right: true, Priority: 3}, term.Column{Title: "TEMP", Right: true, Priority: 2},
		term.Column{Title: "ADDRESS", Priority: 3}, term.Column{Title: "LABELS", Priority: 5, Min: 8},
		term.Column{Title: "VERSION", Priority: 6, Min: 4})
	for _, n := range nodes {
		t.Row(s.Name(n.Name), stateText(s, n), strings.Join(n.Roles, ","), n.Model, fmt.Sprint(n.Cores),
			fmt.Sprintf("%.2f", n.Sample.Load), term.Bytes(n.Memory), share(n.Sample.MemUsed, n.Sample.MemTotal),
			temperature(n.Sample.Temp), n.Address, labels(n.Labels), n.Version)
	}
	return t
}

func stateText(s term.Style, n fleet.Node) string {
	text := string(n.State)
	if n.Drained != "" {
		text += ",drained"
	}
	switch n.State {
	case fleet.Up:
		return s.Good(text)
	case fleet.Suspect:
		return s.Warn(text)
	}
	return s.Bad(text)
}

func share(part, whole int64) string {
	if whole == 0 {
		return ""
	}
	return fmt.Sprintf("%d%%", 100*part/whole)
}

func temperature(celsius float64) string {
	if celsius == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f°C", celsius)
}

func labels(l map[string]string) string {
	var words []string
	for _, key := range slices.Sorted(maps.Keys(l)) {
		word := key
		if l[key] != "" {
			word += "=" + l[key]
		}
		words = append(words, word)
	}
	return cmp.Or(strings.Join(words, ","), "-")
}

type nodesLabelCmd struct {
	On     string   `arg:"" help:"Which nodes, as for --on."`
	Labels []string `arg:"" help:"camera=1, fast, or camera- to take it off."`
}

func (nodesLabelCmd) Examples() string {
	return `bramble nodes label 'node[01-04]' rack=1
bramble nodes label node3 camera-
`
}

func (c *nodesLabelCmd) Run(e *env) error {
	var changes []fleet.LabelChange
	for _, text := range c.Labels {
		l, err := fleet.ParseLabel(text)
		if err != nil {
			return err
		}
		changes = append(changes, l)
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	names, err := selected(e.ctx, cl, c.On)
	if err != nil {
		return err
	}
	if err := cl.Fleet.Label(e.ctx, names, changes); err != nil {
		return err
	}
	fmt.Fprintf(e.out.Stdout, "labelled %s\n", fleet.Fold(names))
	return nil
}

type nodesRenameCmd struct {
	Old string `arg:"" help:"Name now."`
	New string `arg:"" help:"Name from now on."`
}

func (nodesRenameCmd) Examples() string { return "bramble nodes rename raspberrypi node07\n" }

func (c *nodesRenameCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.Fleet.Rename(e.ctx, c.Old, c.New); err != nil {
		return err
	}
	fmt.Fprintf(e.out.Stdout, "%s is %s now\n", c.Old, c.New)
	return nil
}

type nodesRemoveCmd struct {
	Name string `arg:"" help:"Node to remove."`
	Yes  bool   `short:"y" help:"Do not ask."`
}

func (nodesRemoveCmd) Examples() string { return "bramble nodes remove node07\n" }

func (c *nodesRemoveCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	if _, err := cl.Fleet.Select(e.ctx, c.Name); err != nil {
		return err
	}
	if !c.Yes {
		sure, err := term.Confirm(e.ctx, e.out, "Remove "+c.Name+" from the cluster?")
		if err != nil {
			return err
		}
		if !sure {
			return fault.New(fault.Failed, "%s stays", c.Name)
		}
	}
	if err := cl.Fleet.Remove(e.ctx, c.Name); err != nil {
		return err
	}
	fmt.Fprintf(e.out.Stdout, "%s is removed\n", c.Name)
	return nil
}
