package cli

import (
	"cmp"
	"fmt"
	"strings"

	"bramble/job"
	"bramble/term"
)

type partitionCmd struct {
	List   partitionListCmd   `cmd:"" default:"withargs" help:"List the partitions."`
	Set    partitionSetCmd    `cmd:"" help:"Make a partition, or change it to what is said here."`
	Remove partitionRemoveCmd `cmd:"" help:"End a partition that no open job is in."`
}

type partitionListCmd struct {
	JSON bool `help:"Print a JSON list."`
}

func (partitionListCmd) Examples() string { return "bramble partition list\n" }

func (c *partitionListCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	list, err := cl.Jobs.Partitions(e.ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		return term.JSON(e.out.Stdout, append([]job.Partition{}, list...))
	}
	if len(list) == 0 && e.out.Stdout.IsTerminal() {
		fmt.Fprintln(e.out.Stderr, "There are no partitions: jobs may use all nodes. try: bramble partition set fast --on model=pi5")
		return nil
	}
	t := term.NewTable(term.Column{Title: "PARTITION"}, term.Column{Title: "NODES"}, term.Column{Title: "STATE"}, term.Column{Title: "PRIORITY", Right: true},
		term.Column{Title: "LONGEST", Right: true}, term.Column{Title: "USUAL", Right: true}, term.Column{Title: "MOST NODES", Right: true},
		term.Column{Title: "USER'S CORES", Right: true}, term.Column{Title: "FOR"})
	for _, p := range list {
		name, state := p.Name, "up"
		if p.Default {
			name += "*"
		}
		if p.Down {
			state = "down"
		}
		t.Row(name, cmp.Or(p.On, "all"), state, fmt.Sprint(p.Priority), limitText(p.MaxTime > 0, term.Duration(p.MaxTime)), limitText(p.DefaultTime > 0, term.Duration(p.DefaultTime)),
			limitText(p.MaxNodes > 0, fmt.Sprint(p.MaxNodes)), limitText(p.UserCPUs > 0, fmt.Sprint(p.UserCPUs)), cmp.Or(strings.Join(append(p.Users, p.Accounts...), ","), "all"))
	}
	return t.Write(e.out.Stdout)
}

func limitText(limited bool, text string) string {
	if limited {
		return text
	}
	return "-"
}

type partitionSetCmd struct {
	Name        string   `arg:"" help:"Name of the partition."`
	On          string   `help:"Which nodes (default all workers)." placeholder:"SEL"`
	Default     bool     `help:"For jobs that name none."`
	Priority    int      `help:"Jobs of a higher one are served first, however long others have waited."`
	Down        bool     `help:"Take jobs, and start none."`
	MaxTime     string   `help:"The longest time limit that a task may have." placeholder:"D"`
	DefaultTime string   `help:"The time limit of tasks that ask for none (default the longest)." placeholder:"D"`
	MaxNodes    int      `help:"The most nodes of one task."`
	UserCPUs    int      `name:"user-cpus" help:"The most cores that one user has at the same time."`
	Users       []string `help:"Only these users." placeholder:"NAME,…"`
	Accounts    []string `help:"Only these accounts." placeholder:"NAME,…"`
}

func (partitionSetCmd) Examples() string {
	return "bramble partition set fast --on model=pi5 --max-time 2h\nbramble partition set all --default\n"
}

func (c *partitionSetCmd) Run(e *env) error {
	p := job.Partition{Name: c.Name, On: c.On, Default: c.Default, Priority: c.Priority, Down: c.Down, MaxNodes: c.MaxNodes, UserCPUs: c.UserCPUs, Users: c.Users, Accounts: c.Accounts}
	var err error
	if p.MaxTime, err = optionalDuration("--max-time", c.MaxTime); err != nil {
		return err
	}
	if p.DefaultTime, err = optionalDuration("--default-time", c.DefaultTime); err != nil {
		return err
	}
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.Jobs.SetPartition(e.ctx, p); err != nil {
		return err
	}
	fmt.Fprintf(e.out.Stdout, "partition %s set\n", c.Name)
	return nil
}

type partitionRemoveCmd struct {
	Name string `arg:"" help:"Name of the partition."`
}

func (partitionRemoveCmd) Examples() string { return "bramble partition remove fast\n" }

func (c *partitionRemoveCmd) Run(e *env) error {
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.Jobs.RemovePartition(e.ctx, c.Name); err != nil {
		return err
	}
	fmt.Fprintf(e.out.Stdout, "partition %s removed\n", c.Name)
	return nil
}
