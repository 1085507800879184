package cli

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bramble/artefact"
	"bramble/cluster"
	"bramble/job"
)

// bringing is what came back of one job's tasks on its way here.
type bringing struct {
	e     *env
	cl    *cluster.Cluster
	sum   job.Summary
	index int // of the only task that counts; below zero: all
	store *artefact.Store
	came  int
}

// bring writes what a job's tasks wrote and made where its user wants it: in the folder that it was submitted from,
// or in to. It may be repeated, and a job need not have ended.
func bring(e *env, cl *cluster.Cluster, sum job.Summary, index int, to string) error {
	if to == "" {
		if err := writeOutput(e, cl, sum); err != nil {
			return err
		}
	}
	if !sum.Spec.Folder && len(sum.Spec.Return) == 0 {
		return nil
	}
	temp, err := os.MkdirTemp("", "bramble-return-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	store, err := artefact.OpenStore(temp, artefact.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	b := &bringing{e: e, cl: cl, sum: sum, index: index, store: store}
	if sum.Spec.Folder {
		return b.merge(to)
	}
	return b.layOut(cmp.Or(to, "."))
}

// each calls do with what every task returned.
func (b *bringing) each(do func(r job.Returned, m artefact.Manifest) error) error {
	files := b.cl.Files()
	for r, err := range b.cl.Jobs.Returns(b.e.ctx, b.sum.ID) {
		if err != nil {
			return err
		}
		if b.index >= 0 && r.Index != b.index {
			continue
		}
		m, err := files.FetchTree(b.e.ctx, b.store, artefact.Ref(r.Ref), nil)
		if err == nil {
			err = do(r, m)
		}
		if err != nil {
			return fmt.Errorf("bring back the files of task %d: %w", r.Index, err)
		}
		b.came++
	}
	return nil
}

// layOut puts what tasks returned in the folder itself for a single task, in one folder per index for an array.
func (b *bringing) layOut(to string) error {
	dir := func(index int) string {
		if b.sum.Spec.Array != "" {
			return filepath.Join(to, fmt.Sprint(index))
		}
		return to
	}
	several := map[int][]artefact.Change{} // by index
	err := b.each(func(r job.Returned, m artefact.Manifest) error {
		if b.sum.Spec.Spread() {
			several[r.Index] = append(several[r.Index], b.change(r, m))
			return nil
		}
		if err := os.MkdirAll(dir(r.Index), 0o777); err != nil {
			return err
		}
		return artefact.Place(b.e.ctx, b.store, m, dir(r.Index), artefact.PlaceOptions{Overwrite: true})
	})
	for _, index := range slices.Sorted(maps.Keys(several)) {
		var gathered artefact.Merging
		if err == nil {
			gathered, err = artefact.Gather(b.e.ctx, b.store, several[index], dir(index))
			b.tellConflicts(gathered)
		}
	}
	if err == nil && b.came == 0 {
		fmt.Fprintf(b.e.out.Stderr, "no files came back: none of the tasks left one that matches --return %s\n", strings.Join(b.sum.Spec.Return, " "))
	}
	return err
}

// merge makes one of the submission's folder and what the tasks changed in theirs.
func (b *bringing) merge(to string) error {
	dir := cmp.Or(to, b.sum.Spec.SubmitDir)
	if to == "" {
		if why := elsewhere(b.cl, b.sum.Spec); why != "" {
			fmt.Fprintf(b.e.out.Stderr, "job %d: %s; its files come with bramble pull %[1]d --to DIR\n", b.sum.ID, why)
			return nil
		}
	}
	var changes []artefact.Change
	err := b.each(func(r job.Returned, m artefact.Manifest) error {
		changes = append(changes, b.change(r, m))
		return nil
	})
	if err != nil || len(changes) == 0 {
		return err
	}
	var base artefact.Manifest
	if ref := b.sum.Spec.Inputs; ref != "" {
		if base, err = b.cl.Files().FetchList(b.e.ctx, b.store, artefact.Ref(ref)); err != nil {
			return fmt.Errorf("ask what the folder was: %w", err)
		}
	}
	merged, err := artefact.MergeInto(b.e.ctx, b.store, base, changes, dir)
	if err != nil {
		return err
	}
	b.tell(merged)
	return nil
}

// change is what a task returned from one node, and what it is told apart by.
func (b *bringing) change(r job.Returned, m artefact.Manifest) artefact.Change {
	label := fmt.Sprint(b.sum.ID)
	if b.sum.Spec.Array != "" {
		label += fmt.Sprintf(".%d", r.Index)
	}
	if b.sum.Spec.Spread() {
		label += "." + r.Node
	}
	return artefact.Change{Label: label, Node: r.Node, Manifest: m}
}

// mostConflicts is how many conflicts are named one by one.
const mostConflicts = 20

func (b *bringing) tell(m artefact.Merging) {
	files, _ := m.Write.Sum()
	if files > 0 {
		fmt.Fprintf(b.e.out.Stderr, "folder: %s new or changed\n", countFiles(files))
	}
	b.tellConflicts(m)
}

func (b *bringing) tellConflicts(m artefact.Merging) {
	for i, c := range m.Conflicts {
		if i == mostConflicts {
			fmt.Fprintf(b.e.out.Stderr, "conflict: … and %d more, each beside its file\n", len(m.Conflicts)-i)
			break
		}
		fmt.Fprintf(b.e.out.Stderr, "conflict: %s\n", clean(c.String()))
	}
}

// elsewhere says why a job's files do not come here by themselves; "" when they do.
func elsewhere(cl *cluster.Cluster, s job.Spec) string {
	host, _ := os.Hostname()
	switch info, err := os.Stat(s.SubmitDir); {
	case s.User != cl.Cred.Identity().Name:
		return "it is " + s.User + "'s"
	case s.SubmitHost != host:
		return "it was submitted on " + cmp.Or(s.SubmitHost, "another machine")
	case err != nil || !info.IsDir():
		return "its folder " + s.SubmitDir + " is gone"
	}
	return ""
}

// pullJobs brings the files of jobs without waiting for their end.
func pullJobs(e *env, words []string, to string) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	for _, word := range words {
		id, index, err := parseTask(word)
		if err != nil {
			return err
		}
		d, err := cl.Jobs.Job(e.ctx, id)
		if err == nil {
			err = bring(e, cl, d.Summary, index, to)
		}
		if err != nil {
			return err
		}
		if d.Ended.IsZero() {
			fmt.Fprintf(e.out.Stderr, "job %d goes on: this is what has ended so far\n", id)
		}
	}
	return nil
}

// areJobs reports whether words name jobs.
func areJobs(words []string) bool {
	for _, word := range words {
		if _, _, err := parseTask(word); err != nil {
			return false
		}
	}
	return true
}
