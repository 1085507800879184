package job

import (
	"testing"
	"time"

	"bramble/bus/bustest"
	"bramble/host"
)

func TestWire(t *testing.T) {
	at := time.Date(2026, 11, 24, 6, 0, 0, 0, time.UTC)
	key := Key{Job: 7, Index: 3, Attempt: 1}
	spec := Spec{Name: "n", User: "ann", As: "root", Args: []string{"true"}, Script: []byte("#!/bin/sh"), Env: []string{"A=b"}, On: "all", Array: "1-3%2",
		CPUs: 2, Memory: 1 << 20, Timeout: time.Minute, Patience: time.Second, Retries: 1, Inputs: "ref", Return: []string{"out*"}}
	bustest.Golden(t, "1", map[string]any{
		"errand": errand{Stamp: stamp{Head: "h", No: 9}, Specs: map[ID]Spec{7: spec}, Forget: []Key{key}, Orders: []order{
			{Start: []Attempt{{Key: key, CPUs: 2, Memory: 1 << 20}}}, {Kill: []Key{key}}, {Recall: []Key{key}}}},
		"report": report{Started: []Key{key}, Rejected: []Key{key}, Reason: "why", Results: []Result{{Job: 7, Index: 3, Attempt: 1, Node: "pi",
			Started: at, Ended: at, Exit: host.Exit{Code: -1, Signal: "SIGKILL", OOM: true, Wall: 1, User: 2, System: 3, MaxRSS: 4},
			Error: "e", Timeout: true, Returns: "ref", Stdout: []byte("o"), Stderr: []byte("e"), OutSize: 1, ErrSize: 1}}},
		"census":     census{Cores: 4, Memory: 4 << 30, Held: []Held{{Attempt: Attempt{Key: key, CPUs: 1}, Waiting: true}}, Ended: []Attempt{{Key: key}}},
		"output":     outputRequest{Key: key, Stream: "stderr", Offset: 5, Follow: true},
		"submission": Submission{Spec: spec},
		"line":       Line{Index: 3, Attempt: 1, Stderr: true, Note: true, Data: []byte("x")},
	})
}
