package term

import (
	"io"
	"strings"

	"bramble/fault"
)

// Report tells the person what went wrong and what to try next, on out.Stderr,
// and returns the process's exit status. A nil err is silent and 0.
func Report(out *Out, err error) int {
	if err == nil {
		return 0
	}
	f := fault.Of(err)
	style := out.Stderr.Style
	text := style.Bad("bramble:") + " " + errorText(f.Text) + "\n"
	if f.Try != "" {
		text += style.Warn("try:") + " " + cleanCell(f.Try, false) + "\n"
	}
	io.WriteString(out.Stderr, text) // nowhere is left to say that this failed
	return fault.Exit(err)
}

// errorText is an error's text as a person should read it: without our own name
// in front, without a Go stack behind, later lines indented.
func errorText(text string) string {
	text, _, _ = strings.Cut(text, "\ngoroutine ")
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		for strings.HasPrefix(line, "bramble: ") {
			line = strings.TrimPrefix(line, "bramble: ")
		}
		if line != "" {
			lines = append(lines, cleanCell(line, false))
		}
	}
	if len(lines) == 0 {
		return "failed without saying why"
	}
	return strings.Join(lines, "\n  ")
}
