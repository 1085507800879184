package job_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"bramble/job"
	"bramble/lab"
	"bramble/lab/labtest"
	"bramble/term"
)

// A gigabyte of output is cut to what is kept of each stream; the log says how much is missing, and the head needs
// little memory for it.
func TestGigabyteOfOutput(t *testing.T) {
	l, _ := loopback(t, 1)
	c := l.Connect()
	const size, kept = 1_000_000_000, 16 << 20
	before := headMemory(t, l)
	id, err := c.Jobs.Submit(t.Context(), job.Spec{Args: []string{"sh", "-c", fmt.Sprintf("yes 0123456789abcde | head -c %d; echo end >&2", size)}})
	must(t, err)
	if d := wait(t, l, id); d.State != job.Done {
		t.Fatalf("job is %s: %+v", d.State, d.Failures)
	}
	var out int64
	var errs strings.Builder
	for line, err := range c.Jobs.Logs(t.Context(), job.LogRequest{ID: id, All: true}) {
		must(t, err)
		if line.Stderr {
			errs.Write(line.Data)
		} else {
			out += int64(len(line.Data))
		}
	}
	if want := fmt.Sprintf("end\n\n[bramble: %s of output beyond the limit were dropped]\n", term.Bytes(size-kept)); out != kept || errs.String() != want {
		t.Errorf("%d bytes of output are kept, want %d, and it says %q, want %q", out, kept, errs.String(), want)
	}
	if more := headMemory(t, l) - before; more > 128<<20 {
		t.Errorf("the head took %d MiB more for it", more>>20)
	}
}

// headMemory is the most memory that the head has had so far, in bytes.
func headMemory(t *testing.T, l *labtest.Lab) (peak int64) {
	t.Helper()
	all, err := l.PS()
	must(t, err)
	for _, p := range all {
		if p.Node != lab.Head {
			continue
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Agent))
		must(t, err)
		_, text, _ = bytes.Cut(text, []byte("VmHWM:"))
		if _, err := fmt.Sscan(string(text), &peak); err != nil {
			t.Fatal(err)
		}
	}
	return peak << 10
}
