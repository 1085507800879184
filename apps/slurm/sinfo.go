package slurm

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"bramble/fault"
	"bramble/fleet"
	"bramble/job"
	"bramble/sorts"
)

// board is one node as sinfo sees it.
type board struct {
	fleet.Node
	taken    int   // cores
	reserved int64 // bytes of memory
}

// usable reports whether work could go there.
func (b board) usable() bool {
	return b.State != fleet.Down && b.State != fleet.Gone && b.Drained == ""
}

// state is the node's in Slurm's words, with a * while nobody has heard of it.
func (b board) state() string {
	word := "idle"
	switch {
	case b.State == fleet.Down || b.State == fleet.Gone:
		return "down*"
	case b.Drained != "" && b.taken > 0:
		word = "draining"
	case b.Drained != "":
		word = "drained"
	case b.taken >= b.Cores && b.Cores > 0:
		word = "allocated"
	case b.taken > 0:
		word = "mixed"
	}
	if b.State == fleet.Suspect {
		word += "*"
	}
	return word
}

// shortState is the same in the letters that sinfo prints.
func shortState(word string) string {
	base, silent := strings.CutSuffix(word, "*")
	base = map[string]string{"draining": "drng", "drained": "drain", "allocated": "alloc", "mixed": "mix", "idle": "idle", "down": "down"}[base]
	if silent {
		base += "*"
	}
	return base
}

// group is the nodes of a partition that one line of sinfo is about.
type group struct {
	part   job.Partition
	boards []board // one at least
}

func (g group) first() board { return g.boards[0] }

// sum adds up cores or nodes as allocated/idle/other/total.
func (g group) sum(of func(board) (taken, all int)) string {
	var a, i, o, n int
	for _, b := range g.boards {
		taken, all := of(b)
		a, n = a+taken, n+all
		if b.usable() {
			i += all - taken
		} else {
			o += all - taken
		}
	}
	return fmt.Sprintf("%d/%d/%d/%d", a, i, o, n)
}

func cores(b board) (taken, all int) { return min(b.taken, b.Cores), b.Cores }

func whole(b board) (taken, all int) { return min(b.taken, 1), 1 }

// least is the smallest of a figure, with + when others have more.
func (g group) least(of func(board) int64) string {
	low, more := of(g.boards[0]), false
	for _, b := range g.boards[1:] {
		n := of(b)
		more = more || n != low
		low = min(low, n)
	}
	text := strconv.FormatInt(low, 10)
	if more {
		text += "+"
	}
	return text
}

// lookAround is the partitions with their nodes, and how much of each is taken.
func (t *Tool) lookAround(ctx context.Context) (parts []group, err error) {
	nodes, err := t.Cluster.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	taken, err := t.taken(ctx)
	if err != nil {
		return nil, err
	}
	list, err := t.Cluster.Partitions(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(list, func(p job.Partition) bool { return p.Default }) {
		list = append([]job.Partition{{Name: job.DefaultPartition, Default: true}}, list...)
	}
	for _, p := range list {
		sel, err := fleet.ParseSelector(cmp.Or(p.On, "all"))
		if err != nil {
			return nil, err
		}
		g := group{part: p}
		for _, n := range sel.Match(nodes) {
			if slices.Contains(n.Roles, fleet.RoleWorker) {
				g.boards = append(g.boards, board{n, taken[n.Name].Used, taken[n.Name].MemUsed})
			}
		}
		parts = append(parts, g)
	}
	return parts, nil
}

// taken is what each node does.
func (t *Tool) taken(ctx context.Context) (map[string]job.Load, error) {
	loads, err := t.Cluster.Loads(ctx)
	taken := make(map[string]job.Load, len(loads))
	for _, l := range loads {
		taken[l.Name] = l
	}
	return taken, err
}

func sinfoOptions() []option {
	return []option{
		{name: "all", short: 'a'}, {name: "clusters", short: 'M', takes: needed}, {name: "dead", short: 'd'}, {name: "exact", short: 'e'}, {name: "federation"},
		{name: "format", short: 'o', takes: needed}, {name: "Format", short: 'O', takes: needed}, {name: "help"}, {name: "hide"},
		{name: "iterate", short: 'i', takes: needed}, {name: "json"}, {name: "list-reasons", short: 'R'}, {name: "local"}, {name: "long", short: 'l'},
		{name: "noconvert"}, {name: "Node", short: 'N'}, {name: "nodelist", short: 'n', takes: needed}, {name: "nodes", takes: needed}, {name: "noheader", short: 'h'},
		{name: "partition", short: 'p', takes: needed}, {name: "reservation", short: 'T'}, {name: "responding", short: 'r'}, {name: "sort", short: 'S', takes: needed},
		{name: "states", short: 't', takes: needed}, {name: "summarize", short: 's'}, {name: "usage"}, {name: "verbose", short: 'v'}, {name: "version", short: 'V'}, {name: "yaml"},
	}
}

// Sinfo shows partitions and nodes as the command of that name does.
func (t *Tool) Sinfo(ctx context.Context, args []string) error {
	v, rest, err := t.look("sinfo", sinfoOptions(), args)
	switch {
	case err != nil:
		return err
	case len(rest) > 0:
		return fault.New(fault.Misused, "sinfo takes no %q", clip(rest[0])).Hint("sinfo -n %s", clip(rest[0]))
	case given(v, "help", "usage"):
		return t.usage("sinfo", "-N, -l, -s, -R, -p PARTITION, -n NODES, -t STATE, -o FORMAT, -O NAMES, -h", sinfoOptions())
	case given(v, "version"):
		return t.version()
	}
	v.nodes = cmp.Or(v.nodes, v.set["nodes"])
	for {
		if err := t.sinfo(ctx, v); err != nil || v.every == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(v.every):
		}
	}
}

func (t *Tool) sinfo(ctx context.Context, v view) error {
	parts, err := t.lookAround(ctx)
	if err != nil {
		return err
	}
	keep, err := v.boards()
	if err != nil {
		return err
	}
	prefix, cells := v.sinfoCells(t)
	var rows []group
	for _, p := range parts {
		if v.partitions != "" && !words(v.partitions)[p.part.Name] {
			continue
		}
		p.boards = slices.DeleteFunc(p.boards, func(b board) bool { return !keep(b) })
		rows = append(rows, p.apart(v, cells)...)
	}
	if v.wants("Node") {
		sorts.Stable(rows, func(a, b group) int { return fleet.NaturalCompare(a.first().Name, b.first().Name) })
	}
	if v.long {
		io.WriteString(t.Out, t.now().Local().Format("Mon Jan 02 15:04:05 2006")+"\n")
	}
	_, err = io.WriteString(t.Out, table(prefix, cells, rows, v.header))
	return err
}

func (v view) wants(name string) bool { return given(v, name) }

// boards says which nodes were asked for.
func (v view) boards() (func(board) bool, error) {
	on, err := hosts(v.nodes)
	if err != nil {
		return nil, err
	}
	states := words(strings.ToLower(strings.ReplaceAll(v.states, "&", ",")))
	known := []string{"all", "down", "idle", "alloc", "allocated", "mix", "mixed", "drain", "drained", "drng", "draining", "comp", "completing", "fail", "maint",
		"resv", "reserved", "unk", "unknown", "no_respond", "planned", "future", "cloud", "reboot", "powered_down", "powering_up", "powering_down", "power_down", "perfctrs", "npc"}
	for s := range states {
		if !slices.Contains(known, s) {
			return nil, fault.New(fault.Failed, "sinfo: Bad state string: %q", clip(s)).Hint("sinfo -t idle,mixed,allocated,drain,down")
		}
	}
	return func(b board) bool {
		word := b.state()
		base, silent := strings.CutSuffix(word, "*")
		short := shortState(base)
		ok := len(states) == 0 || states["all"] || states[base] || states[short] || silent && states["no_respond"] ||
			states["drain"] && strings.HasPrefix(base, "drain")
		switch {
		case len(on) > 0 && !on[b.Name], !ok, v.wants("list-reasons") && b.Drained == "" && b.usable(), v.wants("dead") && !silent, v.wants("responding") && silent:
			return false
		}
		return true
	}, nil
}

// apart is a partition's nodes as lines: one a node with -N, else those that look the same together.
func (p group) apart(v view, cells []cell[group]) (rows []group) {
	index := map[string]int{}
	for _, b := range p.boards {
		one := group{part: p.part, boards: []board{b}}
		key := ""
		for _, c := range cells {
			if v.wants("Node") || c.name == "nodehost" || strings.IndexByte("tTEHuUnofGv", c.letter) >= 0 && c.letter != 0 || v.wants("exact") && strings.IndexByte("cmdwOez", c.letter) >= 0 {
				key += c.text(one) + "\x00"
			}
		}
		if v.wants("Node") {
			key = b.Name
		}
		i, known := index[key]
		if !known {
			i = len(rows)
			index[key] = i
			rows = append(rows, group{part: p.part})
		}
		rows[i].boards = append(rows[i].boards, b)
	}
	sorts.Stable(rows, func(a, b group) int { return cmp.Compare(weight(a.first()), weight(b.first())) })
	return rows
}

// weight puts what needs looking at first.
func weight(b board) int {
	return slices.Index([]string{"down*", "draining*", "drained*", "mixed*", "allocated*", "idle*", "draining", "drained", "mixed", "allocated", "idle"}, b.state())
}

func (v view) sinfoCells(t *Tool) (string, []cell[group]) {
	fields := nodeFields(t)
	strange := func(what string) { t.complain("sinfo", "Invalid node format specification: %s", what) }
	if v.columns != "" {
		return "", named(v.columns, fields, strange)
	}
	format := "%9P %.5a %.10l %.6D %.6t %N"
	switch {
	case v.format != "":
		format = v.format
	case v.wants("summarize"):
		format = "%9P %.5a %.10l %.16F %N"
	case v.wants("list-reasons") && v.long:
		format = "%20E %12U %19H %6t %N"
	case v.wants("list-reasons"):
		format = "%20E %9u %19H %N"
	case v.wants("Node") && v.long:
		format = "%#9N %.6D %.#9P %.11T %4c %.8z %.6m %.8d %.6w %.8f %20E"
	case v.wants("Node"):
		format = "%#9N %.6D %.#9P %6t"
	case t.Getenv("SINFO_FORMAT") != "":
		format = t.Getenv("SINFO_FORMAT")
	case v.long:
		format = "%9P %.5a %.10l %.10s %.4r %.8h %.10g %.6D %.11T %N"
	}
	return percent(format, fields, strange)
}
