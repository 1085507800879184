package event

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	kept      = 4096     // events in memory
	maxText   = 4 << 10  // bytes of one event's text
	rotateAt  = 16 << 20 // bytes of the file before it becomes events.1.jsonl
	fileName  = "events.jsonl"
	olderName = "events.1.jsonl"
)

// Log keeps events in memory and in a file of JSON lines, two generations of 16 MiB. Events are
// for people: one may be lost when the power fails.
type Log struct {
	log     *slog.Logger
	now     func() time.Time
	mu      sync.Mutex
	dir     string
	f       *os.File
	size    int64
	seq     int64
	recent  []Event
	changed chan struct{} // closed and replaced at each event
}

// Open opens the log in dir, made if need be, with its newest events in memory.
func Open(dir string, now func() time.Time, log *slog.Logger) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open events: %w", err)
	}
	l := &Log{log: log, now: now, dir: dir, changed: make(chan struct{})}
	for _, name := range []string{olderName, fileName} {
		l.read(filepath.Join(dir, name))
	}
	return l, l.reopen()
}

func (l *Log) reopen() error {
	f, err := os.OpenFile(filepath.Join(l.dir, fileName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open events: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return fmt.Errorf("open events: %w", err)
	}
	l.f, l.size = f, info.Size()
	if l.size > 0 {
		f.Write([]byte("\n")) // a line that a crash tore ends here
	}
	return nil
}

// read takes in a file's events; a torn line is passed over.
func (l *Log) read(path string) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e Event
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Seq > l.seq {
			l.seq = e.Seq
			l.remember(e)
		}
	}
}

func (l *Log) remember(e Event) {
	if len(l.recent) >= 2*kept {
		l.recent = append([]Event(nil), l.recent[kept:]...)
	}
	l.recent = append(l.recent, e)
}

// Record adds an event; Seq and Time are set here.
func (l *Log) Record(e Event) {
	if len(e.Text) > maxText {
		e.Text = strings.ToValidUTF8(e.Text[:maxText], "") + "…"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	e.Seq, e.Time = l.seq, l.now().UTC()
	l.remember(e)
	line, err := json.Marshal(e)
	if err == nil {
		err = l.write(append(line, '\n'))
	}
	if err != nil {
		l.log.Warn("event not written to disk", "error", err)
	}
	level := slog.LevelInfo
	if e.Bad {
		level = slog.LevelWarn
	}
	l.log.Log(context.Background(), level, e.Text, "room", e.Room, "user", e.User)
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Log) write(line []byte) error {
	if l.size+int64(len(line)) > rotateAt {
		l.f.Close()
		if err := os.Rename(filepath.Join(l.dir, fileName), filepath.Join(l.dir, olderName)); err != nil {
			return err
		}
		if err := l.reopen(); err != nil {
			return err
		}
	}
	n, err := l.f.Write(line)
	l.size += int64(n)
	return err
}

// list returns the newest events that fit, oldest first, and a channel that closes when there are more.
func (l *Log) list(f Filter) ([]Event, <-chan struct{}) {
	if f.Limit <= 0 {
		f.Limit = DefaultLimit
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []Event
	for i := len(l.recent) - 1; i >= 0 && len(found) < f.Limit; i-- {
		if f.fits(l.recent[i]) {
			found = append(found, l.recent[i])
		}
	}
	for i, j := 0, len(found)-1; i < j; i, j = i+1, j-1 {
		found[i], found[j] = found[j], found[i]
	}
	return found, l.changed
}

// Close closes the file.
func (l *Log) Close() error { return l.f.Close() }
