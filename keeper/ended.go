package keeper

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sort"
)

// Ended implements Keeper. A subscriber is a position among the ended tasks, so a slow one costs nothing.
func (l *Local) Ended(ctx context.Context) (<-chan []Status, error) {
	batches := make(chan []Status)
	go func() {
		defer close(batches)
		var seen uint64
		for {
			batch, news := l.after(&seen)
			if len(batch) == 0 {
				select {
				case <-news:
					continue
				case <-l.over:
				case <-ctx.Done():
				}
				return
			}
			select {
			case batches <- batch:
			case <-l.over:
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	return batches, nil
}

// after returns the next batch behind the position and moves it on; news is closed when more has ended.
func (l *Local) after(seen *uint64) (batch []Status, news <-chan struct{}) {
	l.mu.Lock()
	first := sort.Search(len(l.ended), func(i int) bool { return l.ended[i].number > *seen })
	size := int64(0)
	for _, t := range l.ended[first:] {
		if len(batch) == batchTasks || size >= batchBytes {
			break
		}
		*seen = t.number
		if t.gone {
			continue
		}
		batch = append(batch, t.status)
		if t.status.small() {
			size += t.status.Stdout + t.status.Stderr
		}
	}
	news = l.news
	l.mu.Unlock()
	for i := range batch {
		l.attach(&batch[i])
	}
	return batch, news
}

// attach adds the small output; a task forgotten meanwhile goes without.
func (l *Local) attach(s *Status) {
	if !s.small() || s.Stdout+s.Stderr == 0 {
		return
	}
	tail, err := l.journal.tail(s.ID)
	if err != nil || int64(len(tail)) != s.Stdout+s.Stderr {
		return
	}
	s.SmallOut, s.SmallErr = tail[:s.Stdout:s.Stdout], tail[s.Stdout:]
}

// Forget implements Keeper. The output goes first, so that a full disk can be emptied.
func (l *Local) Forget(ctx context.Context, ids []string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	gone := l.endedAmong(ids)
	if len(gone) == 0 {
		return nil
	}
	if err := l.removeOutput(gone); err != nil {
		return err
	}
	names := make([]string, len(gone))
	for i, s := range gone {
		names[i] = s.ID
	}
	if err := l.journal.append(forgottenEntry(names)); err != nil {
		return err
	}
	if slices.ContainsFunc(gone, func(s Status) bool { return !s.small() }) { // its output is not there any more
		if err := l.journal.sync(); err != nil {
			return err
		}
	}
	l.forget(names)
	return l.journal.trim(false)
}

func (l *Local) endedAmong(ids []string) []Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ended []Status
	for _, id := range ids {
		if t := l.tasks[id]; t != nil && t.run == nil {
			ended = append(ended, t.status)
		}
	}
	return ended
}

func (l *Local) removeOutput(tasks []Status) error {
	for _, s := range tasks {
		if s.small() {
			continue
		}
		for _, stream := range []string{"stdout", "stderr"} {
			if err := l.output.Remove(outputName(s.ID, stream)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// forget takes the tasks out of memory.
func (l *Local) forget(ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if t := l.tasks[id]; t != nil && t.run == nil {
			delete(l.tasks, id)
			t.gone = true
			l.gone++
		}
	}
	if l.gone > len(l.ended)/2 {
		l.ended = slices.DeleteFunc(l.ended, func(t *task) bool { return t.gone })
		l.gone = 0
	}
	if l.running == 0 {
		l.relax()
	}
}
