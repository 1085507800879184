package slurm

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"bramble/fleet"
)

// pairs writes KEY=VALUE lines as scontrol has them, the first without room in front.
type pairs struct{ lines []string }

func (p *pairs) line(format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = plain(s)
		}
	}
	p.lines = append(p.lines, fmt.Sprintf(format, args...))
}

func (p *pairs) String() string { return strings.Join(p.lines, "\n   ") }

// jobBlock is what scontrol shows of a job.
func jobBlock(r Row, now time.Time) string {
	var p pairs
	s := r.Spec
	head := "JobId=" + r.RawID()
	if s.Array != "" {
		head += fmt.Sprintf(" ArrayJobId=%d ArrayTaskId=%s", r.ID, taskText(r))
	}
	p.line("%s JobName=%s", head, s.Name)
	p.line("UserId=%s(N/A) GroupId=%s(N/A) MCS_label=N/A", s.User, s.User)
	p.line("Priority=%d Nice=%d Account=%s QOS=(null)", priority(r.Detail), s.Nice, accountOf(s))
	p.line("JobState=%s Reason=%s Dependency=%s", string(r.State), r.Why(), dependencyText(s))
	requeue := 1
	if s.NoRequeue {
		requeue = 0
	}
	p.line("Requeue=%d Restarts=%d BatchFlag=1 Reboot=0 ExitCode=%s", requeue, max(0, r.Attempts-r.Detail.Tasks), exitText(r))
	p.line("RunTime=%s TimeLimit=%s TimeMin=N/A", longClock(r.Used(now)), limitText(s.Timeout, longClock, "UNLIMITED"))
	p.line("SubmitTime=%s EligibleTime=%s", zone(r.Submitted), zone(latest(r.Submitted, s.Begin)))
	p.line("AccrueTime=%s", zone(latest(r.Submitted, s.Begin)))
	start, end := r.Started, r.Ended
	switch {
	case r.State == Pending && r.Why() == "BeginTime":
		start = s.Begin
	case r.State == Pending:
		start = r.Detail.Why.Until
	case r.State == Running && s.Timeout > 0 && !start.IsZero():
		end = start.Add(s.Timeout)
	}
	p.line("StartTime=%s EndTime=%s Deadline=N/A", zone(start), zone(end))
	p.line("SuspendTime=None SecsPreSuspend=0 LastSchedEval=%s Scheduler=Main", zone(now))
	p.line("Partition=%s AllocNode:Sid=%s:N/A", r.Partition(), cmp.Or(s.SubmitHost, "N/A"))
	p.line("ReqNodeList=(null) ExcNodeList=(null)")
	p.line("NodeList=%s", fleet.Fold(r.Nodes))
	if len(r.Nodes) > 0 {
		p.line("BatchHost=%s", r.Nodes[0])
	}
	p.line("NumNodes=%d NumCPUs=%d NumTasks=%d CPUs/Task=%d ReqB:S:C:T=0:0:*:*", r.NodeCount(), r.CPUs(), max(1, s.Ranks), max(1, s.CPUs))
	p.line("TRES=%s", tres(r))
	p.line("Socks/Node=* NtasksPerN:B:S:C=%d:0:*:* CoreSpec=*", s.RanksPerNode)
	if s.MemoryPerCPU > 0 {
		p.line("MinCPUsNode=%d MinMemoryCPU=%s MinTmpDiskNode=0", max(1, s.CPUs), megabytes(s.MemoryPerCPU))
	} else {
		p.line("MinCPUsNode=%d MinMemoryNode=%s MinTmpDiskNode=0", max(1, s.CPUs), megabytes(s.Memory))
	}
	p.line("Features=%s DelayBoot=00:00:00", orNull(s.On))
	share := "OK"
	if s.Exclusive {
		share = "NO"
	}
	p.line("OverSubscribe=%s Contiguous=0 Licenses=(null) Network=(null)", share)
	p.line("Command=%s", commandText(s))
	p.line("WorkDir=%s", workDir(r))
	if s.Comment != "" {
		p.line("Comment=%s", s.Comment)
	}
	p.line("StdErr=%s", outputText(r, cmp.Or(s.Error, s.Output)))
	p.line("StdIn=/dev/null")
	p.line("StdOut=%s", outputText(r, s.Output))
	if gres := gresText(s); gres != "N/A" {
		p.line("TresPerNode=%s", gres)
	}
	return p.String()
}

// nodeBlock is what scontrol shows of a node.
func nodeBlock(b board, parts []string, now time.Time) string {
	var p pairs
	p.line("NodeName=%s Arch=%s CoresPerSocket=%d", b.Name, b.Arch, b.Cores)
	p.line("CPUAlloc=%d CPUEfctv=%d CPUTot=%d CPULoad=%.2f", min(b.taken, b.Cores), b.Cores, b.Cores, b.Sample.Load)
	features := orNull(featureText(b.Node))
	p.line("AvailableFeatures=%s", features)
	p.line("ActiveFeatures=%s", features)
	p.line("Gres=%s", orNull(gresOf(b.Node)))
	p.line("NodeAddr=%s NodeHostName=%s Version=%s", b.Address, b.Name, b.Version)
	p.line("OS=%s %s", b.OS, b.Kernel)
	p.line("RealMemory=%d AllocMem=%d FreeMem=%d Sockets=1 Boards=1", b.Memory>>20, b.reserved>>20, max(0, b.Sample.MemTotal-b.Sample.MemUsed)>>20)
	state := strings.ToUpper(b.state())
	switch state {
	case "DRAINED":
		state = "IDLE+DRAIN"
	case "DRAINING":
		state = "MIXED+DRAIN"
	}
	p.line("State=%s ThreadsPerCore=1 TmpDisk=0 Weight=1 Owner=N/A MCS_label=N/A", state)
	p.line("Partitions=%s ", strings.Join(parts, ","))
	p.line("BootTime=%s SlurmdStartTime=%s", "Unknown", zone(b.Joined))
	p.line("LastBusyTime=%s", zone(b.Seen))
	p.line("CfgTRES=cpu=%d,mem=%dM,billing=%d", b.Cores, b.Memory>>20, b.Cores)
	p.line("AllocTRES=%s", allocTRES(b))
	if why := reasonText(b); why != "" {
		p.line("Reason=%s", why)
	}
	return p.String()
}

func allocTRES(b board) string {
	if b.taken == 0 {
		return ""
	}
	return fmt.Sprintf("cpu=%d,mem=%dM", min(b.taken, b.Cores), b.reserved>>20)
}

// partitionBlock is what scontrol shows of a partition.
func partitionBlock(g group) string {
	var p pairs
	part := g.part
	yes := func(b bool) string { return map[bool]string{true: "YES", false: "NO"}[b] }
	total, memory := 0, int64(0)
	for _, b := range g.boards {
		total, memory = total+b.Cores, memory+b.Memory>>20
	}
	state, nodes := "UP", "UNLIMITED"
	if part.Down {
		state = "DOWN"
	}
	if part.MaxNodes > 0 {
		nodes = fmt.Sprint(part.MaxNodes)
	}
	p.line("PartitionName=%s", part.Name)
	p.line("AllowGroups=%s AllowAccounts=%s AllowQos=ALL", cmp.Or(strings.Join(part.Users, ","), "ALL"), cmp.Or(strings.Join(part.Accounts, ","), "ALL"))
	p.line("AllocNodes=ALL Default=%s QoS=N/A", yes(part.Default))
	p.line("DefaultTime=%s DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO", limitText(part.DefaultTime, longClock, "NONE"))
	p.line("MaxNodes=%s MaxTime=%s MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED", nodes, limitText(part.MaxTime, longClock, "UNLIMITED"))
	p.line("Nodes=%s", fleet.Fold(g.names()))
	p.line("PriorityJobFactor=1 PriorityTier=%d RootOnly=NO ReqResv=NO OverSubscribe=NO", part.Priority)
	p.line("OverTimeLimit=NONE PreemptMode=OFF")
	p.line("State=%s TotalCPUs=%d TotalNodes=%d SelectTypeParameters=NONE", state, total, len(g.boards))
	p.line("TRES=cpu=%d,mem=%dM,node=%d,billing=%d", total, memory, len(g.boards), total)
	return p.String()
}
