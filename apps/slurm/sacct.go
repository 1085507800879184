package slurm

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"bramble/fault"
	"bramble/fleet"
	"bramble/job"
)

func sacctOptions() []option {
	return []option{
		{name: "account", short: 'A', takes: needed}, {name: "accounts", takes: needed}, {name: "allclusters", short: 'L'}, {name: "allocations", short: 'X'},
		{name: "allusers", short: 'a'}, {name: "brief", short: 'b'}, {name: "clusters", short: 'M', takes: needed}, {name: "completion", short: 'c'},
		{name: "delimiter", takes: needed}, {name: "duplicates", short: 'D'}, {name: "endtime", short: 'E', takes: needed}, {name: "federation"},
		{name: "format", short: 'o', takes: needed}, {name: "help", short: 'h'}, {name: "helpformat", short: 'e'}, {name: "jobs", short: 'j', takes: needed},
		{name: "json"}, {name: "local"}, {name: "long", short: 'l'}, {name: "name", takes: needed}, {name: "noconvert"}, {name: "nodelist", short: 'N', takes: needed},
		{name: "noheader", short: 'n'}, {name: "parsable", short: 'p'}, {name: "parsable2", short: 'P'}, {name: "partition", short: 'r', takes: needed},
		{name: "qos", short: 'q', takes: needed}, {name: "starttime", short: 'S', takes: needed}, {name: "states", short: 's', takes: needed}, {name: "state", takes: needed},
		{name: "truncate", short: 'T'}, {name: "units", takes: needed}, {name: "usage"}, {name: "user", short: 'u', takes: needed}, {name: "uid", takes: needed},
		{name: "verbose", short: 'v'}, {name: "version", short: 'V'}, {name: "whole-hetjob", takes: maybe}, {name: "yaml"},
	}
}

// Sacct tells of jobs that have run as the command of that name does: those of today, or those that were named.
func (t *Tool) Sacct(ctx context.Context, args []string) error {
	v, rest, err := t.look("sacct", sacctOptions(), args)
	switch {
	case err != nil:
		return err
	case len(rest) > 0:
		return fault.New(fault.Misused, "sacct takes no %q", clip(rest[0])).Hint("sacct -j %s", clip(rest[0]))
	case given(v, "help", "usage"):
		return t.usage("sacct", "-j JOB, -u USER, -S TIME, -E TIME, -s STATE, -X, -n, -p, -P, --format=NAMES", sacctOptions())
	case given(v, "version"):
		return t.version()
	case given(v, "helpformat"):
		return t.accountNames()
	}
	rows, err := t.accountRows(ctx, v)
	if err != nil {
		return err
	}
	cells, err := accountCells(v, t.now(), t.Getenv)
	if err != nil {
		return err
	}
	_, err = io.WriteString(t.Out, accountTable(v, cells, rows))
	return err
}

// accountRows is the jobs that were asked for.
func (t *Tool) accountRows(ctx context.Context, v view) ([]Row, error) {
	now := t.now()
	v.users, v.states = cmp.Or(v.users, v.set["uid"]), cmp.Or(v.states, v.set["state"])
	v.accounts = cmp.Or(v.accounts, v.set["accounts"])
	if given(v, "allusers") {
		v.users = ""
	} else if v.users == "" && v.jobs == "" {
		v.users = t.Me
	}
	from, to := midnight(now), now
	if v.jobs != "" {
		from = time.Time{}
	}
	for name, at := range map[string]*time.Time{"starttime": &from, "endtime": &to} {
		if text, said := v.set[name]; said {
			when, err := parseSince(text, now)
			if err != nil {
				return nil, of("--"+name, err)
			}
			*at = when
		}
	}
	states, all, wrong := parseStates(v.states)
	if wrong != "" && v.states != "" {
		return nil, fault.New(fault.Failed, "sacct: unrecognized state %q", clip(wrong)).Hint("sacct -s COMPLETED,FAILED")
	}
	which, err := pick(v.jobs)
	if err != nil {
		return nil, err
	}
	details, err := t.details(ctx, v.jobs, job.ListRequest{Since: from}, func(s job.Summary) bool {
		return v.keeps(s) && !s.Submitted.After(to) && (s.Ended.IsZero() || !s.Ended.Before(from))
	})
	if fault.Is(err, fault.Failed) && v.jobs != "" && details == nil {
		return nil, nil // sacct knows of no such job, and says nothing
	}
	if err != nil {
		return nil, err
	}
	on, err := hosts(v.nodes)
	if err != nil {
		return nil, err
	}
	var rows []Row
	for _, r := range which.rows(details, false, func(r Row) bool {
		return (v.states == "" || all || slices.Contains(states, r.State)) && r.on(on)
	}) {
		rows = append(rows, r)
		if r.State != Pending && r.Tasks == "" && !given(v, "allocations") {
			r.Batch = true
			rows = append(rows, r)
		}
	}
	return rows, nil
}

func midnight(now time.Time) time.Time {
	y, m, d := now.Local().Date()
	return time.Date(y, m, d, 0, 0, 0, 0, now.Local().Location())
}

// parseSince reads when something was: as --begin has it, but times of day are today's, and now-2days is known.
func parseSince(s string, now time.Time) (time.Time, error) {
	text := strings.ToLower(strings.TrimSpace(s))
	if rest, ok := strings.CutPrefix(text, "now-"); ok {
		if d, ok := later("+" + rest); ok {
			return now.Add(-d), nil
		}
	}
	if text == "now" {
		return now, nil
	}
	at, err := parseBegin(text, midnight(now))
	if err != nil {
		return at, fault.New(fault.Misused, "%q is no time", clip(s)).Hint("2026-12-24, 2026-12-24T18:00, 16:00, or now-2days")
	}
	if !strings.Contains(text, "tomorrow") && strings.Count(text, "/") == 1 && at.After(now) {
		at = at.AddDate(-1, 0, 0)
	}
	return at, nil
}

// accountCells are the columns that were asked for: NAME, NAME%WIDTH, NAME%-WIDTH.
func accountCells(v view, now time.Time, getenv func(string) string) (cells []cell[Row], err error) {
	fields := accountFields(now)
	list := "jobid,jobname,partition,account,alloccpus,state,exitcode"
	switch {
	case v.format != "":
		list = v.format
	case given(v, "brief"):
		list = "jobid,state,exitcode"
	case v.long:
		list = "jobid,jobname,partition,maxrss,ntasks,alloccpus,elapsed,state,exitcode,nodelist"
	case getenv("SACCT_FORMAT") != "":
		list = getenv("SACCT_FORMAT")
	}
	for item := range strings.SplitSeq(list, ",") {
		if item == "" {
			continue
		}
		name, width, sized := strings.Cut(strings.TrimSpace(item), "%")
		i := slices.IndexFunc(fields, func(f field[Row]) bool { return strings.EqualFold(f.name, name) })
		if i < 0 {
			i = slices.IndexFunc(fields, func(f field[Row]) bool { return strings.HasPrefix(f.name, strings.ToLower(name)) })
		}
		if i < 0 {
			names := make([]string, len(fields))
			for k, f := range fields {
				names[k] = f.title
			}
			e := fault.New(fault.Failed, "sacct: Invalid field requested: %q", clip(name))
			if near := fleet.Nearest(name, names); near != "" {
				return nil, e.Hint("--format=%s", near)
			}
			return nil, e.Hint("sacct --helpformat")
		}
		c := cell[Row]{field: fields[i], size: fields[i].width}
		if sized {
			if c.size, err = strconv.Atoi(width); err != nil || c.size == 0 || c.size > maxWidth || c.size < -maxWidth {
				return nil, fault.New(fault.Misused, "%q is no width", clip(item)).Hint("--format=jobname%%30")
			}
		}
		c.right = c.size > 0
		c.size = max(c.size, -c.size)
		cells = append(cells, c)
	}
	return cells, nil
}

// accountTable writes rows as sacct does: in columns, or with a mark between for programs.
func accountTable(v view, cells []cell[Row], rows []Row) string {
	var b strings.Builder
	mark, parsable, ending := "|", given(v, "parsable", "parsable2"), !given(v, "parsable2")
	if d := v.set["delimiter"]; d != "" {
		mark = d
	}
	line := func(text func(cell[Row]) string) {
		for i, c := range cells {
			switch {
			case !parsable:
				b.WriteString(c.column(text(c)) + " ")
			case i < len(cells)-1 || ending:
				b.WriteString(text(c) + mark)
			default:
				b.WriteString(text(c))
			}
		}
		b.WriteByte('\n')
	}
	if v.header {
		line(func(c cell[Row]) string { return c.title })
		if !parsable {
			line(func(c cell[Row]) string { return strings.Repeat("-", c.size) })
		}
	}
	for _, r := range rows {
		line(func(c cell[Row]) string { return plain(c.text(r)) })
	}
	return b.String()
}

// column is fit, with a + where something was cut off.
func (c cell[R]) column(text string) string {
	if runes := []rune(text); len(runes) > c.size {
		return string(runes[:c.size-1]) + "+"
	}
	return c.fit(text)
}

func (t *Tool) accountNames() error {
	var b strings.Builder
	for i, f := range accountFields(t.now()) {
		fmt.Fprintf(&b, "%-19s", f.title)
		if i%4 == 3 {
			b.WriteByte('\n')
		}
	}
	_, err := io.WriteString(t.Out, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}
