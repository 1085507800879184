package cli

import (
	"fmt"
	"slices"

	"bramble/apps/slurm"
	"bramble/cluster"
	"bramble/fleet"
	"bramble/job"
)

// testOnly says whether a batch could run, and submits nothing.
func testOnly(e *env, cl *cluster.Cluster, b *slurm.Batch) error {
	spec, err := b.Spec.Validate()
	if err != nil {
		return err
	}
	nodes, err := cl.Fleet.Nodes(e.ctx)
	if err != nil {
		return err
	}
	sel, err := fleet.ParseSelector(spec.On)
	if spec.On == "" {
		sel, err = fleet.ParseSelector("all")
	}
	if err == nil {
		nodes, err = sel.Select(nodes)
	}
	if err != nil {
		return err
	}
	var capacity []job.Capacity
	var names []string
	for _, n := range nodes {
		if !slices.Contains(n.Roles, fleet.RoleWorker) {
			continue
		}
		c := job.Capacity{Name: n.Name, Cores: n.Cores, Memory: n.Memory}
		if job.Fits(spec, []job.Capacity{c}) == nil {
			names = append(names, n.Name)
		}
		capacity = append(capacity, c)
	}
	if err := job.Fits(spec, capacity); err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.out.Stderr, "sbatch: the job could run on %s\n", fleet.Fold(names))
	return err
}
