package term

import (
	"context"
	"fmt"
	"io"
	"strings"

	"bramble/fault"
)

// Confirm asks a yes-or-no question; only y and yes agree. It is fault.Misused
// when nobody is there to answer, and fault.Interrupted when ctx ends first.
func Confirm(ctx context.Context, out *Out, question string) (bool, error) {
	question = cleanCell(question, false)
	if !out.Interactive {
		return false, fault.New(fault.Misused, "%s Nobody can answer: standard input is not a terminal", question).Hint("add --yes")
	}
	if _, err := fmt.Fprintf(out.Stderr, "%s [y/N] ", question); err != nil {
		return false, fmt.Errorf("ask: %w", err)
	}
	answer, err := readAnswer(ctx, out.Stdin)
	if err != nil {
		fmt.Fprintln(out.Stderr)
		return false, err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}

// readAnswer reads a line in a goroutine of its own: a read from a terminal
// cannot be called off, so after Ctrl-C it is left to the end of the process.
func readAnswer(ctx context.Context, r io.Reader) (string, error) {
	type answer struct {
		text string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		text, err := readLine(r)
		answered <- answer{text, err}
	}()
	select {
	case a := <-answered:
		return a.text, a.err
	case <-ctx.Done():
		return "", fault.New(fault.Interrupted, "interrupted")
	}
}

// readLine reads byte by byte, so that what follows the line stays unread; the end of input ends a line.
func readLine(r io.Reader) (string, error) {
	var line []byte
	b := make([]byte, 1)
	for len(line) < 1024 {
		n, err := r.Read(b)
		if n > 0 && b[0] == '\n' || err == io.EOF {
			break
		}
		if err != nil {
			return "", fmt.Errorf("read the answer: %w", err)
		}
		line = append(line, b[:n]...)
	}
	return string(line), nil
}
