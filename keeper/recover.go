package keeper

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"bramble/fault"
)

// recover replays the journal: what ended is served again, what was lost is swept and recorded as ended.
func (l *Local) recover() error {
	var past replay
	journal, damaged, err := openJournal(l.root, past.apply)
	if err != nil {
		return err
	}
	l.journal = journal
	for _, d := range damaged {
		l.Log.Warn("the journal was damaged; what it said there is lost", "from", d.from, "to", d.to, "torn", d.torn)
	}
	for _, s := range past.kept() {
		l.adopt(s)
	}
	if err := l.bury(past.lost(time.Now())); err != nil {
		return err
	}
	return l.removeOrphans()
}

func (l *Local) adopt(s Status) {
	t := &task{}
	l.tasks[s.ID] = t
	l.tell(t, s)
	l.wake()
}

// bury kills what is left of lost tasks and records their ends, with the output that had reached the disk.
func (l *Local) bury(lost []Status) error {
	if len(lost) == 0 {
		return nil
	}
	ids := make([]string, len(lost))
	for i, s := range lost {
		ids[i] = s.ID
	}
	l.Log.Warn("the keeper was lost under running tasks", "tasks", strings.Join(ids, " "))
	if left, ok := l.Host.(Leftovers); ok {
		if err := sweep(left, ids); err != nil {
			return fmt.Errorf("ending what is left of lost tasks: %w", err)
		}
	}
	entries := make([]entry, len(lost))
	for i := range lost {
		entries[i] = endedEntry(lost[i], l.salvage(&lost[i]))
	}
	if err := errors.Join(l.journal.append(entries...), l.journal.sync()); err != nil {
		return err
	}
	for _, s := range lost {
		l.adopt(s)
	}
	return nil
}

// sweep ends the processes of the given tasks; those of other tasks are not the keeper's.
func sweep(left Leftovers, ids []string) error {
	found, err := left.Leftovers("")
	if err != nil {
		return err
	}
	for _, id := range found {
		if !slices.Contains(ids, id) {
			continue
		}
		proc, err := left.Adopt(id)
		if fault.Is(err, fault.NotFound) {
			continue // it has just ended
		}
		if err != nil {
			return err
		}
		if err := proc.Kill(); err != nil {
			return err
		}
		proc.Wait()
	}
	return nil
}

// salvage completes a lost task's status with the output on disk, and returns what rides along with it.
func (l *Local) salvage(s *Status) (tail []byte) {
	s.Stdout, s.Stderr = l.sizeOf(s.ID, "stdout"), l.sizeOf(s.ID, "stderr")
	if !s.small() {
		return nil
	}
	out, _ := l.readFile(s.ID, "stdout", 0, SmallOutput, s.Stdout)
	errs, _ := l.readFile(s.ID, "stderr", 0, SmallOutput, s.Stderr)
	s.Stdout, s.Stderr = int64(len(out)), int64(len(errs))
	return append(out, errs...)
}

func (l *Local) sizeOf(id, stream string) int64 {
	info, err := l.output.Stat(outputName(id, stream))
	if err != nil {
		return 0
	}
	return info.Size()
}

// removeOrphans removes output that no known task owns, such as that of a task forgotten in the moment of a crash.
func (l *Local) removeOrphans() error {
	files, err := fs.ReadDir(l.output.FS(), ".")
	if err != nil {
		return err
	}
	for _, f := range files {
		id, _, _ := strings.Cut(f.Name(), "_")
		if t := l.tasks[id]; t == nil || t.status.small() {
			if err := l.output.Remove(f.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}
