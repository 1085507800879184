package slurm

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bramble/fleet"
)

// nodeFields is what sinfo can tell, under the letters, names and titles that it has for it.
func nodeFields(t *Tool) []field[group] {
	fixed := func(text string) func(group) string { return func(group) string { return text } }
	names := func(g group) string { return fleet.Fold(g.names()) }
	state := func(g group) string { return g.first().state() }
	memory := func(b board) int64 { return b.Memory >> 20 }
	features := func(g group) string { return orNull(featureText(g.first().Node)) }
	return []field[group]{
		{letter: 'P', name: "partition", title: "PARTITION", text: func(g group) string {
			if g.part.Default {
				return g.part.Name + "*"
			}
			return g.part.Name
		}},
		{letter: 'R', name: "partitionname", title: "PARTITION", text: func(g group) string { return g.part.Name }},
		{letter: 'a', name: "available", title: "AVAIL", text: func(g group) string {
			if g.part.Down {
				return "down"
			}
			return "up"
		}},
		{letter: 'l', name: "time", title: "TIMELIMIT", text: func(g group) string { return limitText(g.part.MaxTime, clock, "infinite") }},
		{letter: 'L', name: "defaulttime", title: "DEFAULTTIME", text: func(g group) string { return limitText(g.part.DefaultTime, clock, "n/a") }},
		{letter: 'D', name: "nodes", title: "NODES", text: func(g group) string { return strconv.Itoa(len(g.boards)) }},
		{letter: 't', name: "statecompact", title: "STATE", text: func(g group) string { return shortState(state(g)) }},
		{letter: 'T', name: "statelong", title: "STATE", text: state},
		{name: "state", title: "STATE", text: state},
		{letter: 'N', name: "nodelist", title: "NODELIST", text: names},
		{letter: 'n', name: "nodehost", title: "HOSTNAMES", text: names},
		{letter: 'o', name: "nodeaddr", title: "NODE_ADDR", text: func(g group) string { return g.first().Address }},
		{letter: 'c', name: "cpus", title: "CPUS", text: func(g group) string { return g.least(func(b board) int64 { return int64(b.Cores) }) }},
		{letter: 'C', name: "cpusstate", title: "CPUS(A/I/O/T)", text: func(g group) string { return g.sum(cores) }},
		{letter: 'F', name: "nodeaiot", title: "NODES(A/I/O/T)", text: func(g group) string { return g.sum(whole) }},
		{letter: 'A', name: "nodeai", title: "NODES(A/I)", text: func(g group) string {
			parts := strings.Split(g.sum(whole), "/")
			return parts[0] + "/" + parts[1]
		}},
		{letter: 'm', name: "memory", title: "MEMORY", text: func(g group) string { return g.least(memory) }},
		{letter: 'e', name: "freemem", title: "FREE_MEM", text: func(g group) string {
			return g.least(func(b board) int64 { return max(0, b.Sample.MemTotal-b.Sample.MemUsed) >> 20 })
		}},
		{letter: 'O', name: "cpusload", title: "CPU_LOAD", text: func(g group) string { return fmt.Sprintf("%.2f", g.first().Sample.Load) }},
		{letter: 'E', name: "reason", title: "REASON", text: func(g group) string { return cmp.Or(reasonText(g.first()), "none") }},
		{letter: 'u', name: "user", title: "USER", text: fixed("Unknown")},
		{letter: 'U', name: "userlong", title: "USER", text: fixed("Unknown")},
		{letter: 'H', name: "timestamp", title: "TIMESTAMP", text: fixed("Unknown")},
		{letter: 'f', name: "features", title: "AVAIL_FEATURES", text: features},
		{letter: 'b', name: "features_act", title: "ACTIVE_FEATURES", text: features},
		{letter: 'G', name: "gres", title: "GRES", text: func(g group) string { return orNull(gresOf(g.first().Node)) }},
		{letter: 'z', name: "socketcorethread", title: "S:C:T", text: func(g group) string { return fmt.Sprintf("1:%d:1", g.first().Cores) }},
		{letter: 'X', name: "sockets", title: "SOCKETS", text: fixed("1")},
		{letter: 'Y', name: "cores", title: "CORES", text: func(g group) string { return g.least(func(b board) int64 { return int64(b.Cores) }) }},
		{letter: 'Z', name: "threads", title: "THREADS", text: fixed("1")},
		{letter: 's', name: "size", title: "JOB_SIZE", text: func(g group) string {
			if g.part.MaxNodes > 0 {
				return fmt.Sprintf("1-%d", g.part.MaxNodes)
			}
			return "1-infinite"
		}},
		{letter: 'r', name: "root", title: "ROOT", text: fixed("no")},
		{letter: 'h', name: "oversubscribe", title: "OVERSUBSCRIBE", text: fixed("NO")},
		{letter: 'g', name: "groups", title: "GROUPS", text: func(g group) string { return cmp.Or(strings.Join(g.part.Users, ","), "all") }},
		{letter: 'S', name: "allocnodes", title: "ALLOCNODES", text: fixed("all")},
		{letter: 'w', name: "weight", title: "WEIGHT", text: fixed("1")},
		{letter: 'd', name: "disk", title: "TMP_DISK", text: fixed("0")},
		{letter: 'v', name: "version", title: "VERSION", text: func(g group) string { return g.first().Version }},
		{letter: 'B', name: "maxcpuspernode", title: "MAX_CPUS_PER_NODE", text: fixed("UNLIMITED")},
		{letter: 'I', name: "priorityjobfactor", title: "PRIO_JOB_FACTOR", text: fixed("1")},
		{letter: 'p', name: "prioritytier", title: "PRIO_TIER", text: func(g group) string { return strconv.Itoa(g.part.Priority) }},
		{letter: 'M', name: "preemptmode", title: "PREEMPT_MODE", text: fixed("OFF")},
		{letter: 'V', name: "cluster", title: "CLUSTER", text: fixed(cmp.Or(t.Name, "bramble"))},
	}
}

func (g group) names() []string {
	names := make([]string, len(g.boards))
	for i, b := range g.boards {
		names[i] = b.Name
	}
	return names
}

// reasonText is why a node takes no work.
func reasonText(b board) string {
	switch {
	case b.Drained != "":
		return b.Drained
	case b.State == fleet.Down:
		return "Not responding"
	}
	return ""
}

// featureText is a node's model and labels, which --constraint can ask for.
func featureText(n fleet.Node) string {
	list := []string{}
	for key, value := range n.Labels {
		if value != "" {
			key += "=" + value
		}
		list = append(list, key)
	}
	slices.Sort(list)
	if n.Model != "" && n.Model != "unknown" {
		list = append([]string{n.Model}, list...)
	}
	return strings.Join(list, ",")
}

// gresOf is the labels of a node that count something.
func gresOf(n fleet.Node) string {
	var list []string
	for key, value := range n.Labels {
		if count, err := strconv.Atoi(value); err == nil && count > 0 {
			list = append(list, key+":"+value)
		}
	}
	slices.Sort(list)
	return strings.Join(list, ",")
}
