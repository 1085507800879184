package slurm

import (
	"cmp"
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"bramble/fault"
	"bramble/fleet"
	"bramble/job"
	"bramble/sorts"
)

// view is what a command was asked to show.
type view struct {
	format, columns                       string // %-letters, or names
	jobs, users, states, partitions       string
	names, accounts, nodes, sort          string
	header, long, steps, start, each, all bool
	every                                 time.Duration
	set                                   map[string]string // of options that few commands have
}

// look reads a command's options into a view.
func (t *Tool) look(command string, table []option, words []string) (v view, rest []string, err error) {
	v = view{header: true, set: map[string]string{}}
	texts := map[string]*string{"format": &v.format, "Format": &v.columns, "jobs": &v.jobs, "user": &v.users, "states": &v.states, "partition": &v.partitions,
		"name": &v.names, "account": &v.accounts, "nodelist": &v.nodes, "sort": &v.sort}
	flags := map[string]*bool{"long": &v.long, "steps": &v.steps, "start": &v.start, "array": &v.each, "all": &v.all}
	rest, err = scan(command, table, words, mix, func(o option, as, text string) error {
		switch {
		case texts[o.name] != nil:
			*texts[o.name] = text
		case flags[o.name] != nil:
			*flags[o.name] = true
		case o.name == "noheader":
			v.header = false
		case o.name == "me":
			v.users = t.Me
		case o.name == "iterate":
			n, err := number(text)
			v.every = time.Duration(n) * time.Second
			return of(as, err)
		case o.name == "json" || o.name == "yaml":
			return fault.New(fault.Misused, "%s does not print %s", command, o.name).Hint("bramble queue --json, bramble job 7 --json, bramble nodes --json")
		default:
			v.set[o.name] = text
		}
		return nil
	})
	return v, rest, err
}

func squeueOptions() []option {
	return []option{
		{name: "account", short: 'A', takes: needed}, {name: "all", short: 'a'}, {name: "array", short: 'r'}, {name: "array-unique"},
		{name: "clusters", short: 'M', takes: needed}, {name: "federation"}, {name: "format", short: 'o', takes: needed},
		{name: "Format", short: 'O', takes: needed}, {name: "help"}, {name: "hide"}, {name: "iterate", short: 'i', takes: needed},
		{name: "jobs", short: 'j', takes: needed}, {name: "json"}, {name: "licenses", short: 'L', takes: needed}, {name: "local"}, {name: "long", short: 'l'}, {name: "me"},
		{name: "name", short: 'n', takes: needed}, {name: "noconvert"}, {name: "nodelist", short: 'w', takes: needed}, {name: "noheader", short: 'h'},
		{name: "partition", short: 'p', takes: needed}, {name: "priority", short: 'P'}, {name: "qos", short: 'q', takes: needed},
		{name: "reservation", short: 'R', takes: needed}, {name: "sort", short: 'S', takes: needed}, {name: "start"}, {name: "states", short: 't', takes: needed},
		{name: "steps", short: 's'}, {name: "usage"}, {name: "user", short: 'u', takes: needed}, {name: "verbose", short: 'v'}, {name: "version", short: 'V'}, {name: "yaml"},
	}
}

// Squeue lists jobs as the command of that name does.
func (t *Tool) Squeue(ctx context.Context, args []string) error {
	v, rest, err := t.look("squeue", squeueOptions(), args)
	switch {
	case err != nil:
		return err
	case len(rest) > 0:
		return fault.New(fault.Misused, "squeue takes no %q", clip(rest[0])).Hint("squeue -j %s", clip(rest[0]))
	case given(v, "help", "usage"):
		return t.usage("squeue", "-u USER, -j JOB, -t STATE, -p PARTITION, -n NAME, -o FORMAT, -O NAMES, -h, -l, -r, --me, --start", squeueOptions())
	case given(v, "version"):
		return t.version()
	}
	for {
		if err := t.squeue(ctx, v); err != nil || v.every == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(v.every):
		}
	}
}

func given(v view, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { _, ok := v.set[name]; return ok })
}

func (t *Tool) squeue(ctx context.Context, v view) error {
	now := t.now()
	states, all, wrong := []State{Pending, Running}, false, ""
	if v.states != "" {
		if states, all, wrong = parseStates(v.states); wrong != "" {
			return fault.New(fault.Failed, "squeue: Invalid job state specified: %s", clip(wrong)).Hint("squeue -t PENDING,RUNNING, or all")
		}
	}
	details, err := t.details(ctx, v.jobs, job.ListRequest{Open: v.states == "" || !all && len(states) <= 2 && !slices.ContainsFunc(states, State.Over), Since: now.Add(-recently)}, func(s job.Summary) bool { return v.keeps(s) })
	if err != nil {
		return err
	}
	which, err := pick(v.jobs)
	if err != nil {
		return err
	}
	on, err := hosts(v.nodes)
	if err != nil {
		return err
	}
	rows := which.rows(details, v.each, func(r Row) bool {
		return (all || slices.Contains(states, r.State)) && r.on(on)
	})
	fields := jobFields(now)
	sortRows(rows, v.sort, fields)
	if v.long {
		io.WriteString(t.Out, now.Local().Format("Mon Jan 02 15:04:05 2006")+"\n")
	}
	if v.steps {
		rows = slices.DeleteFunc(rows, func(r Row) bool { return r.State != Running })
		fields = stepFields(now)
	}
	prefix, cells := v.cells(t, fields)
	_, err = io.WriteString(t.Out, table(prefix, cells, rows, v.header))
	return err
}

// cells are the columns that were asked for.
func (v view) cells(t *Tool, fields []field[Row]) (string, []cell[Row]) {
	if v.columns != "" {
		return "", named(v.columns, fields, func(name string) { t.complain("squeue", "Invalid job format specification: %s", name) })
	}
	format := "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R"
	switch {
	case v.format != "":
		format = v.format
	case v.steps:
		format = "%.15i %.8j %.9P %.8u %.9M %N"
	case v.start:
		format = "%.18i %.9P %.8j %.8u %.2t %.19S %.6D %20Y %R"
	case t.Getenv("SQUEUE_FORMAT") != "":
		format = t.Getenv("SQUEUE_FORMAT")
	case v.long:
		format = "%.18i %.9P %.8j %.8u %.8T %.10M %.9l %.6D %R"
	}
	return percent(format, fields, func(letter string) { t.complain("squeue", "Invalid job format specification: %s", letter) })
}

// keeps reports whether a job is one of those that were asked for, as far as its summary tells.
func (v view) keeps(s job.Summary) bool {
	in := func(list, value string) bool { return list == "" || words(list)[value] }
	return in(v.users, s.Spec.User) && in(v.names, s.Spec.Name) && in(v.partitions, partitionOf(s.Spec.Partition)) && in(v.accounts, accountOf(s.Spec))
}

func accountOf(s job.Spec) string { return cmp.Or(s.Account, job.DefaultAccount) }

// recently is how long squeue still shows a job that has ended.
const recently = 5 * time.Minute

// details is the jobs that were asked for by number, or those of a request; a number that is no job's is an error
// unless another is.
func (t *Tool) details(ctx context.Context, ids string, req job.ListRequest, keep func(job.Summary) bool) ([]*job.Detail, error) {
	which, err := pick(ids)
	if err != nil {
		return nil, err
	}
	if which != nil {
		req = job.ListRequest{}
	}
	var found []job.Summary
	for s, err := range t.Cluster.Jobs(ctx, req) {
		if err != nil {
			return nil, err
		}
		if which == nil || which.wants(s.ID) {
			found = append(found, s)
		}
	}
	if which != nil && len(found) == 0 {
		return nil, fault.New(fault.Failed, "slurm_load_jobs error: Invalid job id specified").Hint("squeue, or bramble queue --all")
	}
	var list []*job.Detail
	for _, s := range found {
		if !keep(s) {
			continue
		}
		d := &job.Detail{Summary: s}
		if s.Spec.Array != "" || s.Counts.Running > 0 || s.State == job.Failed || s.Counts.Pending > 0 {
			full, err := t.Cluster.Job(ctx, s.ID)
			if fault.Is(err, fault.NotFound) {
				continue // forgotten meanwhile
			}
			if err != nil {
				return nil, err
			}
			d = &full
		}
		list = append(list, d)
	}
	return list, nil
}

// chosen is the jobs that somebody named, and which tasks of them; nil is all jobs.
type chosen map[job.ID][]int

// pick reads 7,8_3,9_[1-4].
func pick(list string) (chosen, error) {
	if list == "" {
		return nil, nil
	}
	c := chosen{}
	for _, item := range splitOutside(list) {
		left, right, many := strings.Cut(item, "_[")
		if !many {
			id, index, err := ParseID(item)
			if err != nil {
				return nil, err
			}
			c[id] = append(c[id], index)
			continue
		}
		id, _, err := ParseID(left)
		array, wrong := job.ParseArray(strings.TrimSuffix(right, "]"))
		if err != nil || wrong != nil || array.Len() > maxRows {
			return nil, fault.New(fault.Misused, "%q is no job", clip(item)).Hint("7, or 7_[1-4] for tasks of it")
		}
		c[id] = slices.AppendSeq(c[id], array.All())
	}
	return c, nil
}

// splitOutside takes a list apart at commas that are not in brackets.
func splitOutside(list string) (items []string) {
	deep, from := 0, 0
	for i, c := range list {
		switch {
		case c == '[':
			deep++
		case c == ']':
			deep--
		case c == ',' && deep == 0:
			items, from = append(items, list[from:i]), i+1
		}
	}
	return append(items, list[from:])
}

func (c chosen) wants(id job.ID) bool { return c == nil || c[id] != nil }

// narrow is what of a row was named; ok is false when nothing of it was.
func (c chosen) narrow(r Row) (_ Row, ok bool) {
	indices := c[r.ID]
	switch {
	case c == nil || slices.Contains(indices, -1):
		return r, true
	case r.Tasks == "" || len(indices) == 0:
		return r, slices.Contains(indices, r.Index)
	}
	list, limit, capped := strings.Cut(r.Tasks, "%")
	all, err := job.ParseArray(list)
	var named []string
	for _, i := range indices {
		if _, in := all.Position(i); in && err == nil {
			named = append(named, strconv.Itoa(i))
		}
	}
	if len(named) == 0 {
		return r, false
	}
	some, err := job.ParseArray(strings.Join(named, ","))
	if r.Tasks = some.String(); capped {
		r.Tasks += "%" + limit
	}
	return r, err == nil
}

// rows is the lines of jobs that were named, and that keep says yes to.
func (c chosen) rows(details []*job.Detail, each bool, keep func(Row) bool) (rows []Row) {
	for _, d := range details {
		for _, r := range Rows(d, each) {
			if r, ok := c.narrow(r); ok && keep(r) {
				rows = append(rows, r)
			}
		}
	}
	return rows
}

// sortRows sorts: by the letters of a list, - in front for the other way round; else what waits, what runs, and
// the rest, each by number.
func sortRows(rows []Row, keys string, fields []field[Row]) {
	rank := func(s State) int { return slices.Index(allStates(), s) }
	compare := func(a, b Row) int {
		return cmp.Or(cmp.Compare(rank(a.State), rank(b.State)), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Index, b.Index))
	}
	if keys != "" {
		compare = func(a, b Row) int {
			for key := range strings.SplitSeq(keys, ",") {
				name := strings.TrimLeft(key, "+-#")
				for _, f := range fields {
					if name == "" || f.letter != name[0] {
						continue
					}
					if c := natural(f.text(a), f.text(b)); c != 0 {
						if strings.HasPrefix(key, "-") {
							return -c
						}
						return c
					}
				}
			}
			return 0
		}
	}
	sorts.Stable(rows, compare)
}

// natural compares numbers as numbers and all else as names with numbers in them.
func natural(a, b string) int {
	x, errA := strconv.ParseInt(a, 10, 64)
	y, errB := strconv.ParseInt(b, 10, 64)
	if errA == nil && errB == nil {
		return cmp.Compare(x, y)
	}
	return fleet.NaturalCompare(a, b)
}

func (t *Tool) usage(command, common string, table []option) error {
	var names []string
	for _, o := range table {
		names = append(names, "--"+o.name)
	}
	_, err := io.WriteString(t.Out, "Usage: "+command+" [OPTIONS]\nMost used: "+common+"\nAll: "+strings.Join(names, " ")+"\n")
	return err
}

func (t *Tool) version() error {
	_, err := io.WriteString(t.Out, "slurm-bramble "+t.Version+"\n")
	return err
}
