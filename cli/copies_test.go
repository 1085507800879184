package cli

import (
	"bytes"
	"testing"

	"bramble/artefact"
	"bramble/term"
)

// Where nobody sees bars, a line says what takes a while, once for each thing that a node begins with.
func TestCopiesAreTold(t *testing.T) {
	var out, errs bytes.Buffer
	s := &copyShow{bars: bars{out: &term.Out{Stdout: &term.Stream{Writer: &out}, Stderr: &term.Stream{Writer: &errs}}}}
	moving := func(node, step string, done, total int64) artefact.Event {
		return artefact.Event{Kind: artefact.Moving, Node: node, Step: step, Done: done, Total: total}
	}
	const mib = 1 << 20
	for _, ev := range []artefact.Event{
		{Kind: artefact.Chosen, Names: []string{"n1", "n2", "n3"}},
		{Kind: artefact.Uploading, Done: 0, Total: 3 * mib},
		{Kind: artefact.Uploading, Done: mib, Total: 3 * mib},
		{Kind: artefact.Uploading, Done: 3 * mib, Total: 3 * mib},
		moving("n1", artefact.Fetching, 0, 3*mib),
		moving("n2", artefact.Fetching, 0, 3*mib),
		moving("n1", artefact.Fetching, mib, 3*mib),
		moving("n3", artefact.Fetching, 0, 100),
		moving("n1", artefact.Fetching, 3*mib, 3*mib),
		moving("n1", artefact.Placing, 0, 3*mib),
		moving("n2", artefact.Placing, 3*mib, 3*mib),
		moving("n2", artefact.Reading, 0, 5*mib),
		{Kind: artefact.Ended, Node: "n1", End: &artefact.End{Files: 1, Bytes: 3 * mib}},
	} {
		if err := s.event(ev); err != nil {
			t.Fatal(err)
		}
	}
	want := "3.0 MiB go to the head\nn1: gets 3.0 MiB\nn2: gets 3.0 MiB\nn1: writes 3.0 MiB\nn2: looks through its files\n"
	if errs.String() != want || out.String() != "n1: 1 file, 3.0 MiB\n" {
		t.Errorf("it says\n%s%s\nwant\n%s", &errs, &out, want)
	}
}
