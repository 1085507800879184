package cli

import (
	"cmp"
	"fmt"
	"time"

	"bramble/artefact"
	"bramble/fault"
	"bramble/term"
)

type storeScrubCmd struct {
	storeOn
	JSON bool `help:"Print a JSON list."`
}

func (storeScrubCmd) Examples() string {
	return "bramble store scrub\nbramble store set --scrub-every 30d --on all\n"
}

func (c *storeScrubCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	answers, verdict := tendStores(e, cl, artefact.StoreRequest{On: c.On, Task: artefact.StoreTask{Op: artefact.OpList}})
	if c.JSON && (verdict == nil || answers != nil) {
		return cmp.Or(term.JSON(e.out.Stdout, append([]artefact.StoreEvent{}, answers...)), verdict)
	}
	t := term.NewTable(term.Column{Title: "NODE"}, term.Column{Title: "EVERY", Right: true}, term.Column{Title: "BEGAN"}, term.Column{Title: "READ", Right: true},
		term.Column{Title: "OF", Right: true}, term.Column{Title: "TIMES THROUGH", Right: true}, term.Column{Title: "LAST ENDED"}, term.Column{Title: "DAMAGED", Right: true})
	for _, ev := range answers {
		if r := ev.Report; r != nil && !ev.Head {
			s := r.Set.Scrub
			t.Row(ev.Node, everyText(r.Set.Every), moment(s.Began), term.Bytes(s.Bytes), term.Bytes(r.Used), term.Count(s.Passes), moment(s.Ended), term.Count(r.Damaged))
		}
	}
	return cmp.Or(t.Write(e.out.Stdout), verdict)
}

func everyText(seconds int64) string {
	switch {
	case seconds < 0:
		return "never"
	case seconds == 0:
		return term.Duration(artefact.ScrubEvery)
	}
	return term.Duration(time.Duration(seconds) * time.Second)
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04")
}

type storePinCmd struct {
	storeOn
	Name  string   `arg:"" help:"A name for what is pinned: small letters, digits, dots and dashes."`
	Blobs []string `arg:"" name:"blob" help:"Names of blobs or trees, as ls --json tells them, or how they begin; or names under which store put keeps something."`
}

func (storePinCmd) Examples() string {
	return "bramble store pin data-set 9f86d081884c --on node3\nbramble store pin mine photos-2026 --on node3\n"
}

func (c *storePinCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	kept, err := cl.Durables().List(e.ctx)
	if err != nil {
		return err
	}
	for i, name := range c.Blobs {
		for _, d := range kept {
			if d.Name == name && d.Ref != "" {
				c.Blobs[i] = string(d.Ref)
			}
		}
	}
	answers, verdict := tendStores(e, cl, artefact.StoreRequest{On: c.On, Task: artefact.StoreTask{Op: artefact.OpPin, Name: c.Name, Refs: c.Blobs}})
	for _, ev := range answers {
		for _, p := range ev.Pins {
			fmt.Fprintf(e.out.Stdout, "%s: %s pinned as %s\n", storeText(e, ev), countBlobs(int64(p.Blobs)), c.Name)
		}
	}
	return verdict
}

type storeUnpinCmd struct {
	storeOn
	Name string `arg:"" help:"What it was pinned as."`
}

func (storeUnpinCmd) Examples() string { return "bramble store unpin data-set --on node3\n" }

func (c *storeUnpinCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	_, verdict := tendStores(e, cl, artefact.StoreRequest{On: c.On, Task: artefact.StoreTask{Op: artefact.OpUnpin, Name: c.Name}})
	if verdict == nil {
		fmt.Fprintf(e.out.Stdout, "%s is not pinned any more\n", c.Name)
	}
	return verdict
}

type storeSetCmd struct {
	storeOn
	Keep       string `help:"How much each store keeps: what nobody needs stays until then, and the least recently used goes first. 0: no limit, and what nobody needs goes after an hour." placeholder:"SIZE" env:"-"`
	ScrubEvery string `help:"In what time a node reads all it holds once; never, or 0 for the usual." placeholder:"D" env:"-"`
	Patience   string `help:"How long a node may be away before others get copies of what it keeps by name; one for the whole cluster (10 min at first)." placeholder:"D" env:"-"`
}

func (storeSetCmd) Examples() string {
	return "bramble store set --keep 4GB --on 'model=pi4'\nbramble store set --scrub-every 30d --on all\nbramble store set --patience 1h\n"
}

func (c *storeSetCmd) Run(e *env) error {
	req, err := c.request()
	if err != nil {
		return err
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	if _, err := tendStores(e, cl, req); err != nil {
		return err
	}
	fmt.Fprintln(e.out.Stdout, "set")
	return nil
}

func (c *storeSetCmd) request() (artefact.StoreRequest, error) {
	req := artefact.StoreRequest{On: c.On, Task: artefact.StoreTask{Op: artefact.OpSet}}
	if c.Keep == "" && c.ScrubEvery == "" && c.Patience == "" {
		return req, fault.New(fault.Misused, "nothing to set").Hint("bramble store set --keep 4GB, --scrub-every 30d or --patience 1h")
	}
	if c.Keep != "" {
		n, err := keepSize(c.Keep)
		if err != nil {
			return req, err
		}
		req.Task.Keep = &n
	}
	if c.ScrubEvery != "" {
		every := int64(-1)
		if c.ScrubEvery != "never" {
			d, err := term.ParseDuration(c.ScrubEvery)
			if err != nil {
				return req, fmt.Errorf("--scrub-every: %w", err)
			}
			every = int64(d / time.Second)
		}
		req.Task.Every = &every
	}
	if c.Patience != "" {
		d, err := optionalDuration("--patience", c.Patience)
		if err != nil {
			return req, err
		}
		req.Patience = &d
	}
	return req, nil
}

// keepSize reads what --keep says.
func keepSize(text string) (int64, error) {
	n, err := term.ParseBytes(text)
	if err != nil {
		return 0, fmt.Errorf("--keep: %w", err)
	}
	if n != 0 && n < artefact.MinKeep {
		return 0, fault.New(fault.Misused, "--keep %s is less than a store can do with, %s", text, term.Bytes(artefact.MinKeep)).
			Hint("--keep 4GB, or --keep 0 for no limit")
	}
	return n, nil
}
