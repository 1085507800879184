package agent

import (
	"context"

	"bramble/fault"
	"bramble/host"
	"bramble/job"
	"bramble/term"
)

// room refuses new work while the disk holds less than the head needs to finish what it has.
func (h *head) room() error {
	free, err := host.DiskFree(h.layout.Head())
	if err != nil {
		return err
	}
	if free < diskFloor {
		return fault.New(fault.Full, "the head's disk has %s left, and keeps %s to finish what it has accepted", term.Bytes(free), term.Bytes(diskFloor)).
			Hint("free space on the file system of %s", h.layout.Head())
	}
	return nil
}

// busy refuses what would pull a node away from under its work.
func busy(ctx context.Context, jobs *job.Service, name string) error {
	load, err := jobs.Load(ctx, name)
	switch {
	case err != nil:
	case load.Untold:
		err = fault.New(fault.Unreachable, "the head has just started, and %s has not told yet what it runs", name).Hint("the same again in a few seconds")
	case load.Running+load.Waiting > 0:
		err = fault.New(fault.Conflict, "%s has %d tasks", name, load.Running+load.Waiting).Hint("wait until they have ended: bramble queue")
	}
	return err
}
