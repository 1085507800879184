package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"bramble/artefact"
	"bramble/cluster"
	"bramble/fault"
	"bramble/fleet"
	"bramble/job"
)

type drainCmd struct {
	On   string `arg:"" help:"Which nodes, as for --on."`
	Why  string `help:"A line for people." placeholder:"TEXT"`
	Wait bool   `help:"Stay until nothing runs on them any more, and what they keep (bramble store) is kept by others."`
}

func (drainCmd) Examples() string {
	return "bramble drain node3 --why 'new power supply' --wait\nbramble drain 'rack=2'\n"
}

func (c *drainCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	names, err := selected(e.ctx, cl, c.On)
	if err != nil {
		return err
	}
	if err := cl.Fleet.Drain(e.ctx, names, c.Why); err != nil {
		return err
	}
	if c.Wait {
		if err := c.wait(e, cl, names); err != nil {
			return err
		}
	}
	loads, err := cl.Jobs.Loads(e.ctx, names...)
	if err != nil {
		return err
	}
	running := 0
	for _, l := range loads {
		running += l.Running + l.Waiting
	}
	text := cmp.Or(untoldText(loads), "nothing runs there")
	if running > 0 {
		text = fmt.Sprintf("%d tasks still run there", running)
	}
	kept, err := keptBy(e, cl, names)
	if err != nil {
		return err
	}
	if len(kept) > 0 {
		text += fmt.Sprintf("; copies of %s are still kept there, and move to others", listText(kept))
	}
	fmt.Fprintf(e.out.Stdout, "drained %s: %s\n", fleet.Fold(names), text)
	return nil
}

// wait returns when nothing runs on the nodes, and says what does meanwhile.
func (c *drainCmd) wait(e *env, cl *cluster.Cluster, names []string) error {
	said := ""
	for {
		loads, err := cl.Jobs.Loads(e.ctx, names...)
		if err != nil && !fault.Is(err, fault.Unreachable) {
			return err
		}
		text := cmp.Or(stillRunning(loads), untoldText(loads))
		if err == nil && text == "" {
			kept, err := keptBy(e, cl, names)
			switch {
			case err != nil && !fault.Is(err, fault.Unreachable):
				return err
			case err == nil && len(kept) == 0:
				return nil
			case err == nil:
				text = "copies of " + listText(kept) + " are not kept by enough others yet"
			}
		}
		if text != said && err == nil {
			said = text
			fmt.Fprintln(e.out.Stderr, text)
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-e.ctx.Done():
			return fault.New(fault.Interrupted, "interrupted; %s stays drained", fleet.Fold(names)).Hint("bramble undrain %s", fleet.Fold(names))
		}
	}
}

// keptBy is what some of the nodes keep copies of.
func keptBy(e *env, cl *cluster.Cluster, names []string) ([]string, error) {
	list, err := cl.Durables().List(e.ctx)
	var kept []string
	for _, d := range list {
		if slices.ContainsFunc(d.Ring, func(h artefact.Holder) bool { return slices.Contains(names, h.Node) }) {
			kept = append(kept, d.Name)
		}
	}
	return kept, err
}

// listText names a few of many.
func listText(names []string) string {
	if n := len(names); n > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), n-3)
	}
	return strings.Join(names, ", ")
}

// stillRunning is which of the nodes have work, and how much; "" when none has.
func stillRunning(loads []job.Load) string {
	var busy []string
	tasks := 0
	for _, l := range loads {
		if n := l.Running + l.Waiting; n > 0 {
			busy, tasks = append(busy, l.Name), tasks+n
		}
	}
	switch {
	case tasks == 0:
		return ""
	case tasks == 1:
		return "1 task still runs on " + busy[0]
	}
	return fmt.Sprintf("%d tasks still run on %s", tasks, fleet.Fold(busy))
}

// untoldText is what a head that has just started does not know yet; "" when it knows all.
func untoldText(loads []job.Load) string {
	var names []string
	for _, l := range loads {
		if l.Untold {
			names = append(names, l.Name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "the head has just started and does not know yet what runs on " + fleet.Fold(names)
}

type undrainCmd struct {
	On string `arg:"" help:"Which nodes, as for --on."`
}

func (undrainCmd) Examples() string { return "bramble undrain node3\n" }

func (c *undrainCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	names, err := selected(e.ctx, cl, c.On)
	if err != nil {
		return err
	}
	if err := cl.Fleet.Undrain(e.ctx, names); err != nil {
		return err
	}
	takes := "take"
	if len(names) == 1 {
		takes = "takes"
	}
	fmt.Fprintf(e.out.Stdout, "%s %s new work again\n", fleet.Fold(names), takes)
	return nil
}

// selected is the names of the nodes that a selection means.
func selected(ctx context.Context, cl *cluster.Cluster, on string) ([]string, error) {
	nodes, err := cl.Fleet.Select(ctx, on)
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
	}
	return names, err
}
