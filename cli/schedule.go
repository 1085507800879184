package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"bramble/fault"
	"bramble/job"
	"bramble/term"
)

// scheduleFlags say when and where a job may run, and whose share it uses up.
type scheduleFlags struct {
	Partition string   `short:"p" help:"A named part of the cluster, with its limits (bramble partition list)." placeholder:"NAME"`
	Account   string   `short:"A" help:"The account whose share is used, beside your own." placeholder:"NAME"`
	Gres      string   `help:"What nodes offer by a label: camera, or gpu:2." placeholder:"NAME[:N],…"`
	MemPerCPU string   `help:"Memory for each core, in the place of --mem." placeholder:"SIZE"`
	Depend    []string `short:"d" help:"Wait for other jobs: afterok:7, afterany:7, afternotok:7, after:7, singleton; repeat, all must hold." placeholder:"KIND:JOB" sep:"none"`
	Begin     string   `help:"Not before: 18:30, 2026-12-24T18:30, or +2h." placeholder:"TIME"`
	Hold      bool     `help:"Keep it until bramble job release."`
	Nice      int      `help:"Let others go first: as if it had come so many seconds later." placeholder:"SECONDS"`
	NoRequeue bool     `help:"When its node is lost, a task has failed, instead of starting again elsewhere."`
	Comment   string   `help:"A line for people." placeholder:"TEXT"`
}

// apply puts the flags into what is submitted.
func (f *scheduleFlags) apply(s *job.Spec, now time.Time) (err error) {
	s.Partition, s.Account, s.Hold, s.Nice, s.NoRequeue, s.Comment = f.Partition, f.Account, f.Hold, f.Nice, f.NoRequeue, f.Comment
	if f.MemPerCPU != "" {
		if s.MemoryPerCPU, err = term.ParseBytes(f.MemPerCPU); err != nil {
			return fmt.Errorf("--mem-per-cpu: %w", err)
		}
	}
	if s.Gres, err = parseGres(f.Gres); err != nil {
		return err
	}
	for _, text := range f.Depend {
		for _, one := range strings.Split(text, ",") {
			d, err := parseDependency(one)
			if err != nil {
				return err
			}
			s.Depend = append(s.Depend, d...)
		}
	}
	s.Begin, err = parseBegin(f.Begin, now)
	return err
}

func parseGres(text string) (map[string]int, error) {
	if text == "" {
		return nil, nil
	}
	gres := map[string]int{}
	for _, part := range strings.Split(text, ",") {
		name, number, given := strings.Cut(part, ":")
		count := 1
		var err error
		if given {
			count, err = strconv.Atoi(number)
		}
		if err != nil || name == "" || count < 1 {
			return nil, fault.New(fault.Misused, "--gres %q: a label's name, and how many: camera:1", part).Hint("--gres camera:1")
		}
		gres[name] += count
	}
	return gres, nil
}

// parseDependency reads KIND:JOB[:JOB…], or singleton.
func parseDependency(text string) (list []job.Dependency, err error) {
	kind, jobs, _ := strings.Cut(text, ":")
	if kind == string(job.Singleton) {
		if jobs != "" {
			return nil, fault.New(fault.Misused, "--depend %q: singleton names no job: it waits for its owner's jobs of the same name", text).Hint("--depend singleton")
		}
		return []job.Dependency{{Kind: job.Singleton}}, nil
	}
	for _, number := range strings.Split(jobs, ":") {
		id, err := strconv.ParseInt(number, 10, 64)
		if err != nil || id < 1 {
			return nil, fault.New(fault.Misused, "--depend %q: a kind and a job's number, such as afterok:7", text).Hint("--depend afterok:7")
		}
		list = append(list, job.Dependency{Kind: job.DependencyKind(kind), Job: job.ID(id)})
	}
	return list, nil
}

// parseBegin reads a time of day, a date with a time, or how long from now.
func parseBegin(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if after, ok := strings.CutPrefix(strings.TrimPrefix(text, "now"), "+"); ok {
		if d, err := term.ParseDuration(after); err == nil {
			return now.Add(d), nil
		}
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return at, nil
		}
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		if at, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			today := time.Date(now.Year(), now.Month(), now.Day(), at.Hour(), at.Minute(), at.Second(), 0, now.Location())
			if today.Before(now) {
				today = today.AddDate(0, 0, 1)
			}
			return today, nil
		}
	}
	return time.Time{}, fault.New(fault.Misused, "--begin %q is no time", text).Hint("--begin 18:30, --begin 2026-12-24T18:30, or --begin +2h")
}
