package cli

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"bramble/fault"
)

// logFile is an access log's file, or standard output.
type logFile struct {
	name string
	mu   sync.Mutex
	to   io.WriteCloser
}

func openLog(e *env, name string) (*logFile, error) {
	if name == "-" {
		return &logFile{to: keepOpen{e.out.Stdout}}, nil
	}
	f := &logFile{name: name}
	to, err := f.open()
	if err != nil {
		return nil, fault.New(fault.Failed, "cannot write the access log %s: %w", name, err).Hint("--access-log FILE in a folder that is there")
	}
	f.to = to
	return f, nil
}

func (f *logFile) open() (*os.File, error) {
	return os.OpenFile(f.name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
}

// reopen opens the file anew at each SIGHUP, so that it can be moved away first.
func (f *logFile) reopen(ctx context.Context, log *slog.Logger) {
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	defer signal.Stop(again)
	for {
		select {
		case <-ctx.Done():
			return
		case <-again:
		}
		if f.name == "" {
			continue
		}
		to, err := f.open()
		if err != nil {
			log.Error("the access log goes on in the file before", "error", err)
			continue
		}
		f.mu.Lock()
		f.to.Close()
		f.to = to
		f.mu.Unlock()
	}
}

func (f *logFile) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.to.Write(p)
}

func (f *logFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.to.Close()
}

// keepOpen is what is not ours to close.
type keepOpen struct{ io.Writer }

func (keepOpen) Close() error { return nil }
