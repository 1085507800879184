package slurm

import (
	"path/filepath"
	"strings"

	"bramble/fault"
	"bramble/fleet"
)

// nodes reads --nodelist.
func (b *Batch) nodes(s string) error {
	names, err := fleet.Expand(s)
	if err == nil && len(names) == 0 {
		err = fault.New(fault.Misused, "it names no node").Hint("--nodelist=node[1-4]")
	}
	b.nodelist = names
	return err
}

// excluded reads --exclude.
func (b *Batch) excluded(s string) error {
	names, err := fleet.Expand(s)
	b.exclude = names
	return err
}

// maxWanted is how many alternatives a constraint may come to.
const maxWanted = 256

// constraint reads labels and models with & for both, | for either, ! for not, and parentheses.
func (b *Batch) constraint(s string) error {
	r := &wants{text: s}
	list, ok := r.either()
	if ok && r.at < len(r.text) {
		ok = false
	}
	switch {
	case r.counted:
		b.warn("--constraint: how many nodes of each kind, in " + clip(s) + ", is not honoured: any of them will do")
	case r.matching && len(list) > 1:
		b.warn("--constraint: nodes of several of the kinds in " + clip(s) + " may come together")
	}
	if !ok || len(list) > maxWanted {
		return fault.New(fault.Misused, "%q, character %d: this is no constraint", clip(s), r.at+1).Hint("--constraint='pi4&ssd', with labels and models of nodes")
	}
	b.wanted = list
	return nil
}

// wants reads a constraint as alternatives of what must all hold.
type wants struct {
	text              string
	at, deep          int
	counted, matching bool // a * was there, or [ ]
}

func (r *wants) space() {
	for r.at < len(r.text) && (r.text[r.at] == ' ' || r.text[r.at] == '\t') {
		r.at++
	}
}

func (r *wants) accept(c byte) bool {
	r.space()
	if r.at < len(r.text) && r.text[r.at] == c {
		r.at++
		return true
	}
	return false
}

func (r *wants) either() ([][]string, bool) {
	list, ok := r.both()
	for ok && r.accept('|') {
		var more [][]string
		more, ok = r.both()
		list = append(list, more...)
		ok = ok && len(list) <= maxWanted
	}
	return list, ok
}

func (r *wants) both() ([][]string, bool) {
	list, ok := r.one()
	for ok && (r.accept('&') || r.accept(',')) {
		more, good := r.one()
		if !good || len(list)*len(more) > maxWanted {
			return nil, false
		}
		var product [][]string
		for _, a := range list {
			for _, b := range more {
				product = append(product, append(append([]string{}, a...), b...))
			}
		}
		if r.counted && len(list) == 1 && len(more) == 1 { // kinds that different nodes have
			product = [][]string{list[0], more[0]}
		}
		list = product
	}
	return list, ok
}

func (r *wants) one() (list [][]string, ok bool) {
	for open, end := range map[byte]byte{'(': ')', '[': ']'} {
		if !r.accept(open) {
			continue
		}
		if r.deep++; r.deep > 20 {
			return nil, false
		}
		if open == '[' {
			r.matching = true
		}
		list, ok = r.either()
		ok = ok && r.accept(end)
		r.deep--
		return list, ok && r.times()
	}
	not := ""
	if r.accept('!') {
		not = "!"
	}
	r.space()
	start := r.at
	for r.at < len(r.text) && (isDigit(r.text[r.at]) || strings.IndexByte("._-=", r.text[r.at]) >= 0 || 'a' <= r.text[r.at]|0x20 && r.text[r.at]|0x20 <= 'z') {
		r.at++
	}
	if r.at == start {
		return nil, false
	}
	return [][]string{{not + term(r.text[start:r.at])}}, r.times()
}

// times passes over *COUNT.
func (r *wants) times() bool {
	if !r.accept('*') {
		return true
	}
	r.counted = true
	start := r.at
	for r.at < len(r.text) && isDigit(r.text[r.at]) {
		r.at++
	}
	return r.at > start
}

// term is a word of a constraint as a selection says it: a model, an architecture, or a label.
func term(word string) string {
	switch lower := strings.ToLower(word); lower {
	case "pi1", "pi2", "pi3", "pi4", "pi5", "pi400", "pi500", "pizero", "pizero2", "x86":
		return "model=" + lower
	case "armv6", "armv7", "arm64", "amd64":
		return "arch=" + lower
	case "aarch64":
		return "arch=arm64"
	case "x86_64":
		return "arch=amd64"
	}
	return word
}

// settle works out what several options together mean.
func (b *Batch) settle() error {
	s := &b.Spec
	if err := b.where(); err != nil {
		return err
	}
	if s.RanksPerNode > 0 && s.Ranks == 0 {
		s.Nodes = max(1, s.Nodes)
		s.Ranks = s.RanksPerNode * s.Nodes
	}
	if s.Nodes > 0 && s.Ranks > 0 && s.Ranks < s.Nodes {
		b.warn("fewer tasks than nodes: it gets as many nodes as tasks")
		s.Nodes = s.Ranks
	}
	if s.Ranks > maxCount {
		return fault.New(fault.Misused, "%d tasks are more than can be asked for", s.Ranks)
	}
	b.gpuShare()
	if s.Signal != "" && s.Timeout == 0 {
		b.warn("--signal is sent before the time limit, and there is none: --time=MINUTES")
	}
	if s.WorkDir != "" {
		s.WorkDir = filepath.Clean(s.WorkDir)
		if b.shared == nil || !b.shared(s.WorkDir) {
			b.warn("--chdir: " + clip(s.WorkDir) + " travels, and the job runs in a copy of it; bramble submit --shared PATH runs it there, if it is below a path that is the same everywhere")
		}
	}
	return nil
}

// gpuShare turns counts of GPUs by job and by task into one for each node.
func (b *Batch) gpuShare() {
	s := &b.Spec
	nodes := max(1, s.Nodes)
	n := 0
	if b.gpus > 0 {
		n = (b.gpus + nodes - 1) / nodes
	}
	if b.gpusATask > 0 {
		ranks := s.RanksPerNode
		if ranks == 0 {
			ranks = (max(s.Ranks, nodes) + nodes - 1) / nodes
		}
		n = max(n, b.gpusATask*ranks)
	}
	if n == 0 {
		return
	}
	if s.Gres == nil {
		s.Gres = map[string]int{}
	}
	s.Gres["gpu"] = max(n, s.Gres["gpu"])
}

// where writes node lists and constraints as one selection.
func (b *Batch) where() error {
	members := [][]string{nil}
	if len(b.wanted) > 0 {
		members = b.wanted
	}
	if named := len(b.nodelist); named > 0 {
		b.Spec.Nodes = max(b.Spec.Nodes, named)
		if b.Spec.Nodes > named {
			b.warn("--nodelist is not honoured: it names fewer nodes than --nodes asks for, and which others may join cannot be said")
		} else {
			var list [][]string
			for item := range strings.SplitSeq(foldItems(b.nodelist), " ") {
				for _, m := range members {
					list = append(list, append([]string{item}, m...))
				}
			}
			members = list
		}
	}
	var terms []string
	for _, m := range members {
		if len(m) > 0 {
			terms = append(terms, strings.Join(m, "&"))
		}
	}
	for i, t := range terms {
		if len(terms) > 1 && allNegated(t) { // alone it would take away from the others
			terms[i] = "all&" + t
		}
	}
	for item := range strings.SplitSeq(foldItems(b.exclude), " ") {
		if item != "" {
			terms = append(terms, "!"+item)
		}
	}
	b.Spec.On = strings.Join(terms, ",")
	if len(b.Spec.On) > fleet.MaxSelector {
		return fault.New(fault.Misused, "nodes and constraints come to %d bytes as a selection; at most %d are read", len(b.Spec.On), fleet.MaxSelector).
			Hint("give the nodes a label, and ask for it with --constraint")
	}
	return nil
}

func allNegated(member string) bool {
	for t := range strings.SplitSeq(member, "&") {
		if !strings.HasPrefix(t, "!") {
			return false
		}
	}
	return true
}

// foldItems writes names as hostlist items with spaces between.
func foldItems(names []string) string {
	folded := fleet.Fold(names)
	var out strings.Builder
	deep := 0
	for _, c := range folded {
		switch {
		case c == '[':
			deep++
		case c == ']':
			deep--
		case c == ',' && deep == 0:
			c = ' '
		}
		out.WriteRune(c)
	}
	return out.String()
}
