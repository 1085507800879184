package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// slurmScript runs munged, slurmctld and slurmd.
//
//go:embed programs/slurm.sh
var slurmScript string

// slurmPrograms are what scripts/setup bench installs as slurm-wlm and munge.
var slurmPrograms = []string{"munged", "slurmctld", "slurmd", "sbatch", "squeue", "sinfo", "unshare"}

// slurmTuning is what makes an array of short tasks fastest in Debian's Slurm 22.05. It looks for work once a second at
// the most, so it is told that a core can hold many tasks; with still more of them starts time out.
const slurmTuning = `SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,default_queue_depth=10000
SlurmdParameters=config_overrides
`

// tunedSlots is how many tasks at a time a tuned Slurm may start on each core.
const tunedSlots = 16

// slurmConfig leaves out what this machine may not have, such as control groups, and what would only cost time, such
// as accounting. Each finished task is a line of the file done.
const slurmConfig = `ClusterName=bench
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=%[2]d
SlurmdPort=%[3]d
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=%[1]s/munge.socket
CredType=cred/munge
StateSaveLocation=%[1]s/state
SlurmdSpoolDir=%[1]s/spool
SlurmctldPidFile=%[1]s/slurmctld.pid
SlurmdPidFile=%[1]s/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=%[1]s/done
MpiDefault=none
SwitchType=switch/none
MailProg=/bin/true
%[4]sNodeName=bench NodeAddr=127.0.0.1 NodeHostname=%[5]s CPUs=%[6]d State=UNKNOWN
PartitionName=bench Nodes=bench Default=YES MaxTime=INFINITE State=UP
`

// slurm is Debian's Slurm with one node, this machine.
type slurm struct {
	dir   string
	child *child
	say   func(format string, args ...any)
}

// startSlurm returns when the node waits for work. Its files are in a folder of its own, its ports on loopback.
func (b *bench) startSlurm(ctx context.Context, name string, slots int, extra string) (*slurm, error) {
	s := &slurm{dir: filepath.Join(b.dir, name), say: b.say}
	if err := s.configure(slots, extra); err != nil {
		return nil, err
	}
	var err error
	s.child, err = b.start(nil, "unshare", "--pid", "--mount-proc", "--fork", "--kill-child", "--wd", s.dir, "bash", "-c", slurmScript)
	if err != nil {
		return nil, err
	}
	s.child.end = syscall.SIGKILL // unshare holds back what is gentler; what it started dies with it
	if err := s.child.await(ctx, "idle"); err != nil {
		s.stop()
		return nil, s.failed(err)
	}
	return s, nil
}

// tunedSlurm is the Slurm to compare with; what Slurm does with its defaults is a note.
func (b *bench) tunedSlurm(ctx context.Context, s *section) (*slurm, error) {
	if not := missing(slurmPrograms...); len(not) > 0 {
		return nil, fmt.Errorf("Slurm needs %s; try: scripts/setup bench", strings.Join(not, ", "))
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("Slurm needs root; try: sudo make bench")
	}
	b.say("jobs: an array in Slurm as it is by default")
	usual, err := b.startSlurm(ctx, "slurm-default", runtime.NumCPU(), "")
	if err != nil {
		return nil, err
	}
	defer usual.stop()
	n := min(untunedTasks, b.tasks)
	took, err := usual.array(n)(ctx)
	if err != nil {
		return nil, err
	}
	s.note("Slurm that looks for work as it does by default, with a slot per core: %.2g tasks/s. The one in the table looks every second and may start %d tasks a core.", perSecond(n, took), tunedSlots)
	return b.startSlurm(ctx, "slurm", tunedSlots*runtime.NumCPU(), slurmTuning)
}

// stop ends its processes, all at once.
func (s *slurm) stop() { s.child.stop() }

// failed shows what the daemons said last, and which of them it was about.
func (s *slurm) failed(err error) error {
	s.say("slurm: %s; its daemons said:\n%s", err, s.child.tail(50))
	return fmt.Errorf("Slurm: %w", err)
}

func (s *slurm) configure(slots int, extra string) error {
	for _, folder := range []string{"state", "spool"} {
		if err := os.MkdirAll(filepath.Join(s.dir, folder), 0o755); err != nil {
			return err
		}
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	key := make([]byte, 128)
	rand.Read(key)
	host, _, _ = strings.Cut(host, ".") // as slurmd has it
	config := fmt.Sprintf(slurmConfig, s.dir, ports[0], ports[1], extra, host, slots)
	for name, text := range map[string]string{"munge.key": string(key), "slurm.conf": config, "task": "#!/bin/true\n", "done": ""} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// freePorts are ports on loopback that nobody listened on just now.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// array times n tasks, from the submission until the last one has its line in the file of finished ones. sbatch --wait
// would not do: it looks for the end after 2, 10, 42 and 74 seconds.
func (s *slurm) array(n int) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		before, err := s.done()
		if err != nil {
			return 0, err
		}
		took, err := timed(func() error {
			if _, err := s.ask(ctx, "sbatch", "--output=/dev/null", fmt.Sprintf("--array=1-%d", n), "task"); err != nil {
				return err
			}
			return until(ctx, func() (bool, error) {
				done, err := s.done()
				return done >= before+n, err
			})
		})
		if err == nil {
			err = until(ctx, func() (bool, error) { // it has done with them too, before others take their turn
				left, err := s.ask(ctx, "squeue", "--noheader")
				return left == "", err
			})
		}
		if err != nil {
			return 0, s.failed(err)
		}
		return took, nil
	}
}

// done counts the tasks that have ended well; any other end is an error.
func (s *slurm) done() (int, error) {
	text, err := os.ReadFile(filepath.Join(s.dir, "done"))
	if err != nil {
		return 0, err
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		switch {
		case !strings.HasSuffix(line, "\n"): // still being written
		case strings.Contains(line, " JobState=COMPLETED "):
			n++
		default:
			return n, fmt.Errorf("a task has not ended well: %s", strings.TrimSpace(line))
		}
	}
	return n, nil
}

// ask runs one of Slurm's programs and returns what it says. Tasks inherit its environment, so that is small: to be told
// of none, by --export=NIL, Slurm would log in as their user for each of them.
func (s *slurm) ask(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "SLURM_CONF=" + filepath.Join(s.dir, "slurm.conf")}
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, lastWords(said.String()))
	}
	return string(out), nil
}

// until asks again every few milliseconds.
func until(ctx context.Context, reached func() (bool, error)) error {
	for {
		if ok, err := reached(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}
