package cli

import (
	"errors"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"bramble/cluster"
	"bramble/fault"
	"bramble/job"
)

// writeOutput writes what a job's tasks wrote into the files that its -o and -e name, for its user and on the machine
// that it was submitted from; elsewhere, without such names, or where the nodes write them, it writes nothing.
func writeOutput(e *env, cl *cluster.Cluster, sum job.Summary) error {
	w, err := openOutputs(cl, sum.Spec, sum.ID)
	if err != nil || w == nil {
		return err
	}
	for line, err := range cl.Jobs.Logs(e.ctx, job.LogRequest{ID: sum.ID, All: true}) {
		if err == nil {
			err = w.write(line)
		}
		if err != nil {
			return errors.Join(err, w.close())
		}
	}
	return w.close()
}

// outputs is the files of one job.
type outputs struct {
	spec  job.Spec
	id    job.ID
	dir   *os.Root // where it was submitted
	begun map[string]bool
	path  string // of the open one
	file  *os.File
}

// openOutputs is nil when there is nothing to write here.
func openOutputs(cl *cluster.Cluster, s job.Spec, id job.ID) (*outputs, error) {
	writes := func(pattern string) bool { return pattern != "" && !s.NodesWrite(pattern) }
	if !writes(s.Output) && !writes(s.Error) || elsewhere(cl, s) != "" {
		return nil, nil
	}
	dir, err := os.OpenRoot(s.SubmitDir)
	if err != nil {
		return nil, unwritten(id, err)
	}
	return &outputs{spec: s, id: id, dir: dir, begun: map[string]bool{}}, nil
}

func (w *outputs) write(line job.Line) error {
	pattern := w.spec.Output
	if line.Stderr && w.spec.Error != "" {
		pattern = w.spec.Error
	}
	if line.Note || pattern == "" || pattern == os.DevNull || w.spec.NodesWrite(pattern) {
		return nil
	}
	node := line.Node
	if !filepath.IsLocal(node) || node == "." {
		node = "_"
	}
	path := job.FileName(pattern, job.Writer{Job: w.id, Array: w.spec.Array != "", Index: line.Index,
		Name: w.spec.Name, User: w.spec.User, Node: node})
	if path != w.path {
		if err := w.open(path); err != nil {
			return unwritten(w.id, err)
		}
	}
	if _, err := w.file.Write(line.Data); err != nil {
		return unwritten(w.id, err)
	}
	return nil
}

// open turns to a file: a relative path stays within the submission's folder, and one from the root is its user's word.
func (w *outputs) open(path string) error {
	if err := w.shut(); err != nil {
		return err
	}
	mode := os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if !w.begun[path] && !w.spec.Append {
		mode |= os.O_TRUNC
	}
	var err error
	if filepath.IsAbs(path) {
		w.file, err = os.OpenFile(path, mode, 0o666)
	} else if err = w.dir.MkdirAll(filepath.Dir(path), 0o777); err == nil {
		w.file, err = w.dir.OpenFile(path, mode, 0o666)
	}
	if err != nil {
		return err
	}
	w.begun[path], w.path = true, path
	return nil
}

func (w *outputs) shut() error {
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file, w.path = nil, ""
	return err
}

func (w *outputs) close() error { return errors.Join(w.shut(), w.dir.Close()) }

func unwritten(id job.ID, err error) error {
	return fault.New(fault.Failed, "the output of job %d is not written: %w", id, err).Hint("bramble logs %d", id)
}

// tee has lines written to files as they pass by; w may be nil.
func (w *outputs) tee(lines iter.Seq2[job.Line, error]) iter.Seq2[job.Line, error] {
	if w == nil || w.spec.Append {
		return lines
	}
	return func(yield func(job.Line, error) bool) {
		for line, err := range lines {
			if err == nil {
				err = w.write(line)
			}
			if !yield(line, err) || err != nil {
				return
			}
		}
	}
}

// writable refuses files for the output that could not be written here, before anything has run.
func writable(spec job.Spec) error {
	const toWrite = 2 // W_OK of access(2)
	for _, path := range []string{spec.Output, spec.Error} {
		dir := filepath.Dir(path)
		if path == "" || strings.Contains(dir, "%") {
			continue
		}
		if _, err := os.Stat(path); err == nil && syscall.Access(path, toWrite) == nil {
			continue
		}
		info, err := os.Stat(dir)
		for err != nil && !filepath.IsAbs(path) && dir != "." { // such folders are made
			dir = filepath.Dir(dir)
			info, err = os.Stat(dir)
		}
		switch {
		case err != nil:
			return fault.New(fault.NotFound, "the output is to go to %s, and there is no folder %s here", path, dir).Hint("mkdir -p %s", dir)
		case !info.IsDir():
			return fault.New(fault.Misused, "the output is to go to %s, and %s is no folder", path, dir).Hint("-o with another path")
		case syscall.Access(dir, toWrite) != nil:
			return fault.New(fault.Denied, "the output is to go to %s, and you may not write to %s", path, dir).Hint("-o with another path")
		}
	}
	return nil
}
