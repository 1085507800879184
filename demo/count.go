package demo

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bramble/artefact"
	"bramble/event"
	"bramble/examples/opticks"
	"bramble/fan"
	"bramble/fault"
	"bramble/job"
	"bramble/term"
)

// shares is how many tasks the book is counted in.
const shares = 64

// victim is the node that is killed.
const victim = "node2"

// everywhere runs one command on all nodes at once.
func (t *Tour) everywhere(ctx context.Context) error {
	t.title("One command on all of them at once")
	t.command(`bramble run --on all -- 'echo $BRAMBLE_NODE runs as process $$'`)
	begun := time.Now()
	lines := term.NewPrefixer(t.Out, nil)
	answered := 0
	for ev, err := range t.cluster.Fan.Run(ctx, fan.Request{On: "all", Args: []string{"echo $BRAMBLE_NODE runs as process $$"}}, nil) {
		switch {
		case err != nil:
			return err
		case ev.Kind == fan.Stdout:
			if err := lines.Write("   "+ev.Node, term.Stdout, ev.Data); err != nil {
				return err
			}
		case ev.Kind == fan.Ended && ev.End.OK():
			answered++
		}
	}
	took := time.Since(begun)
	if err := lines.Close(); err != nil {
		return err
	}
	if answered != nodes+1 {
		return fault.New(fault.Failed, "%d of %d nodes ran it", answered, nodes+1)
	}
	t.say("%s", t.Out.Stdout.Dim(fmt.Sprintf("all answered within %s", took.Round(time.Millisecond))))
	return nil
}

// count counts the words of a book over the nodes.
func (t *Tour) count(ctx context.Context) error {
	t.title("A book is counted by all nodes: Newton's Opticks, " + strconv.Itoa(shares) + " tasks")
	words, sum, err := t.run(ctx, nil)
	if err != nil {
		return err
	}
	t.show(words)
	t.say("%s", t.Out.Stdout.Dim(fmt.Sprintf("%d tasks in %s", sum.Tasks, sum.Ended.Sub(sum.Submitted).Round(time.Millisecond))))
	return nil
}

// countAndKill does it again and loses a node on the way.
func (t *Tour) countAndKill(ctx context.Context) error {
	t.title("Again, and " + victim + " is killed in the middle: SIGKILL, all its processes")
	words, sum, err := t.run(ctx, t.kill)
	if err != nil {
		return err
	}
	var lost string
	for ev, err := range t.cluster.Events.List(ctx, event.Filter{Room: "job", Node: victim}) {
		if err != nil {
			return err
		}
		if ev.Room == "job" && ev.Node == victim && ev.Job == int64(sum.ID) {
			lost = ev.Text
		}
	}
	total := 0
	for _, n := range words {
		total += n
	}
	t.say("%s was down; %s", victim, cmp.Or(lost, "it had finished what it was given"))
	t.say("the job finished all the same: %s words, nothing lost and nothing counted twice %s", term.Count(int64(total)),
		t.Out.Stdout.Dim(fmt.Sprintf("(%s)", sum.Ended.Sub(sum.Submitted).Round(time.Millisecond))))
	return t.lab.Heal(ctx, victim)
}

// run submits the count, lets meddle act once tasks have ended, and checks the sum against a count in one go.
func (t *Tour) run(ctx context.Context, meddle func(context.Context) error) (map[string]int, job.Summary, error) {
	var sum job.Summary
	text, err := opticks.Text()
	if err != nil {
		return nil, sum, err
	}
	inputs, err := t.upload(ctx, text)
	if err != nil {
		return nil, sum, err
	}
	t.command(fmt.Sprintf("bramble submit --array 1-%d --transfer opticks.txt --transfer count.sh -- ./count.sh opticks.txt %[1]d", shares))
	id, err := t.cluster.Jobs.Submit(ctx, job.Spec{Name: "opticks", Array: fmt.Sprintf("1-%d", shares), CPUs: 1, Patience: time.Second,
		Inputs: inputs, Args: []string{"./count.sh", "opticks.txt", strconv.Itoa(shares)}})
	if err != nil {
		return nil, sum, err
	}
	if sum, err = t.follow(ctx, id, meddle); err != nil {
		return nil, sum, err
	}
	if sum.State != job.Done {
		return nil, sum, fault.New(fault.Failed, "job %d ended as %s: %d tasks failed", id, sum.State, sum.Counts.Failed).Hint("bramble job %d", id)
	}
	words, err := t.collect(ctx, id)
	if err != nil {
		return nil, sum, err
	}
	if serial := opticks.Count(text); !maps.Equal(words, serial) {
		return nil, sum, fault.New(fault.Failed, "the nodes counted %d words and one count alone %d: the results differ", len(words), len(serial))
	}
	return words, sum, nil
}

// upload brings the book and the script to the head.
func (t *Tour) upload(ctx context.Context, text []byte) (string, error) {
	dir, err := os.MkdirTemp("", "bramble-opticks-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	book, script := filepath.Join(dir, "opticks.txt"), filepath.Join(dir, "count.sh")
	if err := os.WriteFile(book, text, 0o644); err != nil {
		return "", err
	}
	if err := os.WriteFile(script, opticks.Script, 0o755); err != nil {
		return "", err
	}
	tree, err := artefact.Scan(ctx, []string{book, script})
	if err != nil {
		return "", err
	}
	defer tree.Close()
	ref, err := t.cluster.Files().Upload(ctx, tree, tree.Manifest, nil)
	return string(ref), err
}

// follow shows the job's progress until it has ended.
func (t *Tour) follow(ctx context.Context, id job.ID, meddle func(context.Context) error) (job.Summary, error) {
	p := term.NewProgress(ctx, t.Out)
	defer p.Stop()
	bar := p.Bar(fmt.Sprintf("job %d", id), shares, term.Items)
	var last job.Summary
	for sum, err := range t.cluster.Jobs.Watch(ctx, id) {
		if err != nil {
			return last, err
		}
		last = sum
		bar.Set(int64(sum.Counts.Done + sum.Counts.Failed))
		if meddle != nil && sum.Counts.Done > 0 && sum.Ended.IsZero() {
			if err := meddle(ctx); err != nil {
				return last, err
			}
			meddle = nil
		}
	}
	bar.Done("done")
	return last, nil
}

func (t *Tour) kill(ctx context.Context) error { return t.lab.Kill(ctx, victim) }

// collect adds up what the tasks printed.
func (t *Tour) collect(ctx context.Context, id job.ID) (map[string]int, error) {
	printed := map[int]*bytes.Buffer{}
	for l, err := range t.cluster.Jobs.Logs(ctx, job.LogRequest{ID: id, All: true}) {
		if err != nil {
			return nil, err
		}
		if printed[l.Index] == nil {
			printed[l.Index] = &bytes.Buffer{}
		}
		if !l.Note && !l.Stderr {
			printed[l.Index].Write(l.Data)
		}
	}
	words := map[string]int{}
	for index, text := range printed {
		for line := range strings.Lines(text.String()) {
			var word string
			var n int
			if _, err := fmt.Sscan(line, &word, &n); err != nil {
				return nil, fault.New(fault.Failed, "task %d printed %q, which is no word and count", index, strings.TrimSpace(line))
			}
			words[word] += n
		}
	}
	return words, nil
}

// show prints the ten most frequent words with a bar each.
func (t *Tour) show(words map[string]int) {
	list := slices.SortedFunc(maps.Keys(words), func(a, b string) int {
		return cmp.Or(words[b]-words[a], strings.Compare(a, b))
	})
	s := t.Out.Stdout
	for _, w := range list[:min(10, len(list))] {
		t.say("%-8s %6s %s", w, term.Count(int64(words[w])), s.Good(s.Bar(float64(words[w])/float64(words[list[0]]), 40)))
	}
}
