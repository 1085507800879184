package job_test

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"bramble/cluster"
	"bramble/fleet"
	"bramble/job"
	"bramble/lab/labtest"
)

// written is what a job wrote.
func written(t *testing.T, c *cluster.Cluster, id job.ID) string {
	t.Helper()
	var out bytes.Buffer
	for chunk, err := range c.Jobs.Logs(t.Context(), job.LogRequest{ID: id, All: true}) {
		must(t, err)
		out.Write(chunk.Data)
	}
	return out.String()
}

// inAllocation runs a script for sh on an allocation and returns its job when it has ended, and what it wrote.
func inAllocation(t *testing.T, l *labtest.Lab, spec job.Spec, script string) (job.Detail, string) {
	t.Helper()
	c := l.Connect()
	spec.Args = []string{"sh", "-c", script}
	id, err := c.Jobs.Submit(t.Context(), spec)
	must(t, err)
	d := wait(t, l, id)
	return d, written(t, c, id)
}

func TestStepsOfAnAllocation(t *testing.T) {
	l, _ := loopback(t, 3)
	three := job.Spec{Nodes: 3, Ranks: 5}
	for name, c := range map[string]struct {
		script string
		want   []string // sorted lines
	}{
		"each rank knows which it is": {
			`$BRAMBLE_EXE step -- sh -c 'echo $BRAMBLE_RANK of $BRAMBLE_RANKS on $BRAMBLE_NODE'`,
			[]string{"0 of 5 on node1", "1 of 5 on node1", "2 of 5 on node2", "3 of 5 on node2", "4 of 5 on node3"}},
		"one on each node": {`$BRAMBLE_EXE step -N 3 --ranks-per-node 1 -l -- sh -c 'echo $BRAMBLE_NODE'`, []string{"0: node1", "1: node2", "2: node3"}},
		"input, status":    {`echo hello | $BRAMBLE_EXE step -n 1 --on node3 -- sh -c 'cat; exit 7' 2>&1; echo $?`, []string{"7", "bramble: rank 0 on node3 ended with status 7", "hello"}},
		"with a program made there": {`mkdir -p build && cd build && printf '#!/bin/sh\necho made, in ${PWD##*/} on $BRAMBLE_NODE\n' >made && chmod 755 made &&
			$BRAMBLE_EXE step -N 3 --ranks-per-node 1 -- ./made && echo 'echo once more' >>made && $BRAMBLE_EXE step -n 1 --on node3 -- ../build/made`,
			[]string{"made, in build on node1", "made, in build on node2", "made, in build on node3", "made, in build on node3", "once more"}},
		"on a terminal":          {`$BRAMBLE_EXE step --pty --on node2 -- tty | tr -d '\r' | sed 's/[0-9]*$//'`, []string{"/dev/pts/"}},
		"a step starts a step":   {`$BRAMBLE_EXE step -n 1 --on node2 -- $BRAMBLE_EXE step -n 1 --on node3 -- sh -c 'echo $BRAMBLE_NODE'`, []string{"node3"}},
		"not a node of it":       {`$BRAMBLE_EXE step --on head -- true 2>&1 | head -1`, []string{"bramble: head is not in this allocation"}},
		"an agent does not obey": {`$BRAMBLE_EXE mpi-agent head true 2>&1 | head -1`, []string{`bramble: "head" is not in the allocation of job JOB`}},
		"another's secret":       {`BRAMBLE_JOB_SECRET=00$BRAMBLE_JOB_SECRET $BRAMBLE_EXE step -- true 2>&1 | head -1`, []string{"bramble: this is not the secret of attempt JOB.0.1"}},
		"the first failure ends all": {`$BRAMBLE_EXE step -- sh -c '[ $BRAMBLE_RANK = 3 ] && exit 4; sleep 1000' 2>&1; echo $?`,
			[]string{"4", "bramble: rank 3 on node2 ended with status 4"}},
		"but not with --keep-going": {`$BRAMBLE_EXE step --keep-going -- sh -c '[ $BRAMBLE_RANK = 3 ] && exit 4; sleep 1; echo on' 2>/dev/null; echo $?`,
			[]string{"4", "on", "on", "on", "on"}},
	} {
		t.Run(name, func(t *testing.T) {
			d, out := inAllocation(t, l, three, c.script)
			out = strings.ReplaceAll(out, "attempt "+fmt.Sprint(d.ID)+".", "attempt JOB.")
			out = strings.ReplaceAll(out, "of job "+fmt.Sprint(d.ID), "of job JOB")
			lines := strings.Split(strings.TrimSpace(out), "\n")
			slices.Sort(lines)
			if d.State != job.Done || !slices.Equal(lines, c.want) {
				t.Errorf("job is %s, %+v\n%s\nwant %q", d.State, d.Failures, out, c.want)
			}
		})
	}
}

// Ranks on different nodes meet, and know each other over TLS; nobody gets a certificate for a rank that is not there.
func TestRanksOfAStepMeet(t *testing.T) {
	l, marks := loopback(t, 3)
	self, err := os.Executable()
	must(t, err)
	program, err := os.ReadFile(self)
	must(t, err)
	must(t, os.WriteFile(marks+"/rank", program, 0o755))
	for name, c := range map[string]struct {
		script string
		want   []string // sorted lines
	}{
		"over TLS": {`$BRAMBLE_EXE step -- env BRAMBLE_TEST_RANK=1 ` + marks + `/rank`, []string{
			"rank 1 of step mine says hello from node1", "rank 2 of step mine says hello from node2",
			"rank 3 of step mine says hello from node2", "rank 4 of step mine says hello from node3"}},
		"from a shell": {`$BRAMBLE_EXE step -n 3 -- sh -c '
			[ $BRAMBLE_RANK = 2 ] && echo from $BRAMBLE_NODE | $BRAMBLE_EXE rank put word -
			$BRAMBLE_EXE rank fence && echo $BRAMBLE_RANK $($BRAMBLE_EXE rank get word)'`, []string{"0 from node2", "1 from node2", "2 from node2"}},
		"certificates as files": {`$BRAMBLE_EXE step -n 3 -- sh -c '
			name=$($BRAMBLE_EXE rank cert tls.$BRAMBLE_RANK) && cd tls.$BRAMBLE_RANK && stat -c %a key.pem &&
			[ "$(openssl x509 -in cert.pem -noout -pubkey)" = "$(openssl pkey -in key.pem -pubout)" ] &&
			openssl verify -CAfile ca.pem -verify_hostname $name -purpose sslserver cert.pem'`,
			[]string{"600", "600", "600", "cert.pem: OK", "cert.pem: OK", "cert.pem: OK"}},
		"another's rank":  {`$BRAMBLE_EXE step -n 3 -l -- sh -c '[ $BRAMBLE_RANK != 2 ] || BRAMBLE_RANK=0 $BRAMBLE_EXE rank cert tls' 2>&1 | sed 's/step "[a-z0-9]*"/STEP/; s/^bramble: rank.*/END/'`, []string{"2: bramble: no rank 0 of STEP runs on node2", "END"}},
		"outside a step":  {`$BRAMBLE_EXE rank cert tls 2>&1 | head -1`, []string{"bramble: this process is no rank of a step"}},
		"of another step": {`BRAMBLE_STEP=made BRAMBLE_RANK=0 BRAMBLE_RANKS=2 $BRAMBLE_EXE rank cert tls 2>&1 | head -1`, []string{`bramble: no rank 0 of step "made" runs on node1`}},
	} {
		t.Run(name, func(t *testing.T) {
			d, out := inAllocation(t, l, job.Spec{Nodes: 3, Ranks: 5}, c.script)
			lines := strings.Split(strings.TrimSpace(out), "\n")
			slices.Sort(lines)
			if d.State != job.Done || !slices.Equal(lines, c.want) {
				t.Errorf("job is %s, %+v\n%s\nwant %q", d.State, d.Failures, out, c.want)
			}
		})
	}
}

// The steps of an allocation go on being counted when the leader's agent was killed.
func TestStepsAreCountedOn(t *testing.T) {
	l, marks := loopback(t, 2)
	script := "srun -n 1 sh -c 'echo $SLURM_STEP_ID'; "
	id, err := l.Connect().Jobs.Submit(t.Context(), job.Spec{Nodes: 2, Slurm: true, On: "node1,node2", NoRequeue: true,
		Args: []string{"sh", "-c", script + script + "touch " + marks + "/0; until [ -e " + marks + "/1 ]; do sleep 0.1; done; " + script}})
	must(t, err)
	labtest.Until(t, "two steps to have run", func() bool { _, err := os.Stat(marks + "/0"); return err == nil })
	all, err := l.PS()
	must(t, err)
	for _, p := range all {
		if p.Node == "node1" {
			kill(t, p.Agent)
			labtest.Until(t, "the agent to end", func() bool { return !running(l, p.Node, p.Agent) })
		}
	}
	must(t, l.Heal(t.Context(), "node1"))
	l.Await("node1", fleet.Up)
	must(t, os.WriteFile(marks+"/1", nil, 0o644))
	c := l.Connect()
	if d := wait(t, l, id); d.State != job.Done || written(t, c, id) != "0\n1\n2\n" {
		t.Errorf("job is %s, its steps were\n%s", d.State, written(t, c, id))
	}
}

// What a step has begun ends with the allocation, whatever it does about signals, and with the agent that lost it.
func TestStepsEndWithTheirAllocation(t *testing.T) {
	l, marks := loopback(t, 2)
	stubborn := `trap "" TERM HUP; echo $$ >` + marks + `/$BRAMBLE_RANK.new; mv ` + marks + `/$BRAMBLE_RANK.new ` + marks + `/$BRAMBLE_RANK; while :; do sleep 0.2; done`
	begin := func() job.ID {
		for _, name := range []string{"0", "1"} {
			os.Remove(marks + "/" + name)
		}
		id, err := l.Connect().Jobs.Submit(t.Context(), job.Spec{Nodes: 2, NoRequeue: true, Patience: time.Second, Args: []string{"sh", "-c", "$BRAMBLE_EXE step -- sh -c '" + stubborn + "'"}})
		must(t, err)
		labtest.Until(t, "both ranks to run", func() bool { return pid(marks, "0") != "" && pid(marks, "1") != "" })
		return id
	}
	gone := func() bool { return !there(pid(marks, "0")) && !there(pid(marks, "1")) }

	id := begin()
	_, err := l.Connect().Jobs.Cancel(t.Context(), id)
	must(t, err)
	wait(t, l, id)
	labtest.Until(t, "the cancelled job's ranks to end", gone)

	id = begin()
	must(t, l.Kill(t.Context(), "node2"))
	labtest.Until(t, "the ranks to end with a node", gone)
	must(t, l.Heal(t.Context(), "node2"))
	if d := wait(t, l, id); d.State == job.Done {
		t.Errorf("job is %s though a node was lost", d.State)
	}
}

func pid(marks, rank string) string {
	text, _ := os.ReadFile(marks + "/" + rank)
	return strings.TrimSpace(string(text))
}

func there(pid string) bool {
	_, err := os.Stat("/proc/" + pid)
	return pid != "" && err == nil
}
