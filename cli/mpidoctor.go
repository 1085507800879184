package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"bramble/apps/mpi"
	"bramble/cluster"
	"bramble/fault"
	"bramble/fleet"
	"bramble/job"
	"bramble/term"
)

type mpiDoctorCmd struct {
	On      string `help:"Which nodes (default all workers)." placeholder:"SEL"`
	Timeout string `help:"End it after so long." default:"5m" placeholder:"D"`
	JSON    bool   `help:"Print JSON."`
}

func (mpiDoctorCmd) Examples() string {
	return `bramble mpi doctor
bramble mpi doctor --on 'rack1[01-16]'
`
}

// Run takes a rank of every node that is up and has it measure the others.
func (c *mpiDoctorCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	nodes, err := c.nodes(e, cl)
	if err != nil {
		return err
	}
	limit, err := optionalDuration("--timeout", c.Timeout)
	if err != nil {
		return err
	}
	spec := job.Spec{Name: "mpi doctor", On: c.On, Nodes: nodes, Ranks: nodes, RanksPerNode: 1, CPUs: 1, NoRequeue: true, Timeout: limit,
		Args: []string{"sh", "-c", `exec "$BRAMBLE_EXE" step --ranks-per-node 1 -- "$BRAMBLE_EXE" mpi-probe`}}
	id, err := cl.Jobs.Submit(e.ctx, spec)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out.Stderr, "job %d measures %d nodes\n", id, nodes)
	sum, err := cl.Jobs.Wait(e.ctx, id, nil)
	if err != nil {
		return left(e, id, err)
	}
	var out, errs bytes.Buffer
	for chunk, err := range cl.Jobs.Logs(e.ctx, job.LogRequest{ID: id, All: true}) {
		if err != nil {
			return err
		}
		if chunk.Stderr {
			errs.Write(chunk.Data)
		} else {
			out.Write(chunk.Data)
		}
	}
	var h mpi.Health
	if sum.State != job.Done || json.Unmarshal(out.Bytes(), &h) != nil {
		e.out.Stderr.Write(errs.Bytes())
		return jobStatus(e.ctx, cl, sum)
	}
	return c.show(e, h)
}

func (c *mpiDoctorCmd) show(e *env, h mpi.Health) error {
	verdict := h.Verdict()
	var err error
	if c.JSON {
		err = term.JSON(e.out.Stdout, map[string]any{"health": h, "verdict": verdict})
	} else {
		err = c.table(e, h, verdict)
	}
	if err != nil {
		return err
	}
	if len(verdict) > 0 {
		return fault.New(fault.Failed, "the network is not well").Hint("bramble mpi doctor again, once cables and ports are looked at")
	}
	return nil
}

func (c *mpiDoctorCmd) table(e *env, h mpi.Health, verdict []string) error {
	rows := h.Matrix()
	rows[0][0] = "Mbit/s ↗ latency ↙"
	t := term.NewTable(make([]term.Column, len(rows[0]))...)
	for _, row := range rows {
		t.Row(row...)
	}
	if err := t.Write(e.out.Stdout); err != nil {
		return err
	}
	fmt.Fprintf(e.out.Stderr, "ring through all: %s, allreduce: %s\n", term.Duration(h.Ring), term.Duration(h.Reduce))
	for _, line := range verdict {
		fmt.Fprintf(e.out.Stdout, "%s\n", line)
	}
	return nil
}

// nodes is how many nodes are to be measured: those that are up, take jobs and are selected.
func (c *mpiDoctorCmd) nodes(e *env, cl *cluster.Cluster) (int, error) {
	all, err := cl.Fleet.Nodes(e.ctx)
	if err != nil {
		return 0, err
	}
	all = slices.DeleteFunc(all, func(n fleet.Node) bool {
		return n.State != fleet.Up || n.Drained != "" || !slices.Contains(n.Roles, fleet.RoleWorker)
	})
	if c.On != "" {
		sel, err := fleet.ParseSelector(c.On)
		if err != nil {
			return 0, err
		}
		if all, err = sel.Select(all); err != nil {
			return 0, err
		}
	}
	if len(all) < 2 {
		return 0, fault.New(fault.NotFound, "there are no two nodes to measure").Hint("bramble nodes shows who is up")
	}
	return len(all), nil
}

// mpiProbeCmd is one rank of the doctor.
type mpiProbeCmd struct{}

func (mpiProbeCmd) Examples() string { return "bramble mpi-probe   # a rank of a step\n" }

func (c *mpiProbeCmd) Run(e *env) error {
	in, err := job.Enter(os.Getenv)
	if err != nil {
		return err
	}
	r, err := job.Self(os.Getenv)
	if err != nil {
		return err
	}
	return mpi.Probe(e.ctx, in, r, os.Stdout)
}
