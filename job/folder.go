package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"bramble/host"
)

// Where tasks run. Dir/JOB is the agent's own: no task may put anything there, since a later agent trusts what it
// finds. It holds the spec, the script, "slurm" with commands for a script of Slurm's, and the folders that belong
// to the tasks' account: "common", where all tasks of a job run that brings and returns no files, INDEX.ATTEMPT for
// each attempt of one that does, and "steps", where tasks of Slurm's count them.

func (n *Node) jobDir(id ID) string { return filepath.Join(n.Dir, strconv.FormatInt(int64(id), 10)) }

func (n *Node) specPath(id ID) string   { return filepath.Join(n.jobDir(id), "spec") }
func (n *Node) scriptPath(id ID) string { return filepath.Join(n.jobDir(id), "script") }

func (n *Node) commonDir(id ID) string { return filepath.Join(n.jobDir(id), "common") }

func (n *Node) taskDir(k Key) string {
	return filepath.Join(n.jobDir(k.Job), fmt.Sprintf("%d.%d", k.Index, k.Attempt))
}

// readSpec is what a later agent knows a running task's job by.
func (n *Node) readSpec(id ID) (spec Spec, err error) {
	data, err := os.ReadFile(n.specPath(id))
	if err == nil {
		err = json.Unmarshal(data, &spec)
	}
	return spec, err
}

// makeJobDir makes a job's folder the first time. The spec comes last: where it is, all else is.
func (n *Node) makeJobDir(id ID, spec Spec, account host.Account) error {
	if _, err := os.Stat(n.specPath(id)); err == nil {
		return nil
	}
	n.making.Lock()
	defer n.making.Unlock()
	if err := os.MkdirAll(n.jobDir(id), 0o711); err != nil {
		return fmt.Errorf("make the job's folder: %w", err)
	}
	if err := makeDir(n.commonDir(id), account); err != nil {
		return err
	}
	if len(spec.Script) > 0 {
		if err := writeScript(n.scriptPath(id), spec.Script, account); err != nil {
			return fmt.Errorf("write the script: %w", err)
		}
	}
	if spec.Slurm {
		if err := n.makeSlurmDir(id, account); err != nil {
			return err
		}
	}
	return n.writeSpec(id, spec)
}

// writeSpec keeps what a later agent knows the job by. n.making is held.
func (n *Node) writeSpec(id ID, spec Spec) error {
	data, err := json.Marshal(spec)
	if err == nil {
		err = os.WriteFile(n.specPath(id)+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(n.specPath(id)+".new", n.specPath(id))
	}
	if err != nil {
		return fmt.Errorf("keep the spec of job %d: %w", id, err)
	}
	return nil
}

// ownMode is the rights of a folder that belongs to tasks' account.
const ownMode = 0o700

func makeDir(dir string, account host.Account) error {
	err := os.Mkdir(dir, ownMode)
	if errors.Is(err, os.ErrExist) {
		err = nil
	}
	if err == nil && os.Geteuid() == 0 {
		err = os.Lchown(dir, int(account.UID), int(account.GID))
	}
	if err != nil {
		return fmt.Errorf("make the task's folder: %w", err)
	}
	return nil
}

// writeScript puts the script where all tasks of the job run it from; whole at once, as a running file can't be changed.
func writeScript(path string, text []byte, account host.Account) error {
	fresh := path + ".new"
	os.Remove(fresh)
	if err := os.WriteFile(fresh, text, 0o500); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(fresh, int(account.UID), int(account.GID)); err != nil {
			return err
		}
	}
	return os.Rename(fresh, path)
}

// enter notes that an attempt uses its job's folder. n.mu is held, as in all that follows.
func (n *Node) enter(k Key) {
	if n.here[k.Job] == nil {
		n.here[k.Job] = map[Key]bool{}
	}
	n.here[k.Job][k] = true
}

// leave removes an attempt's folder, and the job's with its last attempt here.
func (n *Node) leave(k Key) {
	if !n.here[k.Job][k] {
		return
	}
	spec := n.specs[k.Job]
	delete(n.here[k.Job], k)
	if t := n.warned[k]; t != nil {
		t.Stop()
		delete(n.warned, k)
	}
	if len(n.here[k.Job]) > 0 {
		if spec.ownFolder() {
			n.spawn(func() { n.retire(k) })
		}
		return
	}
	delete(n.here, k.Job)
	delete(n.sharing, k.Job)
	delete(n.grounds, k.Job)
	delete(n.idle, k.Job)
	delete(n.limits, k.Job)
	n.thinSpecs()
	gone := fmt.Sprintf("%s.gone-%d.%d", n.jobDir(k.Job), k.Index, k.Attempt)
	if os.Rename(n.jobDir(k.Job), gone) == nil {
		n.spawn(func() { n.removeJob(gone) })
	}
}

// maxSpecs is how many jobs' specs a node keeps; what is not kept is asked for again.
const maxSpecs = 256

func (n *Node) thinSpecs() {
	for id := range n.specs {
		if len(n.specs) <= maxSpecs {
			return
		}
		if n.here[id] == nil {
			delete(n.specs, id)
		}
	}
}

// sweep removes what an earlier agent left of attempts that nobody knows any more.
func (n *Node) sweep() error {
	jobs, err := os.ReadDir(n.Dir)
	if err != nil {
		return fmt.Errorf("look for what earlier tasks left: %w", err)
	}
	for _, e := range jobs {
		id, err := strconv.ParseInt(e.Name(), 10, 64)
		here := n.here[ID(id)]
		if e.Name() == sealName || e.Name() == toolName {
			continue
		}
		if err != nil || here == nil {
			n.spawnRemove(filepath.Join(n.Dir, e.Name()), here == nil && err == nil)
			continue
		}
		tasks, _ := os.ReadDir(n.jobDir(ID(id)))
		for _, t := range tasks {
			k, err := ParseKey(e.Name() + "." + t.Name())
			if err == nil && strings.Count(t.Name(), ".") == 1 && !here[k] {
				n.unlayer(n.taskDir(k))
				n.spawnRemove(n.layerDir(k), true)
				n.spawnRemove(n.taskDir(k), true)
			}
		}
	}
	return nil
}

// spawnRemove removes a folder; moved aside first when its name may be wanted again.
func (n *Node) spawnRemove(dir string, aside bool) {
	if aside {
		gone := dir + ".gone"
		n.removeJob(gone)
		if os.Rename(dir, gone) != nil {
			n.removeJob(dir)
			return
		}
		dir = gone
	}
	n.spawn(func() { n.removeJob(dir) })
}
