package each

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"bramble/fault"
)

// take takes in what came of a job.
func (r *Runner) take(ev event) error {
	switch {
	case ev.err != nil:
		return ev.err
	case ev.over:
		delete(r.open, ev.id)
		return nil
	}
	r.outstanding--
	r.done++
	o := ev.out
	if o.OK() {
		r.succeeded++
	} else {
		r.failed++
	}
	if r.log != nil {
		if _, err := fmt.Fprintln(r.log, joblogLine(o)); err != nil {
			return fault.New(fault.Failed, "--joblog: %w", err)
		}
	}
	if err := r.settle(o, true); err != nil {
		return err
	}
	total := 0
	if r.allRead {
		total = r.taken
	}
	if !r.halted && r.Halt.Due(r.failed, r.succeeded, total) {
		r.halted = true
		if r.verdict = o.Code; r.Halt.What != "success" && r.verdict == 0 && !o.OK() {
			r.verdict = 1
		}
	}
	r.tell()
	return nil
}

func (r *Runner) tell() {
	if r.Seen == nil {
		return
	}
	total := 0
	if r.allRead {
		total = r.taken
	}
	r.Seen(r.done, r.failed, total)
}

// settle prints a run's output at once, or in its turn.
func (r *Runner) settle(o *Outcome, ran bool) error {
	if !r.KeepOrder {
		if !ran {
			return nil
		}
		return r.write(o)
	}
	r.waiting[o.Seq] = o
	for r.waiting[r.turn] != nil {
		if err := r.write(r.waiting[r.turn]); err != nil {
			return err
		}
		delete(r.waiting, r.turn)
		r.turn++
	}
	return nil
}

func (r *Runner) write(o *Outcome) error {
	if o.Problem != "" {
		fmt.Fprintf(r.Err, "bramble each: run %d (%s): %s\n", o.Seq, o.Line, o.Problem)
	}
	for _, of := range []struct {
		to   io.Writer
		data []byte
	}{{r.Out, o.Stdout}, {r.Err, o.Stderr}} {
		data := of.data
		if r.Tag {
			data = tagged(data, strings.Join(o.Args, " "))
		}
		if _, err := of.to.Write(data); err != nil {
			return err
		}
	}
	return nil
}

// tagged puts the inputs before each line.
func tagged(data []byte, tag string) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(data) {
		b.WriteString(tag)
		b.WriteByte('\t')
		b.Write(line)
	}
	return b.Bytes()
}
