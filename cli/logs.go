package cli

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"os"
	"strconv"

	"bramble/job"
	"bramble/term"
)

type logsCmd struct {
	ID     string `arg:"" help:"Number of the job, or JOB.INDEX for one task of an array."`
	Follow bool   `short:"f" help:"Go on until the job has ended."`
	JSON   bool   `help:"A JSON object per piece of output."`
}

func (logsCmd) Examples() string { return "bramble logs 7\nbramble logs -f 7.3\n" }

func (c *logsCmd) Run(e *env) error {
	cl, d, index, err := openJob(e, c.ID)
	if err != nil {
		return err
	}
	defer cl.Close()
	req := job.LogRequest{ID: d.ID, Index: max(0, index), All: index < 0, Follow: c.Follow}
	if c.JSON {
		for l, err := range cl.Jobs.Logs(e.ctx, req) {
			if err != nil {
				return err
			}
			kind := map[bool]string{false: "stdout", true: "stderr"}[l.Stderr]
			if l.Note {
				kind = "note"
			}
			if err := term.JSONLine(e.out.Stdout, map[string]any{"task": l.Index, "attempt": l.Attempt, "kind": kind, "data": string(l.Data)}); err != nil {
				return err
			}
		}
		return nil
	}
	any, err := logShower(e.out, index < 0 && d.Spec.Array != "").all(cl.Jobs.Logs(e.ctx, req))
	if err == nil && !any {
		fmt.Fprintln(e.out.Stderr, silence(d, index))
	}
	return err
}

// silence says why there is no output.
func silence(d job.Detail, index int) string {
	what := fmt.Sprintf("job %d", d.ID)
	begun := !d.Started.IsZero()
	if index >= 0 && d.Spec.Array != "" {
		what = fmt.Sprintf("task %d of job %d", index, d.ID)
		pending, err := job.ParseArray(cmp.Or(d.Indices[string(job.Pending)], "-"))
		if _, waits := pending.Position(index); err == nil && waits {
			begun = false
		}
	}
	switch {
	case !begun && d.Ended.IsZero():
		return fmt.Sprintf("%s has not started yet.\ntry: bramble logs -f %d", what, d.ID)
	case d.Ended.IsZero():
		return what + " has written nothing yet."
	}
	return what + " wrote nothing."
}

// logShow prints output: as it is for one task, under the index for an array's.
type logShow struct {
	out   *term.Out
	lines *term.Prefixer // nil: as it is
}

func logShower(out *term.Out, array bool) *logShow {
	s := &logShow{out: out}
	if array {
		s.lines = term.NewPrefixer(out, nil)
	}
	return s
}

// all prints what comes, and reports whether anything came.
func (s *logShow) all(lines iter.Seq2[job.Line, error]) (any bool, err error) {
	for l, err := range lines {
		if err == nil {
			any = true
			err = s.line(l)
		}
		if err != nil {
			return any, err
		}
	}
	if s.lines != nil {
		return any, s.lines.Close()
	}
	return any, nil
}

func (s *logShow) line(l job.Line) error {
	if l.Note {
		_, err := fmt.Fprintf(s.out.Stderr, "%s\n", s.out.Stderr.Dim(fmt.Sprintf("[task %d %s]", l.Index, l.Data)))
		return err
	}
	if s.lines == nil {
		to := os.Stdout
		if l.Stderr {
			to = os.Stderr
		}
		_, err := to.Write(l.Data)
		return err
	}
	stream := term.Stdout
	if l.Stderr {
		stream = term.Stderr
	}
	return errors.Join(s.lines.Write(strconv.Itoa(l.Index), stream, l.Data), s.lines.Flush())
}
