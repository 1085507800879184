package job

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"bramble/host"
)

// Where a job brings files, each attempt has a folder of its own. As root its tasks share one copy of them, which is
// out of their reach in "inputs", and each sees it under a layer of its own: "layers/INDEX.ATTEMPT" has what it changed; what
// was left untouched a later one has again. Elsewhere each attempt gets a copy.

func (n *Node) inputsDir(id ID) string { return filepath.Join(n.jobDir(id), "inputs", "files") }

func (n *Node) layerDir(k Key) string {
	return filepath.Join(n.jobDir(k.Job), layersName, filepath.Base(n.taskDir(k)))
}

func (n *Node) changedDir(k Key) string { return filepath.Join(n.layerDir(k), "changed") }

const layersName = "layers"

// ownFolder reports whether each attempt has a folder of its own.
func (s *Spec) ownFolder() bool { return s.WorkDir == "" && (s.Inputs != "" || s.brings()) }

// brings reports whether files come back.
func (s *Spec) brings() bool { return s.Folder || len(s.Return) > 0 }

// workDir is where an attempt runs.
func (n *Node) workDir(k Key, spec Spec) string {
	switch {
	case spec.WorkDir != "":
		return spec.WorkDir
	case spec.ownFolder():
		return n.taskDir(k)
	}
	return n.commonDir(k.Job)
}

// into has a command run in a folder. The keeper goes, as root, only where the agent made the folder; elsewhere the
// command's own account must find its way, which it may not, and root on a file server may not.
func (n *Node) into(k Key, dir string, args []string) (start string, _ []string) {
	if dir == n.taskDir(k) || dir == n.commonDir(k.Job) {
		return dir, args
	}
	return n.commonDir(k.Job), append([]string{"/bin/sh", "-c", `cd -- "$0" && exec "$@"`, dir}, args...)
}

// furnish makes the folder that an attempt runs in, on its node as on every other of its allocation, and brings what the job brings.
func (n *Node) furnish(ctx context.Context, k Key, spec Spec, account host.Account) (dir string, err error) {
	dir = n.workDir(k, spec)
	if !spec.ownFolder() {
		return dir, nil
	}
	n.removeAttempt(k) // one of this number that a lost agent had begun to prepare
	if err := makeDir(dir, account); err != nil || spec.Inputs == "" {
		return dir, err
	}
	if n.Layered && !n.flat.Load() {
		if err := n.shareInputs(ctx, k.Job, spec, account); err != nil {
			return dir, fmt.Errorf("bring its files: %w", err)
		}
		if n.inherit(k, account) {
			return dir, nil
		}
		err := n.layer(k, account)
		if err == nil {
			return dir, nil
		}
		n.flat.Store(true)
		os.RemoveAll(n.layerDir(k))
		n.Log.Info("tasks get their own copies of their files here, since layers cannot be made", "error", err)
	}
	if err := n.Files.Place(ctx, spec.Inputs, dir, account); err != nil {
		return dir, fmt.Errorf("bring its files: %w", err)
	}
	return dir, nil
}

// sharing is the one copy of a job's files being made.
type sharing struct {
	done chan struct{}
	err  error
}

// shareInputs makes the one copy of a job's files, or waits until it is made.
func (n *Node) shareInputs(ctx context.Context, id ID, spec Spec, account host.Account) error {
	n.mu.Lock()
	s, begun := n.sharing[id]
	if !begun {
		s = &sharing{done: make(chan struct{})}
		n.sharing[id] = s
	}
	n.mu.Unlock()
	if begun {
		select {
		case <-s.done:
			return s.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.err = n.placeInputs(ctx, n.inputsDir(id), spec, account)
	if s.err != nil {
		n.mu.Lock()
		delete(n.sharing, id) // the next attempt tries anew
		n.mu.Unlock()
	}
	close(s.done)
	return s.err
}

func (n *Node) placeInputs(ctx context.Context, dir string, spec Spec, account host.Account) error {
	if _, err := os.Stat(dir); err == nil { // an earlier agent made it
		return nil
	}
	fresh := dir + ".new"
	err := os.RemoveAll(fresh)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(dir), 0o700)
	}
	if err == nil {
		err = makeDir(fresh, account)
	}
	if err == nil {
		err = n.Files.Place(ctx, spec.Inputs, fresh, account)
	}
	if err == nil {
		err = os.Rename(fresh, dir)
	}
	return err
}

// removeAttempt removes an attempt's own folder.
func (n *Node) removeAttempt(k Key) {
	n.unlayer(n.taskDir(k))
	os.RemoveAll(n.layerDir(k))
	os.RemoveAll(n.taskDir(k))
}

// removeJob removes a job's folder, or what it was renamed to.
func (n *Node) removeJob(dir string) {
	layers, _ := os.ReadDir(filepath.Join(dir, layersName))
	for _, l := range layers {
		n.unlayer(filepath.Join(dir, l.Name()))
	}
	dressed, _ := filepath.Glob(filepath.Join(globbed(dir), "*"+dressSuffix))
	for _, d := range dressed {
		n.undress(d)
	}
	os.RemoveAll(dir)
}

func (n *Node) unlayer(dir string) {
	if !n.Layered {
		return
	}
	if err := host.Unlayer(dir); err != nil {
		n.Log.Warn("a task's folder is not let go", "folder", dir, "error", err)
	}
}

// returned brings back what an attempt made: in the submission's folder what is new or changed, else what its globs name.
func (n *Node) returned(ctx context.Context, k Key, spec Spec) (ref string, err error) {
	if !spec.Folder {
		return n.Files.Collect(ctx, n.taskDir(k), spec.Return)
	}
	dir := n.changedDir(k)
	if _, err := os.Stat(dir); err != nil {
		dir = n.taskDir(k)
	}
	if list, err := os.ReadDir(dir); err == nil && len(list) == 0 {
		return "", nil
	}
	return n.Files.Changes(ctx, dir, spec.Inputs, spec.Return)
}
