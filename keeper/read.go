package keeper

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"strings"
	"time"

	"bramble/fault"
	"bramble/host"
	"bramble/sorts"
)

// Signal implements Keeper.
func (l *Local) Signal(ctx context.Context, id, sig string) error {
	sig, alone := strings.CutPrefix(sig, Leader)
	size, resize := sizeOf(sig)
	if resize {
		sig = "WINCH"
	}
	number := host.SignalNumber("SIG" + strings.TrimPrefix(sig, "SIG"))
	if number == 0 {
		return fault.New(fault.Misused, "no signal is called %.40q", sig).Hint("TERM, INT, HUP, USR1, STOP, CONT or KILL")
	}
	status, r, err := l.find(id)
	if err != nil || r == nil {
		return err
	}
	if status.Waiting {
		l.Withdraw(ctx, []string{id})
	}
	select {
	case <-r.forked:
		if resize {
			return r.resize(size)
		}
		return r.signal(number, alone)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TakesLimits implements Limiter.
func (l *Local) TakesLimits() bool { return true }

// Limit implements Limiter.
func (l *Local) Limit(ctx context.Context, ids []string, timeout time.Duration) error {
	if timeout < 0 {
		return fault.New(fault.Misused, "a task cannot have less than no time")
	}
	for _, id := range ids {
		if _, r, err := l.find(id); err == nil && r != nil {
			r.setLimit(timeout)
		}
	}
	return ctx.Err()
}

// find returns a task's status, and its run unless it has ended.
func (l *Local) find(id string) (Status, *run, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tasks[id]
	if t == nil {
		return Status{}, nil, fault.New(fault.NotFound, "the keeper knows no task %.150q", id)
	}
	return t.status, t.run, nil
}

// List implements Keeper.
func (l *Local) List(ctx context.Context) ([]Status, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]Status, 0, len(l.tasks))
	for _, t := range l.tasks {
		status := t.status
		if t.run != nil {
			t.run.count(&status)
		}
		list = append(list, status)
	}
	sorts.By(list, func(a, b Status) int {
		return cmp.Or(a.Started.Compare(b.Started), strings.Compare(a.ID, b.ID))
	})
	return list, ctx.Err()
}

// Output implements Keeper.
func (l *Local) Output(ctx context.Context, id, stream string, offset int64, max int) ([]byte, error) {
	if stream != "stdout" && stream != "stderr" || offset < 0 || max < 0 {
		return nil, fault.New(fault.Misused, "%.20q from %d, %d bytes, is no part of a task's output", stream, offset, max)
	}
	status, run, err := l.find(id)
	if err != nil {
		return nil, err
	}
	if run != nil {
		s := run.out
		if stream == "stderr" {
			s = run.err
		}
		if b, ok, err := s.readAt(offset, max); ok {
			return b, err
		}
		if status, _, err = l.find(id); err != nil { // it ended meanwhile
			return nil, err
		}
	}
	return l.endedOutput(status, stream, offset, max)
}

func (l *Local) endedOutput(s Status, stream string, offset int64, max int) ([]byte, error) {
	size := s.Stdout
	if stream == "stderr" {
		size = s.Stderr
	}
	if offset >= size {
		return nil, nil
	}
	if !s.small() {
		return l.readFile(s.ID, stream, offset, max, size)
	}
	tail, err := l.journal.tail(s.ID)
	if err != nil {
		return nil, err
	}
	if stream == "stderr" {
		return cut(tail[s.Stdout:], offset, max), nil
	}
	return cut(tail[:s.Stdout], offset, max), nil
}

func (l *Local) readFile(id, stream string, offset int64, max int, size int64) ([]byte, error) {
	file, err := l.output.Open(outputName(id, stream))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New(fault.NotFound, "the %s of task %s is gone", stream, id)
		}
		return nil, err
	}
	defer file.Close()
	return readRange(file, offset, max, size)
}
