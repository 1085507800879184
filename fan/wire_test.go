package fan

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"bramble/bus/bustest"
	"bramble/host"
)

func TestWire(t *testing.T) {
	exit := host.Exit{Code: -1, Signal: "SIGKILL", OOM: true, Wall: 1, User: 2, System: 3, MaxRSS: 4}
	bustest.Golden(t, "1", map[string]any{
		"request":       Request{On: "all", Args: []string{"echo", "hi"}, Env: []string{"A=b"}, Fanout: 3, Timeout: time.Minute, Stdin: true, As: "root"},
		"shell-request": ShellRequest{Node: "pi", Args: []string{"top"}, Term: "xterm", Size: host.Size{Rows: 24, Cols: 80}, As: "root"},
		"task":          task{User: "ann", As: "root", Args: []string{"true"}, Env: []string{"A=b"}, Timeout: time.Minute, Stdin: true, TTY: &host.Size{Rows: 24, Cols: 80}},
		"task-together": task{User: "ann", Args: []string{"true"}, Together: true},
		"end":           End{Exit: exit, Error: "e", Try: "t", Lost: true, Timeout: true},
		"end-well":      End{},
	})
}

// TestFramesOnTheWire pins the bytes around those messages.
func TestFramesOnTheWire(t *testing.T) {
	if got, want := pack(nil, Stdout, 258, []byte("hi")), []byte("o\x01\x02hi"); !bytes.Equal(got, want) {
		t.Errorf("output: %q, want %q", got, want)
	}
	names, err := packNames([]string{"pi1", "pi2"})
	if err != nil || len(names) != 1 {
		t.Fatalf("names: %q, %v", names, err)
	}
	if got, want := pack(nil, Nodes, 0, names[0]), []byte("n\x00\x00"+`["pi1","pi2"]`); !bytes.Equal(got, want) {
		t.Errorf("names: %q, want %q", got, want)
	}
	message := append(binary.BigEndian.AppendUint32(nil, 2), "ab"...)
	var frames []string
	for f := range framesOf(append(message, 0, 0, 0, 3, 'c')) { // the last is cut off
		frames = append(frames, string(f))
	}
	if len(frames) != 1 || frames[0] != "ab" {
		t.Errorf("frames: %q", frames)
	}
}
