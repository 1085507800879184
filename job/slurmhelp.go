package job

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bramble/host"
)

// What a script of Slurm's finds beside its variables: `module`, which uses the node's own modules where there
// are any and else goes on without, and commands that ask bramble.

// moduleShell is a function of bash, which takes it from the environment.
const moduleShell = `() {
 local init
 for init in "${LMOD_PKG:-/usr/share/lmod/lmod}/init/bash" /etc/profile.d/lmod.sh /usr/share/modules/init/bash /etc/profile.d/modules.sh; do
  if [ -r "$init" ]; then
   unset -f module
   . "$init"
   if [ "$(type -t module)" = function ]; then module "$@"; return; fi
  fi
 done
 case "$1" in load|add|try-load|swap|switch)
  case "|$BRAMBLE_MODULES|" in *"|$*|"*) ;; *)
   export BRAMBLE_MODULES="$BRAMBLE_MODULES|$*"
   echo "bramble: module $*: there are no modules on $BRAMBLE_NODE; the job goes on without" >&2;;
  esac;;
 esac
}`

// moduleFile is the command, for shells that take no functions from the environment; it can change nothing for them.
const moduleFile = `#!/bin/sh
case "$1" in load|add|try-load|swap|switch)
 for init in /usr/share/lmod/lmod/init/sh /usr/share/modules/init/sh; do
  if [ -r "$init" ]; then echo "bramble: module $*: this shell needs '. $init' before it" >&2; exit 1; fi
 done
 echo "bramble: module $*: there are no modules on $BRAMBLE_NODE; the job goes on without" >&2;;
esac
`

// slurmCommands are those of Slurm's that work inside a job.
func slurmCommands() []string { return []string{"scontrol", "srun"} }

// StepsVar names the file in which a task of one rank counts its steps, by its bytes. An allocation's leader counts them itself.
const StepsVar = "BRAMBLE_STEPS"

func (n *Node) stepsDir(id ID) string { return filepath.Join(n.jobDir(id), "steps") }

func (n *Node) stepsPath(k Key) string {
	return filepath.Join(n.stepsDir(k.Job), filepath.Base(n.taskDir(k)))
}

func (n *Node) slurmDir(id ID) string { return filepath.Join(n.jobDir(id), "slurm") }

// makeSlurmDir makes the folder with the commands that a script of Slurm's finds, and the one where its tasks count steps.
func (n *Node) makeSlurmDir(id ID, account host.Account) error {
	if err := makeDir(n.stepsDir(id), account); err != nil {
		return err
	}
	dir := n.slurmDir(id)
	self, err := n.tool()
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	files := map[string]string{"": "", "module": moduleFile}
	for _, name := range slurmCommands() {
		files[name] = fmt.Sprintf("#!/bin/sh\nexec %s slurm %s \"$@\"\n", quoted(self), name)
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err == nil && name != "" {
			err = os.WriteFile(path, []byte(text), 0o755)
		}
		if err == nil {
			err = os.Chmod(path, 0o755) // whatever the agent's umask
		}
	}
	if err != nil {
		return fmt.Errorf("make the commands of Slurm: %w", err)
	}
	return nil
}

// quoted is a word for sh.
func quoted(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// slurmEnv is what a script of Slurm's finds in its environment. Programs of MPI see the variables and would
// start their ranks through srun: they are told not to.
func (n *Node) slurmEnv(a Attempt, spec Spec, account host.Account, dir string) []string {
	env := SlurmEnv(a.Key, spec, Scene{Node: n.Conn.Who().Name, User: account.Name, UID: account.UID, GID: account.GID, Dir: dir, Shares: a.Shares})
	env = append(env, "BASH_FUNC_module%%="+moduleShell)
	if len(a.Shares) > 0 {
		return env // they are told of our own launcher
	}
	return append(env, StepsVar+"="+n.stepsPath(a.Key), "OMPI_MCA_plm=^slurm", "PRTE_MCA_plm=^slurm", "HYDRA_LAUNCHER=fork")
}

// withSlurm puts Slurm's commands in front of what an environment searches.
func (n *Node) withSlurm(id ID, env []string) []string {
	path := "/usr/bin:/bin"
	env = slices.DeleteFunc(env, func(v string) bool {
		value, ok := strings.CutPrefix(v, "PATH=")
		if ok {
			path = value
		}
		return ok
	})
	return append(env, "PATH="+n.slurmDir(id)+":"+path)
}
