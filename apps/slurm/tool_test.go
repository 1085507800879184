package slurm

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"bramble/fault"
	"bramble/fleet"
	"bramble/host"
	"bramble/job"
)

// pretend is a cluster of four nodes with one job of each kind. It notes what it is told to do.
type pretend struct {
	jobs  []job.Detail
	nodes []fleet.Node
	loads []job.Load
	parts []job.Partition
	did   []string
}

func (p *pretend) Jobs(_ context.Context, req job.ListRequest) iter.Seq2[job.Summary, error] {
	return func(yield func(job.Summary, error) bool) {
		for _, d := range p.jobs {
			if req.Open && !d.Ended.IsZero() || !d.Ended.IsZero() && d.Ended.Before(req.Since) {
				continue
			}
			if !yield(d.Summary, nil) {
				return
			}
		}
	}
}

func (p *pretend) Job(_ context.Context, id job.ID) (job.Detail, error) {
	for _, d := range p.jobs {
		if d.ID == id {
			return d, nil
		}
	}
	return job.Detail{}, fault.New(fault.NotFound, "no job %d", id)
}

func (p *pretend) Nodes(context.Context) ([]fleet.Node, error)         { return p.nodes, nil }
func (p *pretend) Loads(context.Context) ([]job.Load, error)           { return p.loads, nil }
func (p *pretend) Partitions(context.Context) ([]job.Partition, error) { return p.parts, nil }
func (p *pretend) note(format string, args ...any) error {
	p.did = append(p.did, fmt.Sprintf(format, args...))
	return nil
}
func (p *pretend) CancelTask(_ context.Context, id job.ID, index int) error {
	return p.note("cancel %d.%d", id, index)
}
func (p *pretend) Cancel(_ context.Context, id job.ID) error  { return p.note("cancel %d", id) }
func (p *pretend) Hold(_ context.Context, id job.ID) error    { return p.note("hold %d", id) }
func (p *pretend) Release(_ context.Context, id job.ID) error { return p.note("release %d", id) }
func (p *pretend) Drain(_ context.Context, n []string, why string) error {
	return p.note("drain %s %s", n, why)
}
func (p *pretend) Undrain(_ context.Context, n []string) error { return p.note("undrain %s", n) }

func (p *pretend) Signal(_ context.Context, id job.ID, index *int, signal string, leader bool) error {
	if index != nil {
		return p.note("signal %d_%d %s %v", id, *index, signal, leader)
	}
	return p.note("signal %d %s %v", id, signal, leader)
}

func (p *pretend) Requeue(_ context.Context, id job.ID, index *int) error {
	if index != nil {
		return p.note("requeue %d %d", id, *index)
	}
	return p.note("requeue %d", id)
}

func (p *pretend) Alter(_ context.Context, id job.ID, set job.Alteration) error {
	return p.note("alter %d %s", id, show(set))
}

// world is the cluster at noon.
func world() *pretend {
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	wait := func(id job.ID, code string, spec job.Spec) job.Detail {
		spec.User = "ann"
		return job.Detail{Summary: job.Summary{ID: id, Spec: spec, State: job.Pending, Tasks: 1, Counts: job.Counts{Pending: 1},
			Submitted: at(-60), Reason: job.Reason{Code: code}}}
	}
	runs := wait(1, "", job.Spec{Name: "hello", Timeout: 10 * time.Minute, Output: "out.%j", SubmitDir: "/home/ann", Nodes: 2, Ranks: 2, CPUs: 2})
	runs.State, runs.Counts, runs.Started = job.Running, job.Counts{Running: 1}, at(-2)
	runs.Placements = []job.Placement{{Key: job.Key{Job: 1, Attempt: 1}, Node: "pi2", Others: []string{"pi3"}, Since: at(-2)}}
	array := wait(2, "Resources", job.Spec{Name: "sweep", Array: "1-9%2", Partition: "long"})
	array.Tasks, array.State, array.Counts = 9, job.Running, job.Counts{Pending: 5, Running: 1, Done: 2, Failed: 1}
	array.Indices = map[string]string{"pending": "5-9", "running": "4", "done": "1-2", "failed": "3"}
	array.Placements = []job.Placement{{Key: job.Key{Job: 2, Index: 4, Attempt: 1}, Node: "pi3", Since: at(-90)}}
	array.Failures = []job.Failure{{Index: 3, Attempt: 1, Node: "pi1", Code: 7, Ended: at(-80)}}
	held := wait(3, "JobHeldUser", job.Spec{Name: "a-very-long-name"})
	held.HeldBy = "ann"
	needs := wait(4, "Dependency", job.Spec{Name: "next", Depend: []job.Dependency{{Kind: job.AfterOK, Job: 1}}})
	begins := wait(5, "BeginTime", job.Spec{Name: "later", Begin: at(60)})
	begins.Spec.User = "bob"
	done := wait(6, "", job.Spec{Name: "ended", CPUs: 4, Memory: 1 << 30})
	done.State, done.Counts, done.Started, done.Ended, done.Ran = job.Done, job.Counts{Done: 1}, at(-4), at(-1), "pi1"
	done.Usage = job.Usage{User: 62 * time.Second, System: 12 * time.Millisecond, MaxRSS: 5 << 20}
	slow := wait(7, "", job.Spec{Name: "slow", Timeout: time.Hour})
	slow.State, slow.Counts, slow.Started, slow.Ended, slow.Ran, slow.Code, slow.Signal = job.Failed, job.Counts{Failed: 1}, at(-70), at(-10), "pi1", -1, "SIGTERM"
	slow.Failures = []job.Failure{{Timeout: true, Code: -1, Signal: "SIGTERM", Node: "pi1"}}
	gone := wait(8, "", job.Spec{Name: "gone"})
	gone.State, gone.Counts, gone.Ended, gone.CancelledBy = job.Cancelled, job.Counts{Cancelled: 1}, at(-3), "ann"
	p := &pretend{jobs: []job.Detail{runs, array, held, needs, begins, done, slow, gone},
		parts: []job.Partition{{Name: "long", On: "pi[1-2]", MaxTime: 48 * time.Hour}}}
	for i, state := range []fleet.State{fleet.Up, fleet.Up, fleet.Up, fleet.Down, fleet.Up} {
		p.nodes = append(p.nodes, fleet.Node{Name: fmt.Sprintf("pi%d", i+1), State: state, Roles: []string{fleet.RoleWorker}, Cores: 4, Memory: 2000 << 20,
			Model: "pi4", Arch: "arm64", Address: "10.0.0.1", Version: "1.0", Sample: host.Sample{Load: 0.5, MemTotal: 2000 << 20, MemUsed: 500 << 20}})
	}
	p.nodes[4].Drained, p.nodes[2].Cores, p.nodes[0].Labels = "bad card", 2, map[string]string{"gpu": "2"}
	p.loads = []job.Load{{Name: "pi2", Used: 2}, {Name: "pi3", Used: 3}}
	return p
}

func run(t *testing.T, p *pretend, command string, args ...string) (out, complaints string, err error) {
	t.Helper()
	old := time.Local
	time.Local = time.UTC
	defer func() { time.Local = old }()
	var o, e strings.Builder
	tool := &Tool{Cluster: p, Me: "ann", Version: "1.0", Out: &o, Err: &e, Getenv: func(string) string { return "" }, Now: func() time.Time { return noon }}
	switch command {
	case "squeue":
		err = tool.Squeue(t.Context(), args)
	case "sinfo":
		err = tool.Sinfo(t.Context(), args)
	case "sacct":
		err = tool.Sacct(t.Context(), args)
	case "scancel":
		err = tool.Scancel(t.Context(), args)
	case "scontrol":
		err = tool.Scontrol(t.Context(), args)
	}
	return o.String(), e.String(), err
}

// The columns are those that Slurm 22.05.8 printed for jobs and nodes in such states.
func TestShows(t *testing.T) {
	for _, c := range []struct{ command, want string }{
		{"squeue", `
             JOBID PARTITION     NAME     USER ST       TIME  NODES NODELIST(REASON)
         2_[5-9%2]      long    sweep      ann PD       0:00      1 (Resources)
                 3       all a-very-l      ann PD       0:00      1 (JobHeldUser)
                 4       all     next      ann PD       0:00      1 (Dependency)
                 5       all    later      bob PD       0:00      1 (BeginTime)
                 1       all    hello      ann  R       2:00      2 pi[2-3]
               2_4      long    sweep      ann  R    1:30:00      1 pi3
`},
		{"squeue -l -j 1", `
Thu Nov 26 12:00:00 2026
             JOBID PARTITION     NAME     USER    STATE       TIME TIME_LIMI  NODES NODELIST(REASON)
                 1       all    hello      ann  RUNNING       2:00     10:00      2 pi[2-3]
`},
		{"squeue --start -u bob", `
             JOBID PARTITION     NAME     USER ST          START_TIME  NODES SCHEDNODES           NODELIST(REASON)
                 5       all    later      bob PD 2026-11-26T13:00:00      1 (null)               (BeginTime)
`},
		{"squeue -s", `
         STEPID     NAME PARTITION     USER      TIME NODELIST
        1.batch    batch       all      ann      2:00 pi[2-3]
      2_4.batch    batch      long      ann   1:30:00 pi3
`},
		{"squeue -h -t all -o %i|%t|%T|%l|%L|%C|%D|%r|%R|%N|%B|%S|%e|%A|%F|%K|%E|%Q|%y|%a|%m -j 1,2_4,6", `
1|R|RUNNING|10:00|8:00|4|2|None|pi[2-3]|pi[2-3]|pi2|2026-11-26T11:58:00|2026-11-26T12:08:00|1|1|N/A|(null)|4294967295|0|default|0
2_4|R|RUNNING|UNLIMITED|UNLIMITED|1|1|None|pi3|pi3|pi3|2026-11-26T10:30:00|N/A|4294967300|2|4|(null)|4294967294|0|default|0
6|CD|COMPLETED|UNLIMITED|UNLIMITED|4|1|None|pi1|pi1|pi1|2026-11-26T11:56:00|2026-11-26T11:59:00|6|6|N/A|(null)|4294967290|0|default|1G
`},
		{"squeue -h -t CA,CD,TO,F -o %.4i%.10T", `
 2_1 COMPLETED
 2_2 COMPLETED
   6 COMPLETED
   8 CANCELLED
 2_3    FAILED
`},
		{"squeue -h -r -n sweep -t PD -o %i", "\n2_5\n2_6\n2_7\n2_8\n2_9\n"},
		{"squeue -h -S -i -o %i -u ann -p all", "\n4\n3\n1\n"},
		{"squeue -O jobid,jobarrayid,state:10,nodelist:.12 -w pi3", `
JOBID               JOBID               STATE         NODELIST
1                   1                   RUNNING        pi[2-3]
4294967300          2_4                 RUNNING            pi3
`},
		{"squeue -h -o %i -j 2_[7,9],2_3", "\n2_[7,9%2]\n"},
		{"squeue --name=nosuch", "\n             JOBID PARTITION     NAME     USER ST       TIME  NODES NODELIST(REASON)\n"},
		{"sinfo", `
PARTITION AVAIL  TIMELIMIT  NODES  STATE NODELIST
all*         up   infinite      1  down* pi4
all*         up   infinite      1  drain pi5
all*         up   infinite      1    mix pi2
all*         up   infinite      1  alloc pi3
all*         up   infinite      1   idle pi1
long         up 2-00:00:00      1    mix pi2
long         up 2-00:00:00      1   idle pi1
`},
		{"sinfo -s", `
PARTITION AVAIL  TIMELIMIT   NODES(A/I/O/T) NODELIST
all*         up   infinite          2/1/2/5 pi[1-5]
long         up 2-00:00:00          1/1/0/2 pi[1-2]
`},
		{"sinfo -l -p long", `
Thu Nov 26 12:00:00 2026
PARTITION AVAIL  TIMELIMIT   JOB_SIZE ROOT OVERSUBS     GROUPS  NODES       STATE NODELIST
long         up 2-00:00:00 1-infinite   no       NO        all      1       mixed pi2
long         up 2-00:00:00 1-infinite   no       NO        all      1        idle pi1
`},
		{"sinfo -N -l -n pi[1,5]", "\n" + strings.ReplaceAll(`Thu Nov 26 12:00:00 2026
NODELIST   NODES PARTITION       STATE CPUS    S:C:T MEMORY TMP_DISK WEIGHT AVAIL_FE REASON              |
pi1            1      all*        idle 4       1:4:1   2000        0      1 pi4,gpu= none                |
pi1            1      long        idle 4       1:4:1   2000        0      1 pi4,gpu= none                |
pi5            1      all*     drained 4       1:4:1   2000        0      1      pi4 bad card            |
`, "|", "")},
		{"sinfo -N -p long", "\n" + strings.ReplaceAll(`NODELIST   NODES PARTITION STATE |
pi1            1      long idle  |
pi2            1      long mix   |
`, "|", "")},
		{"sinfo -R", "\nREASON               USER      TIMESTAMP           NODELIST\n" +
			"Not responding       Unknown   Unknown             pi4\nbad card             Unknown   Unknown             pi5\n"},
		{"sinfo -h -o %N|%c|%C|%D -p all", "\npi[1-5]|2+|4/6/8/18|5\n"},
		{"sinfo -h -e -o %c|%N|%G -p all", "\n4|pi[2,4-5]|(null)\n2|pi3|(null)\n4|pi1|gpu:2\n"},
		{"sinfo -h -t idle,alloc -o %n_%t -p all", "\npi3_alloc\npi1_idle\n"},
		{"sacct -j 6,7", `
JobID           JobName  Partition    Account  AllocCPUS      State ExitCode |
------------ ---------- ---------- ---------- ---------- ---------- -------- |
6                 ended        all    default          4  COMPLETED      0:0 |
6.batch           batch               default          4  COMPLETED      0:0 |
7                  slow        all    default          1    TIMEOUT     0:15 |
7.batch           batch               default          1    TIMEOUT     0:15 |
`},
		{"sacct -n -X -u ann -s CA,CD,F,TO --format=jobid%5,state%12,exitcode,elapsed,nodelist%6", `
  2_1    COMPLETED      0:0            None + |
  2_2    COMPLETED      0:0            None + |
  2_3       FAILED      7:0               pi1 |
    6    COMPLETED      0:0   00:03:00    pi1 |
    7      TIMEOUT     0:15   01:00:00    pi1 |
    8 CANCELLED b+      0:0   00:00:00 None + |
`},
		{"sacct -P -j 6 -o JobID,Elapsed,TotalCPU,MaxRSS,ReqMem,Start,End,NCPUS,CPUTimeRAW,Timelimit", `
JobID|Elapsed|TotalCPU|MaxRSS|ReqMem|Start|End|NCPUS|CPUTimeRAW|Timelimit
6|00:03:00|01:02.012||1G|2026-11-26T11:56:00|2026-11-26T11:59:00|4|720|UNLIMITED
6.batch|00:03:00|01:02.012|5120K||2026-11-26T11:56:00|2026-11-26T11:59:00|4|720|
`},
		{"sacct -p -n -X -j 2_4,1 -o jobidraw,jobname,state", "\n1|hello|RUNNING|\n4294967300|sweep|RUNNING|\n"},
		{"sacct -n -X -S 11:58 -E now -u bob -o jobname", "\n     later |\n"},
		{"sacct -n -X -j 99", "\n"},
		{"scontrol -o show node pi3", "\nNodeName=pi3 Arch=arm64 CoresPerSocket=2 CPUAlloc=2 CPUEfctv=2 CPUTot=2 CPULoad=0.50 AvailableFeatures=pi4 ActiveFeatures=pi4 Gres=(null) " +
			"NodeAddr=10.0.0.1 NodeHostName=pi3 Version=1.0 OS= RealMemory=2000 AllocMem=0 FreeMem=1500 Sockets=1 Boards=1 State=ALLOCATED ThreadsPerCore=1 TmpDisk=0 Weight=1 " +
			"Owner=N/A MCS_label=N/A Partitions=all BootTime=Unknown SlurmdStartTime=Unknown LastBusyTime=Unknown CfgTRES=cpu=2,mem=2000M,billing=2 AllocTRES=cpu=2,mem=0M\n"},
		{"scontrol show hostnames pi[1-3]", "\npi1\npi2\npi3\n"},
		{"scontrol show hostlist pi1,pi2,x", "\npi[1-2],x\n"},
	} {
		args := strings.Fields(c.command)
		out, complaints, err := run(t, world(), args[0], args[1:]...)
		want := strings.ReplaceAll(strings.TrimPrefix(c.want, "\n"), " |\n", " \n")
		if err != nil || out != want || complaints != "" {
			t.Errorf("%s: %v %s\n got:\n%s\nwant:\n%s", c.command, err, complaints, out, want)
		}
	}
}

func TestShowJob(t *testing.T) {
	out, _, err := run(t, world(), "scontrol", "show", "job", "1")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"JobId=1 JobName=hello\n", "   JobState=RUNNING Reason=None Dependency=(null)\n", "   RunTime=00:02:00 TimeLimit=00:10:00 TimeMin=N/A\n",
		"   StartTime=2026-11-26T11:58:00 EndTime=2026-11-26T12:08:00 Deadline=N/A\n", "   NodeList=pi[2-3]\n   BatchHost=pi2\n",
		"   NumNodes=2 NumCPUs=4 NumTasks=2 CPUs/Task=2 ReqB:S:C:T=0:0:*:*\n", "   StdOut=/home/ann/out.1\n", "ExitCode=0:0\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestTells(t *testing.T) {
	for command, want := range map[string]string{
		"scancel 1":                      "cancel 1",
		"scancel 2":                      "cancel 2",
		"scancel 2_[4-9]":                "cancel 2",
		"scancel 2_5":                    "cancel 2.5",
		"scancel -t PD 2":                "cancel 2.5,cancel 2.6,cancel 2.7,cancel 2.8,cancel 2.9",
		"scancel -u bob":                 "cancel 5",
		"scancel --me -t RUNNING -p all": "cancel 1",
		"scancel --name=next":            "cancel 4",
		"scancel -s USR1 2":              "signal 2_4 USR1 false",
		"scancel -b -s 10 1":             "signal 1 USR1 true",
		"scancel -s KILL 1":              "cancel 1",
		"scancel 6":                      "",
		"scancel -Q 99":                  "",
		"scontrol hold 4 5":              "hold 4,hold 5",
		"scontrol release 3":             "release 3",
		"scontrol requeue 2_4":           "requeue 2 4",
		"scontrol requeue 1":             "requeue 1",
		"scontrol requeuehold 1":         "hold 1,requeue 1",
		"scontrol update JobId=4 TimeLimit=5 Nice=3":            `alter 4 {"nice":3,"timeout":300000000000}`,
		"scontrol update jobid=4 StartTime=13:00":               `alter 4 {"begin":"2026-11-26T13:00:00Z"}`,
		"scontrol update NodeName=pi[1-2] State=DRAIN Reason=x": "drain [pi1 pi2] x",
		"scontrol update nodename=pi1 state=resume":             "undrain [pi1]",
	} {
		p := world()
		args := strings.Fields(command)
		out, complaints, err := run(t, p, args[0], args[1:]...)
		if got := strings.Join(p.did, ","); err != nil || got != want || out+complaints != "" {
			t.Errorf("%s: did %q, want %q; %v %q %q", command, got, want, err, out, complaints)
		}
	}
}

func TestToolsRefuse(t *testing.T) {
	for command, want := range map[string]string{
		"squeue -j 99":                             "Invalid job id specified",
		"squeue -j x":                              "is no job",
		"squeue -t XX":                             "Invalid job state specified: XX",
		"squeue 7":                                 "squeue takes no",
		"squeue --jbos 7":                          "no option --jbos",
		"squeue --json":                            "does not print json",
		"sinfo -t bogus":                           "Bad state string",
		"sacct --format=jobid,elapsde":             "Invalid field requested",
		"sacct -S whenever":                        "is no time",
		"scancel":                                  "No job identification provided",
		"scontrol show job 99":                     "Invalid job id specified",
		"scontrol show node nope":                  "Node nope not found",
		"scontrol show partition nope":             "Partition nope not found",
		"scontrol sohw job":                        `no command "sohw"`,
		"scontrol hold":                            "needs a job",
		"scontrol update jobid=4 foo=bar":          "Update of this parameter is not supported",
		"scontrol update nodename=pi1 state=drain": "without a reason",
	} {
		p := world()
		args := strings.Fields(command)
		if _, _, err := run(t, p, args[0], args[1:]...); err == nil || !strings.Contains(err.Error(), want) || len(p.did) > 0 {
			t.Errorf("%s: %v, want %q; did %q", command, err, want, p.did)
		}
	}
	_, complaints, err := run(t, world(), "squeue", "-o", "%i %?")
	if err != nil || complaints != "squeue: error: Invalid job format specification: ?\n" {
		t.Errorf("a strange letter: %v %q", err, complaints)
	}
	p := world()
	p.jobs[2].Spec.Name = "a\x1b[2J\nb"
	if out, _, _ := run(t, p, "squeue", "-h", "-j", "3", "-o", "%j"); out != "a?[2J?b\n" {
		t.Errorf("a name that takes the terminal over came out as %q", out)
	}
}

// Every letter and name can be asked for, of every kind of job and node.
func TestAllFields(t *testing.T) {
	var letters, names []string
	for _, f := range jobFields(noon) {
		names = append(names, f.name)
		if f.letter != 0 {
			letters = append(letters, "%"+string(f.letter))
		}
	}
	if dup := slices.Sorted(slices.Values(letters)); len(slices.Compact(dup)) != len(letters) {
		t.Error("two fields have one letter")
	}
	for _, args := range [][]string{{"squeue", "-t", "all", "-o", strings.Join(letters, "|")}, {"squeue", "-t", "all", "-O", strings.Join(names, ",")}} {
		if out, complaints, err := run(t, world(), args[0], args[1:]...); err != nil || complaints != "" || strings.Count(out, "\n") != 12 {
			t.Errorf("%v: %v %s\n%s", args, err, complaints, out)
		}
	}
	letters = nil
	for _, f := range nodeFields(&Tool{}) {
		if f.letter != 0 {
			letters = append(letters, "%"+string(f.letter))
		}
	}
	if _, complaints, err := run(t, world(), "sinfo", "-o", strings.Join(letters, "|")); err != nil || complaints != "" {
		t.Errorf("sinfo: %v %s", err, complaints)
	}
	names = nil
	for _, f := range accountFields(noon) {
		names = append(names, f.title)
	}
	if out, _, err := run(t, world(), "sacct", "-P", "-a", "--format="+strings.Join(names, ",")); err != nil || strings.Count(strings.SplitN(out, "\n", 2)[0], "|") != len(names)-1 {
		t.Errorf("sacct: %v\n%s", err, out)
	}
}
