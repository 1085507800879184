package web

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	"bramble/fault"
	"bramble/job"
)

// Programs get what comes bit by bit as lines of JSON. An empty line says that all is well and nothing new; a
// last line with the field error, that the answer is not complete.

const (
	lineGather = 20 * time.Millisecond // how long a line may wait for others
	maxWait    = 50 * time.Second      // of an answer that comes when something happens; below answerTime
)

// lines streams what is made, as it is made; an error that comes before anything else is answered as such.
func (s *Server) lines(w http.ResponseWriter, r *http.Request, v visitor, produce func(ctx context.Context, emit func(any) bool) error) error {
	if err := s.streams.take(v.id); err != nil {
		return err
	}
	defer s.streams.release(v.id)
	ctx, cancel := context.WithCancel(r.Context())
	made, ended := make(chan []byte), make(chan error, 1)
	var busy sync.WaitGroup
	defer busy.Wait()
	defer cancel()
	busy.Go(func() {
		ended <- produce(ctx, func(v any) bool {
			line, err := json.Marshal(v)
			if err != nil {
				return false
			}
			select {
			case made <- append(line, '\n'):
				return true
			case <-ctx.Done():
				return false
			}
		})
		close(made)
	})
	out := &lineWriter{stream: stream{w: w, control: http.NewResponseController(w)}}
	return out.copy(ctx, made, ended, func() bool { _, err := s.SignIn.Session(v.id); return err == nil })
}

// lineWriter sends lines, several at a time when they come fast.
type lineWriter struct {
	stream
	begun   bool
	pending bytes.Buffer
}

// copy sends what is made until that ends, nobody listens any more, or the session is over.
func (l *lineWriter) copy(ctx context.Context, made <-chan []byte, ended <-chan error, still func() bool) error {
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	timer := time.NewTimer(lineGather)
	defer timer.Stop()
	for {
		select {
		case line, ok := <-made:
			if !ok {
				return l.finish(ctx, <-ended)
			}
			if l.pending.Len() == 0 {
				timer.Reset(lineGather)
			}
			if l.pending.Write(line); l.pending.Len() >= maxMessage && l.send() != nil {
				return nil
			}
		case <-timer.C:
			if l.send() != nil {
				return nil
			}
		case <-alive.C:
			if l.pending.WriteByte('\n'); !still() || l.send() != nil {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// finish tells how it ended.
func (l *lineWriter) finish(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		if !l.begun && l.pending.Len() == 0 {
			return err
		}
		json.NewEncoder(&l.pending).Encode(map[string]*fault.Error{"error": fault.Of(err)})
	}
	l.begin()
	l.send()
	return nil
}

func (l *lineWriter) begin() {
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", "application/x-ndjson")
		l.w.WriteHeader(http.StatusOK)
	}
}

func (l *lineWriter) send() error {
	if l.pending.Len() == 0 {
		return nil
	}
	l.begin()
	err := l.write(l.pending.String())
	l.pending.Reset()
	return err
}

// text is bytes as JSON can say them: as text where they are, else in base64.
func text(data []byte) (plain string, raw []byte) {
	if utf8.Valid(data) {
		return string(data), nil
	}
	return "", data
}

// apiEnding is how a task ended, as programs read it.
type apiEnding struct {
	Index   int           `json:"index"`
	State   job.TaskState `json:"state"`
	OK      bool          `json:"ok"`
	Code    int           `json:"code"` // exit status; -1 for a task that did not exit by itself, or of which that is not remembered
	Attempt int           `json:"attempt,omitempty"`
	Node    string        `json:"node,omitempty"` // of one that failed
	Signal  string        `json:"signal,omitempty"`
	Error   string        `json:"error,omitempty"`
	Timeout bool          `json:"timeout,omitempty"`
	OOM     bool          `json:"oom,omitempty"`
	Stdout  string        `json:"stdout,omitempty"`
	Stderr  string        `json:"stderr,omitempty"`
	RawOut  []byte        `json:"stdout_base64,omitempty"` // instead of stdout, when that is not UTF-8
	RawErr  []byte        `json:"stderr_base64,omitempty"`
	OutSize int64         `json:"out_size,omitempty"`
	ErrSize int64         `json:"err_size,omitempty"`
	Returns string        `json:"returns,omitempty"` // for /api/v1/trees/{ref}
}

func endingOf(e job.Ending) apiEnding {
	a := apiEnding{Index: e.Index, State: e.State, OK: e.State == job.Done, Attempt: e.Attempt, Returns: e.Returns, OutSize: e.OutSize, ErrSize: e.ErrSize}
	a.Stdout, a.RawOut = text(e.Stdout)
	a.Stderr, a.RawErr = text(e.Stderr)
	if f := e.Failure; f != nil {
		a.Code, a.Node, a.Signal, a.Error, a.Timeout, a.OOM = f.Code, f.Node, f.Signal, f.Error, f.Timeout, f.OOM
	} else if !a.OK {
		a.Code = -1
	}
	return a
}

// apiResults streams how a job's tasks end.
func (s *Server) apiResults(w http.ResponseWriter, r *http.Request, v visitor) error {
	id, _, err := jobOf(r)
	if err != nil {
		return err
	}
	req := job.EndingsRequest{ID: id, Had: r.FormValue("had"), Follow: r.FormValue("follow") == "1", Bare: r.FormValue("output") == "0"}
	return s.lines(w, r, v, func(ctx context.Context, emit func(any) bool) error {
		for end, err := range v.jobs.Endings(ctx, req) {
			if err != nil {
				return err
			}
			if !emit(endingOf(end)) {
				break
			}
		}
		return nil
	})
}

// apiLogLine is a piece of output, as programs read it.
type apiLogLine struct {
	Index   int    `json:"index"`
	Attempt int    `json:"attempt"`
	Stderr  bool   `json:"stderr,omitempty"`
	Note    bool   `json:"note,omitempty"`
	Text    string `json:"text,omitempty"`
	Raw     []byte `json:"base64,omitempty"` // instead of text, when that is not UTF-8
}

// apiLogs streams what a task writes, or all of them do.
func (s *Server) apiLogs(w http.ResponseWriter, r *http.Request, v visitor) error {
	id, task, err := jobOf(r)
	if err != nil {
		return err
	}
	req := job.LogRequest{ID: id, Index: max(0, task), All: task < 0, Follow: r.FormValue("follow") == "1"}
	return s.lines(w, r, v, func(ctx context.Context, emit func(any) bool) error {
		for line, err := range v.jobs.Logs(ctx, req) {
			if err != nil {
				return err
			}
			out := apiLogLine{Index: line.Index, Attempt: line.Attempt, Stderr: line.Stderr, Note: line.Note}
			if out.Text, out.Raw = text(line.Data); !emit(out) {
				break
			}
		}
		return nil
	})
}
