package job

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bramble/event"
)

func (s *Service) tally(results []Result) {
	var done int64
	for i := range results {
		if results[i].OK() {
			done++
		}
	}
	s.finished.Add(done)
	s.failed.Add(int64(len(results)) - done)
}

func (s *Service) tellMoved(m Moved) {
	s.moved.Add(int64(len(m.Keys)))
	s.Events.Record(event.Event{Kind: event.Change, Room: "job", Node: m.Node, Job: int64(m.Keys[0].Job), Bad: true,
		Text: fmt.Sprintf("%s moved from %s: %s", tasksText(len(m.Keys)), m.Node, m.Why)})
}

func tasksText(n int) string {
	if n == 1 {
		return "1 task"
	}
	return fmt.Sprintf("%d tasks", n)
}

func (s *Service) tellEnded(id ID) {
	for _, c := range s.couriers {
		delete(c.known, id)
	}
	s.output.rest(id)
	delete(s.sums, id)
	s.dirty = true
	if over := s.over[id]; over != nil {
		close(over)
		delete(s.over, id)
	}
	sum, ok := s.state.Job(id)
	if !ok {
		return
	}
	if sum.Spec.Inputs != "" && s.Inputs != nil {
		s.ended.Go(func() { s.letGo(id, sum.Spec) })
	}
	text := fmt.Sprintf("job %d %s: %s", id, sum.State, countsText(sum.Counts))
	s.Events.Record(event.Event{Kind: event.Change, Room: "job", Job: int64(id), User: sum.Spec.User, Text: text, Bad: sum.State == Failed})
}

// letGo lets go of what an ended job brought; of a submission's folder it is still asked what was in it.
func (s *Service) letGo(id ID, spec Spec) {
	var err error
	if spec.Folder {
		err = s.Inputs.PinList(pinName(id)+".list", spec.Inputs)
	}
	if err = errors.Join(err, s.Inputs.Unpin(pinName(id))); err != nil {
		s.Log.Warn("inputs not let go", "job", id, "error", err)
	}
}

// sweepPins lets go of all that belongs to jobs that are forgotten: the named ones, or those that the state does not know.
func (s *Service) sweepPins(forgotten ...ID) {
	if s.Inputs == nil {
		return
	}
	names, err := s.Inputs.Pins()
	for _, name := range names {
		rest, ours := strings.CutPrefix(name, "job.")
		number, _, _ := strings.Cut(rest, ".")
		id, bad := strconv.ParseInt(number, 10, 64)
		if !ours || bad != nil {
			continue
		}
		gone := slices.Contains(forgotten, ID(id))
		if len(forgotten) == 0 {
			_, known := s.state.Spec(ID(id))
			gone = !known
		}
		if gone {
			err = errors.Join(err, s.Inputs.Unpin(name))
		}
	}
	if err != nil {
		s.Log.Warn("files of forgotten jobs not let go", "error", err)
	}
}

func countsText(c Counts) string {
	text := fmt.Sprintf("%d done", c.Done)
	if c.Failed > 0 {
		text += fmt.Sprintf(", %d failed", c.Failed)
	}
	if c.Cancelled > 0 {
		text += fmt.Sprintf(", %d cancelled", c.Cancelled)
	}
	return text
}

func pinName(id ID) string { return fmt.Sprintf("job.%d", id) }
