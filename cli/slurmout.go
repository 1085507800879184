package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"bramble/apps/slurm"
	"bramble/cluster"
	"bramble/fault"
	"bramble/fleet"
	"bramble/job"
)

// testOnly says whether a batch could run, and submits nothing.
func testOnly(e *env, cl *cluster.Cluster, b *slurm.Batch) error {
	spec, err := b.Spec.Validate()
	if err != nil {
		return err
	}
	nodes, err := cl.Fleet.Nodes(e.ctx)
	if err != nil {
		return err
	}
	sel, err := fleet.ParseSelector(spec.On)
	if spec.On == "" {
		sel, err = fleet.ParseSelector("all")
	}
	if err == nil {
		nodes, err = sel.Select(nodes)
	}
	if err != nil {
		return err
	}
	var capacity []job.Capacity
	var names []string
	for _, n := range nodes {
		if !slices.Contains(n.Roles, fleet.RoleWorker) {
			continue
		}
		c := job.Capacity{Name: n.Name, Cores: n.Cores, Memory: n.Memory}
		if job.Fits(spec, []job.Capacity{c}) == nil {
			names = append(names, n.Name)
		}
		capacity = append(capacity, c)
	}
	if err := job.Fits(spec, capacity); err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.out.Stderr, "sbatch: the job could run on %s\n", fleet.Fold(names))
	return err
}

// writeOutput writes what a job's tasks wrote into the files that its -o and -e name, in the folder that it was
// submitted from; on another machine, or without such names, it writes nothing.
func writeOutput(e *env, cl *cluster.Cluster, sum job.Summary) error {
	s := sum.Spec
	if host, _ := os.Hostname(); s.Output == "" && s.Error == "" || s.SubmitHost != host {
		return nil
	}
	if s.User != cl.Cred.Identity().Name { // another's job names files that are none of ours
		return nil
	}
	w := &outputs{spec: s, id: sum.ID, nodes: map[int]string{}, begun: map[string]bool{}}
	for line, err := range cl.Jobs.Logs(e.ctx, job.LogRequest{ID: sum.ID, All: true}) {
		if err == nil && !line.Note {
			err = w.write(line)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// outputs is the files of one job.
type outputs struct {
	spec  job.Spec
	id    job.ID
	nodes map[int]string
	begun map[string]bool // files that this process has written to
}

func (w *outputs) write(line job.Line) error {
	pattern := w.spec.Output
	if line.Stderr && w.spec.Error != "" {
		pattern = w.spec.Error
	}
	if pattern == "" || pattern == os.DevNull {
		return nil
	}
	path := job.FileName(pattern, job.Writer{Job: w.id, Array: w.spec.Array != "", Index: line.Index,
		Name: w.spec.Name, User: w.spec.User, Node: w.nodes[line.Index]})
	if !filepath.IsAbs(path) {
		path = filepath.Join(w.spec.SubmitDir, path)
	}
	mode := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if !w.begun[path] && !w.spec.Append {
		mode |= os.O_TRUNC
	}
	w.begun[path] = true
	f, err := os.OpenFile(path, mode, 0o666)
	if err != nil {
		return fault.New(fault.Failed, "the job's output is not written: %w", err).Hint("bramble logs %d", w.id)
	}
	_, err = f.Write(line.Data)
	return errors.Join(err, f.Close())
}
