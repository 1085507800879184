// Package demo is the guided tour: a real cluster on this machine, put to real work,
// hurt, and still right in the end.
package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"bramble/cluster"
	"bramble/fault"
	"bramble/fleet"
	"bramble/lab"
	"bramble/term"
)

// nodes of the demo's cluster, besides the head.
const nodes = 4

// Tour is one run of the demo.
type Tour struct {
	Out   *term.Out
	State string // folder to keep the cluster in; "" is a temporary one, removed at the end
	Exit  bool   // end after the tour instead of staying
	// Link is the dashboard's address with a secret that signs in once.
	Link func(context.Context, *cluster.Cluster) (string, error)

	lab     *lab.Lab
	cluster *cluster.Cluster
	stop    int
	begun   time.Time
	front   string // address of the front before the site
	close   func() // ends it
}

// Run takes the tour. It fails when any step's result is wrong.
func (t *Tour) Run(ctx context.Context) error {
	t.begun = time.Now()
	if t.State == "" {
		dir, err := os.MkdirTemp("", "bramble-demo-")
		if err != nil {
			return fault.New(fault.Failed, "make a folder for the demo: %w", err).Hint("bramble demo --state DIR")
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o755); err != nil { // tasks run as other accounts
			return err
		}
		t.State = filepath.Join(dir, "demo")
	}
	if err := t.start(ctx); err != nil {
		return err
	}
	defer t.end()
	for _, stop := range []func(context.Context) error{t.look, t.everywhere, t.order, t.count, t.publish, t.countAndKill, t.balance} {
		if err := stop(ctx); err != nil {
			return err
		}
	}
	return t.stay(ctx)
}

// title announces a stop of the tour.
func (t *Tour) title(text string) {
	t.stop++
	s := t.Out.Stdout
	fmt.Fprintf(s, "\n%s %s\n", s.Good(fmt.Sprintf("%d.", t.stop)), s.Bold(text))
}

func (t *Tour) say(format string, args ...any) { fmt.Fprintf(t.Out.Stdout, "   "+format+"\n", args...) }

// command shows what a person would type for what the demo does now.
func (t *Tour) command(text string) { t.say("%s", t.Out.Stdout.Dim("$ "+text)) }

func (t *Tour) start(ctx context.Context) error {
	t.title(fmt.Sprintf("A head and %d nodes start on this machine, joined with a token over mutual TLS", nodes))
	p := term.NewProgress(ctx, t.Out)
	bar := p.Bar("starting", nodes+1, term.Items)
	up, err := lab.Up(ctx, lab.Options{State: t.State, Nodes: nodes, NoNetns: true, Joined: func(string) { bar.Add(1) }})
	p.Stop()
	if err != nil {
		return err
	}
	t.lab = up
	if t.cluster, err = up.Cluster(ctx); err != nil {
		t.end()
		return err
	}
	t.say("five processes, each with its own certificate, in %s", t.State)
	return nil
}

// end stops the cluster, whatever became of the tour.
func (t *Tour) end() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if t.close != nil {
		t.close()
	}
	if t.cluster != nil {
		t.cluster.Close()
	}
	if err := t.lab.Down(ctx); err != nil {
		term.Report(t.Out, fmt.Errorf("stop the demo's cluster: %w", err))
	}
}

// look lists the nodes with what they are.
func (t *Tour) look(ctx context.Context) error {
	t.title("Who is here")
	t.command("bramble nodes")
	list, err := t.cluster.Fleet.Nodes(ctx)
	if err != nil {
		return err
	}
	table := term.NewTable(term.Column{Title: "  NODE"}, term.Column{Title: "STATE"}, term.Column{Title: "MODEL"},
		term.Column{Title: "CORES", Right: true}, term.Column{Title: "MEMORY", Right: true}, term.Column{Title: "TEMP", Right: true},
		term.Column{Title: "SYSTEM", Priority: 1, Min: 8})
	up := 0
	for _, n := range list {
		temp := "-"
		if n.Sample.Temp > 0 {
			temp = fmt.Sprintf("%.0f°C", n.Sample.Temp)
		}
		table.Row("  "+n.Name, string(n.State), n.Model, fmt.Sprint(n.Cores), term.Bytes(n.Memory), temp, n.OS)
		if n.State == fleet.Up {
			up++
		}
	}
	if err := table.Write(t.Out.Stdout); err != nil {
		return err
	}
	if up != nodes+1 {
		return fault.New(fault.Failed, "%d of %d nodes are up", up, nodes+1).Hint("the logs in %s/node*/log say why; bramble demo --state DIR keeps them", t.State)
	}
	return nil
}

// stay prints where the dashboard is and leaves the cluster to the person.
func (t *Tour) stay(ctx context.Context) error {
	link, err := t.Link(ctx, t.cluster)
	if err != nil {
		return err
	}
	t.title("The dashboard")
	s := t.Out.Stdout
	t.say("%s", s.Bold(link))
	t.say("%s", s.Dim("the link signs you in once, within ten minutes"))
	if !t.Exit {
		t.say("the site stands at http://%s", t.front)
	}
	fmt.Fprintf(s, "\nEverything was right; the tour took %s.\n", term.Duration(time.Since(t.begun).Round(100*time.Millisecond)))
	if t.Exit {
		return nil
	}
	fmt.Fprintf(s, "\nTry it from a second terminal:\n\n  export BRAMBLE_CLUSTER=%s\n  bramble run --on all -- uptime\n  bramble submit --array 1-20 -- sleep 2\n\nCtrl-C ends the demo.\n", t.State)
	<-ctx.Done()
	fmt.Fprintln(s, "\nstopping …")
	return nil
}
