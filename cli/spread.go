package cli

import "bramble/job"

// spreadFlags make of each task an allocation of several nodes or ranks.
type spreadFlags struct {
	Nodes     int  `help:"Each task has so many nodes, all at once; its command runs on the first and starts the rest." placeholder:"N" env:"-"`
	Ranks     int  `help:"How many ranks of --cpus cores each task has over its nodes." placeholder:"N" env:"-"`
	PerNode   int  `name:"ranks-per-node" help:"At most so many ranks on one node." placeholder:"N" env:"-"`
	Exclusive bool `help:"Its nodes run nothing else meanwhile." env:"-"`
}

func (f *spreadFlags) spread(s *job.Spec) {
	s.Nodes, s.Ranks, s.RanksPerNode, s.Exclusive = f.Nodes, f.Ranks, f.PerNode, f.Exclusive
}
