package demo

import (
	"context"
	"fmt"
	"time"

	"bramble/fault"
	"bramble/job"
)

const clock = "15:04:05.000"

// order shows who goes first: a job that needs every node waits for its turn, and what is over before that passes it.
func (t *Tour) order(ctx context.Context) error {
	t.title("Work has an order: a job that needs all nodes, and who may pass it")
	long, err := t.submit(ctx, "--on node1 --timeout 10m -- sleep 600", job.Spec{Name: "long", On: "node1", Timeout: 10 * time.Minute, Args: []string{"sleep", "600"}})
	if err != nil {
		return err
	}
	if err := t.until(ctx, long, func(s job.Summary) bool { return s.Counts.Running == 1 }); err != nil {
		return err
	}
	wide, err := t.submit(ctx, fmt.Sprintf("--nodes %d --exclusive --timeout 1m -- hostname", nodes),
		job.Spec{Name: "wide", Nodes: nodes, Exclusive: true, Timeout: time.Minute, Args: []string{"hostname"}})
	if err != nil {
		return err
	}
	t.command(fmt.Sprintf("bramble queue --why %d", wide))
	waiting, err := t.cluster.Jobs.Job(ctx, wide)
	if err != nil {
		return err
	}
	if waiting.Why.Until.IsZero() {
		return fault.New(fault.Failed, "job %d waits without an end in sight: %s", wide, waiting.Why.Text)
	}
	t.say("it waits: %s, until %s at the latest", waiting.Why.Text, waiting.Why.Until.Local().Format(time.TimeOnly))
	short, err := t.submit(ctx, "--timeout 10s -- date", job.Spec{Name: "short", Timeout: 10 * time.Second, Args: []string{"date"}})
	if err != nil {
		return err
	}
	if err := t.until(ctx, short, func(s job.Summary) bool { return !s.Ended.IsZero() }); err != nil {
		return err
	}
	t.say("the short job passed the wide one: it is over before the long one has to be")
	t.command(fmt.Sprintf("bramble cancel %d", long))
	if _, err := t.cluster.Jobs.Cancel(ctx, long); err != nil {
		return err
	}
	if err := t.until(ctx, wide, func(s job.Summary) bool { return !s.Ended.IsZero() }); err != nil {
		return err
	}
	first, err := t.cluster.Jobs.Job(ctx, short)
	if err != nil {
		return err
	}
	last, err := t.cluster.Jobs.Job(ctx, wide)
	if err != nil {
		return err
	}
	if first.State != job.Done || last.State != job.Done || !last.Started.After(first.Started) {
		return fault.New(fault.Failed, "the short job is %s and began at %s, the wide one is %s and began at %s", first.State,
			first.Started.Format(clock), last.State, last.Started.Format(clock)).Hint("bramble demo --state DIR keeps the logs in DIR/head/log")
	}
	t.say("and the wide job had all %d nodes as soon as they were free", nodes)
	return nil
}

// submit submits a job, and shows how a person would.
func (t *Tour) submit(ctx context.Context, flags string, spec job.Spec) (job.ID, error) {
	id, err := t.cluster.Jobs.Submit(ctx, spec)
	if err == nil {
		t.command(fmt.Sprintf("bramble submit --name %s %s", spec.Name, flags))
		t.say("job %d", id)
	}
	return id, err
}

// until returns when a job is as wanted.
func (t *Tour) until(ctx context.Context, id job.ID, ok func(job.Summary) bool) error {
	for sum, err := range t.cluster.Jobs.Watch(ctx, id) {
		if err != nil || ok(sum) {
			return err
		}
	}
	return fault.New(fault.Failed, "job %d ended before its time", id).Hint("bramble job %d", id)
}
