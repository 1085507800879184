package job

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"bramble/fault"
	"bramble/host"
	"bramble/keeper"
)

// Where tasks run: Dir/JOB holds the spec and, when the job has no files of its own, is the folder of all its
// tasks on the node; otherwise each attempt has Dir/JOB/INDEX.ATTEMPT.

func (n *Node) jobDir(id ID) string { return filepath.Join(n.Dir, strconv.FormatInt(int64(id), 10)) }

func (n *Node) taskDir(k Key) string {
	return filepath.Join(n.jobDir(k.Job), fmt.Sprintf("%d.%d", k.Index, k.Attempt))
}

func (n *Node) specPath(id ID) string { return filepath.Join(n.jobDir(id), ".bramble-spec") }

// readSpec is what a later agent knows a running task's job by.
func (n *Node) readSpec(id ID) (spec Spec, err error) {
	data, err := os.ReadFile(n.specPath(id))
	if err == nil {
		err = json.Unmarshal(data, &spec)
	}
	return spec, err
}

// prepare makes a task's folder with all that it needs, and says what to run in it.
func (n *Node) prepare(ctx context.Context, k Key, spec Spec) (keeper.Task, error) {
	account, name, err := n.account(spec)
	if err != nil {
		return keeper.Task{}, err
	}
	if err := n.makeJobDir(k.Job, spec, account); err != nil {
		return keeper.Task{}, err
	}
	dir := n.jobDir(k.Job)
	if own := spec.Inputs != "" || len(spec.Return) > 0; own {
		dir = n.taskDir(k)
		os.RemoveAll(dir) // of an attempt of this number that a lost agent had begun to prepare
		if err := makeDir(dir, account); err != nil {
			return keeper.Task{}, err
		}
	}
	if spec.Inputs != "" {
		if err := n.Files.Place(ctx, spec.Inputs, dir, account); err != nil {
			return keeper.Task{}, fmt.Errorf("bring its files: %w", err)
		}
	}
	args := spec.Args
	if len(spec.Script) > 0 {
		script := filepath.Join(n.jobDir(k.Job), ".bramble-script")
		if err := writeScript(script, spec.Script, account); err != nil {
			return keeper.Task{}, err
		}
		args = append([]string{script}, args...)
	}
	return keeper.Task{
		ID: k.String(), Args: args, Env: n.environment(k, spec, account, dir), Dir: dir, User: name,
		Limits: host.Limits{Memory: spec.Memory}, Timeout: spec.Timeout,
	}, nil
}

// account is whose account the work runs as; without root it is our own.
func (n *Node) account(spec Spec) (host.Account, string, error) {
	name := cmp.Or(spec.Account, n.Accounts.AccountFor(spec.User))
	if name == "" || os.Geteuid() != 0 {
		if spec.Account != "" && os.Geteuid() != 0 {
			return host.Account{}, "", fault.New(fault.Denied, "the agent on %s does not run as root", n.Conn.Who().Name)
		}
		return host.Account{Name: cmp.Or(os.Getenv("USER"), spec.User), UID: uint32(os.Getuid()), GID: uint32(os.Getgid()),
			Home: os.Getenv("HOME"), Shell: os.Getenv("SHELL")}, "", nil
	}
	account, err := n.Accounts.Account(name)
	return account, name, err
}

func (n *Node) environment(k Key, spec Spec, account host.Account, dir string) []string {
	env := append(account.Env(),
		"LANG="+cmp.Or(os.Getenv("LANG"), "C.UTF-8"), "PWD="+dir,
		"BRAMBLE_JOB_ID="+strconv.FormatInt(int64(k.Job), 10), "BRAMBLE_TASK_ID="+strconv.Itoa(k.Index),
		"BRAMBLE_ATTEMPT="+strconv.Itoa(k.Attempt), "BRAMBLE_NODE="+n.Conn.Who().Name,
		"BRAMBLE_USER="+spec.User, "BRAMBLE_CPUS="+strconv.Itoa(spec.CPUs))
	return append(env, spec.Env...)
}

// makeJobDir makes a job's folder the first time, with the spec in it.
func (n *Node) makeJobDir(id ID, spec Spec, account host.Account) error {
	if _, err := os.Stat(n.specPath(id)); err == nil {
		return nil
	}
	if err := os.MkdirAll(n.Dir, 0o711); err != nil {
		return fmt.Errorf("make the folder of tasks: %w", err)
	}
	if err := makeDir(n.jobDir(id), account); err != nil {
		return err
	}
	data, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	if err := os.WriteFile(n.specPath(id)+".new", data, 0o600); err != nil {
		return fmt.Errorf("keep the spec of job %d: %w", id, err)
	}
	return os.Rename(n.specPath(id)+".new", n.specPath(id))
}

func makeDir(dir string, account host.Account) error {
	err := os.Mkdir(dir, 0o700)
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

// writeScript puts the script where all tasks of the job run it from; written once, as a running file can't be replaced.
func writeScript(path string, text []byte, account host.Account) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	fresh := path + ".new"
	if err := os.WriteFile(fresh, text, 0o700); err != nil {
		return fmt.Errorf("write the script: %w", err)
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(fresh, int(account.UID), int(account.GID)); err != nil {
			return fmt.Errorf("write the script: %w", err)
		}
	}
	return os.Rename(fresh, path)
}

// leaveFolder removes an attempt's folder, and the job's with its last attempt here. n.mu is held.
func (n *Node) leaveFolder(k Key) {
	spec := n.specs[k.Job]
	if spec.Inputs != "" || len(spec.Return) > 0 {
		dir := n.taskDir(k)
		n.ended.Go(func() { os.RemoveAll(dir) })
	}
	if n.folders[k.Job]--; n.folders[k.Job] > 0 {
		return
	}
	delete(n.folders, k.Job)
	for id := range n.specs { // what is not kept is asked for again
		if len(n.specs) <= maxSpecs {
			break
		}
		if n.folders[id] == 0 {
			delete(n.specs, id)
		}
	}
	gone := fmt.Sprintf("%s.gone-%d", n.jobDir(k.Job), k.Attempt)
	if os.Rename(n.jobDir(k.Job), gone) == nil {
		n.ended.Go(func() { os.RemoveAll(gone) })
	}
}

// maxSpecs is how many jobs' specs a node keeps without work of theirs.
const maxSpecs = 256
