package cli

import (
	"cmp"
	"fmt"
	"strings"

	"bramble/artefact"
	"bramble/cluster"
	"bramble/fault"
	"bramble/fleet"
	"bramble/sorts"
	"bramble/term"
)

type storeCmd struct {
	Put     storePutCmd     `cmd:"" help:"Keep a file or a folder on several nodes, whatever becomes of one of them."`
	Get     storeGetCmd     `cmd:"" help:"Have back what is kept."`
	Ls      storeLsCmd      `cmd:"" help:"List what is kept."`
	Stat    storeStatCmd    `cmd:"" help:"Show everything about one thing that is kept, its copies counted."`
	Rm      storeRmCmd      `cmd:"" help:"Keep something no longer."`
	Doctor  storeDoctorCmd  `cmd:"" help:"Count all copies, and say what would be lost if which node died now."`
	List    storeListCmd    `cmd:"" help:"Show how full the nodes' stores are, and for whom they hold what."`
	Spreads storeSpreadsCmd `cmd:"" help:"Show what is on its way to nodes, whoever asked for it, and what lately was."`
	GC      storeGCCmd      `cmd:"" name:"gc" help:"Free what nobody needs now."`
	Verify  storeVerifyCmd  `cmd:"" help:"Read all that the stores hold, and move away what is damaged."`
	Scrub   storeScrubCmd   `cmd:"" help:"Show how far nodes have read through what they hold, which each does slowly all the time."`
	Pin     storePinCmd     `cmd:"" help:"Have stores hold blobs or trees until unpin, whoever else needs them."`
	Unpin   storeUnpinCmd   `cmd:"" help:"Let go of what was pinned."`
	Set     storeSetCmd     `cmd:"" help:"Say how much stores keep, how often they read it through, and how soon copies are made anew."`
}

// storeOn chooses stores.
type storeOn struct {
	On string `help:"Which nodes: all, node[01-16], model=pi3, a label; , or & and !. The head's own store goes with the node on its machine." default:"all" placeholder:"SEL"`
}

type storeListCmd struct {
	storeOn
	Pins bool `help:"For whom each store holds what."`
	JSON bool `help:"Print a JSON list."`
}

func (storeListCmd) Examples() string {
	return "bramble store list\nbramble store list --on node3 --pins\n"
}

func (c *storeListCmd) Run(e *env) error {
	op := artefact.OpList
	if c.Pins {
		op = artefact.OpPins
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	answers, verdict := tendStores(e, cl, artefact.StoreRequest{On: c.On, Task: artefact.StoreTask{Op: op}})
	if answers == nil && verdict != nil {
		return verdict
	}
	if c.JSON {
		err = term.JSON(e.out.Stdout, append([]artefact.StoreEvent{}, answers...))
	} else if c.Pins {
		err = pinsTable(e, cl, answers)
	} else {
		err = storesTable(answers).Write(e.out.Stdout)
	}
	return cmp.Or(err, verdict)
}

// storeName is a node's name, with a mark where it is the head's own store.
func storeName(ev artefact.StoreEvent) (name, of string) {
	if ev.Head {
		return ev.Node, "head"
	}
	return ev.Node, "node"
}

func storesTable(answers []artefact.StoreEvent) *term.Table {
	t := term.NewTable(term.Column{Title: "NODE"}, term.Column{Title: "STORE"}, term.Column{Title: "USED", Right: true}, term.Column{Title: "HELD", Right: true},
		term.Column{Title: "KEEP", Right: true}, term.Column{Title: "FREE", Right: true}, term.Column{Title: "BLOBS", Right: true},
		term.Column{Title: "PINS", Right: true}, term.Column{Title: "DAMAGED", Right: true})
	for _, ev := range answers {
		if r := ev.Report; r != nil {
			name, of := storeName(ev)
			t.Row(name, of, term.Bytes(r.Used), term.Bytes(r.Held), limitText(r.Keep > 0, term.Bytes(r.Keep)), term.Bytes(r.Free), term.Count(r.Blobs),
				fmt.Sprint(r.Pins), term.Count(r.Damaged))
		}
	}
	return t
}

func pinsTable(e *env, cl *cluster.Cluster, answers []artefact.StoreEvent) error {
	kept, err := cl.Durables().List(e.ctx)
	if err != nil {
		return err
	}
	names := map[string]string{}
	for _, d := range kept {
		names[d.ID] = d.Name
	}
	t := term.NewTable(term.Column{Title: "NODE"}, term.Column{Title: "STORE"}, term.Column{Title: "FOR"}, term.Column{Title: "NAME"},
		term.Column{Title: "BLOBS", Right: true}, term.Column{Title: "SIZE", Right: true}, term.Column{Title: "MISSING", Right: true})
	for _, ev := range answers {
		name, of := storeName(ev)
		for _, p := range ev.Pins {
			why, what := holder(p.Name, names)
			t.Row(name, of, why, what, fmt.Sprint(p.Blobs), term.Bytes(p.Bytes), fmt.Sprint(p.Missing))
		}
	}
	return t.Write(e.out.Stdout)
}

// holder is who a pin is for, and its name there.
func holder(pin string, durable map[string]string) (why, name string) {
	for _, kind := range []struct{ prefix, why string }{{"store-", "put"}, {"pin-", "pin"}, {"copy-", "push or pull"}, {"job.", "job"}, {"site-", "site"}} {
		if rest, ok := strings.CutPrefix(pin, kind.prefix); ok {
			if kind.why == "put" {
				rest = cmp.Or(durable[rest], rest)
			}
			return kind.why, rest
		}
	}
	return "other", pin
}

// tendStores asks stores for something and returns what they answered, sorted, and which did not.
func tendStores(e *env, cl *cluster.Cluster, req artefact.StoreRequest) (answers []artefact.StoreEvent, verdict error) {
	b, stop := newBars(e)
	defer stop()
	s := &copyShow{bars: b}
	if req.Task.Op != artefact.OpVerify { // the rest is quick
		s.progress = nil
	}
	for ev, err := range cl.Durables().Stores(e.ctx, req) {
		switch {
		case err != nil:
			return nil, err
		case ev.End != nil:
			s.draw(artefact.Event{Kind: artefact.Ended, Node: ev.Node, End: ev.End})
			s.failure(ev.Node, *ev.End)
		case ev.Total > 0:
			s.draw(artefact.Event{Kind: artefact.Moving, Node: ev.Node, Step: "read", Done: ev.Done, Total: ev.Total})
		case ev.Node != "":
			answers = append(answers, ev)
		}
	}
	sorts.Stable(answers, func(a, b artefact.StoreEvent) int {
		return cmp.Or(fleet.NaturalCompare(a.Node, b.Node), -cmp.Compare(headFirst(a), headFirst(b)))
	})
	if len(s.failed) == 0 {
		return answers, nil
	}
	if len(s.lost) == len(s.failed) {
		return answers, fault.New(fault.Partial, "no answer from %s", fleet.Fold(s.lost)).Hint("bramble nodes, for their state")
	}
	return answers, fault.New(fault.Partial, "failed on %s", fleet.Fold(s.failed)).Hint("the lines above say why")
}

func headFirst(ev artefact.StoreEvent) int {
	if ev.Head {
		return 1
	}
	return 0
}

// failure says what went wrong with a node's store.
func (s *copyShow) failure(node string, end artefact.End) {
	if end.OK() {
		return
	}
	s.failed = append(s.failed, node)
	if end.Lost {
		s.lost = append(s.lost, node)
		return
	}
	s.warn(node, s.out.Stderr.Bad(clean(end.Error)))
	if end.Try != "" {
		s.warn(node, "try: "+clean(end.Try))
	}
}

type storeGCCmd struct {
	storeOn
	JSON bool `help:"Print a JSON list."`
}

func (storeGCCmd) Examples() string { return "bramble store gc --on node3\n" }

func (c *storeGCCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	answers, verdict := tendStores(e, cl, artefact.StoreRequest{On: c.On, Task: artefact.StoreTask{Op: artefact.OpGC}})
	if c.JSON && (verdict == nil || answers != nil) {
		return cmp.Or(term.JSON(e.out.Stdout, append([]artefact.StoreEvent{}, answers...)), verdict)
	}
	for _, ev := range answers {
		if ev.Freed != nil {
			fmt.Fprintf(e.out.Stdout, "%s: %s freed, %s\n", storeText(e, ev), term.Bytes(ev.Freed.Bytes), countFiles(ev.Freed.Files))
		}
	}
	return verdict
}

func storeText(e *env, ev artefact.StoreEvent) string {
	name := e.out.Stdout.Name(ev.Node)
	if ev.Head {
		name += " (the head's store)"
	}
	return name
}

type storeVerifyCmd struct {
	storeOn
	JSON bool `help:"Print a JSON list."`
}

func (storeVerifyCmd) Examples() string { return "bramble store verify --on all\n" }

func (c *storeVerifyCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	answers, verdict := tendStores(e, cl, artefact.StoreRequest{On: c.On, Task: artefact.StoreTask{Op: artefact.OpVerify}})
	damaged := 0
	for _, ev := range answers {
		if ev.Read != nil {
			damaged += len(ev.Read.Damaged)
		}
	}
	if c.JSON && (verdict == nil || answers != nil) {
		if err := term.JSON(e.out.Stdout, append([]artefact.StoreEvent{}, answers...)); err != nil {
			return err
		}
	} else {
		for _, ev := range answers {
			c.line(e, ev)
		}
	}
	if damaged > 0 && verdict == nil {
		return fault.New(fault.Partial, "%d damaged, moved away; copies of what is kept by name are brought anew", damaged).
			Hint("bramble store doctor; bramble doctor on those machines, whose cards may be failing")
	}
	return verdict
}

func (c *storeVerifyCmd) line(e *env, ev artefact.StoreEvent) {
	if ev.Read == nil {
		return
	}
	text := "none damaged"
	if n := len(ev.Read.Damaged); n > 0 {
		text = e.out.Stdout.Bad(fmt.Sprintf("%d damaged", n))
	}
	fmt.Fprintf(e.out.Stdout, "%s: %s read, %s, %s\n", storeText(e, ev), countBlobs(ev.Read.Blobs), term.Bytes(ev.Read.Bytes), text)
	for _, ref := range ev.Read.Damaged {
		fmt.Fprintf(e.out.Stderr, "%s: damaged: %s\n", ev.Node, ref)
	}
}

func countBlobs(n int64) string {
	if n == 1 {
		return "1 blob"
	}
	return term.Count(n) + " blobs"
}
