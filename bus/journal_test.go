package bus_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"bramble/bus"
	"bramble/bus/bustest"
)

// journal opens the journal kept in dir and returns what it held; close ends it and its bus.
func journal(t *testing.T, dir string) (*bus.Journal, bus.Recovered, func()) {
	t.Helper()
	b := bustest.StartIn(t, filepath.Join(dir, "bus"))
	head := b.Head()
	j, found, err := head.Journal(t.Context(), "job", filepath.Join(dir, "log", "job"))
	if err != nil {
		t.Fatal(err)
	}
	return j, found, func() {
		j.Close()
		b.StopAll(head)
	}
}

func write(t *testing.T, j *bus.Journal, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if err := j.Append(fmt.Appendf(nil, "record %d", i)); err != nil {
			t.Fatal(err)
		}
	}
}

func check(t *testing.T, found bus.Recovered, snapshot string, from, to int) {
	t.Helper()
	if string(found.Snapshot) != snapshot {
		t.Errorf("snapshot %q, want %q", found.Snapshot, snapshot)
	}
	if len(found.Records) != to-from+1 {
		t.Fatalf("%d records, want %d to %d", len(found.Records), from, to)
	}
	for i, r := range found.Records {
		if want := fmt.Sprintf("record %d", from+i); string(r) != want {
			t.Fatalf("record %q, want %q", r, want)
		}
	}
}

func TestJournalRemembers(t *testing.T) {
	dir := t.TempDir()
	j, found, end := journal(t, dir)
	check(t, found, "", 1, 0)
	write(t, j, 1, 10)
	end()
	j, found, end = journal(t, dir)
	check(t, found, "", 1, 10)
	if err := j.Cut(t.Context(), bytes.Repeat([]byte("s"), 2_000_000)); err != nil {
		t.Fatal(err)
	}
	write(t, j, 11, 12)
	end()
	j, found, end = journal(t, dir)
	check(t, found, strings.Repeat("s", 2_000_000), 11, 12)
	if len(found.Damage) > 0 {
		t.Errorf("damage where there is none: %v", found.Damage)
	}
	write(t, j, 13, 13)
	end()
	_, found, end = journal(t, dir)
	check(t, found, strings.Repeat("s", 2_000_000), 11, 13)
	end()
}

func TestJournalFromOneCopy(t *testing.T) {
	flip := func(t *testing.T, path string, at func(int) int) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data[at(len(data))] ^= 0x10
		os.WriteFile(path, data, 0o600)
	}
	block := func(t *testing.T, dir string) string {
		found, _ := filepath.Glob(filepath.Join(dir, "bus", "jetstream", "*", "streams", "journal-job-*", "msgs", "*.blk"))
		if len(found) != 1 {
			t.Fatalf("stream files: %v", found)
		}
		return found[0]
	}
	log := func(dir string) string { return filepath.Join(dir, "log", "job") }
	tests := []struct {
		name   string
		damage func(t *testing.T, dir string)
	}{
		{"log gone", func(t *testing.T, dir string) { os.Remove(log(dir)) }},
		{"log torn", func(t *testing.T, dir string) { os.Truncate(log(dir), 700) }},
		{"log flipped in the middle", func(t *testing.T, dir string) { flip(t, log(dir), func(n int) int { return n / 2 }) }},
		{"log flipped in the last batch", func(t *testing.T, dir string) { flip(t, log(dir), func(n int) int { return n - 1 }) }},
		{"log full of rubbish", func(t *testing.T, dir string) { os.WriteFile(log(dir), []byte("BJBJ rubbish"), 0o600) }},
		{"stream gone", func(t *testing.T, dir string) { os.RemoveAll(filepath.Join(dir, "bus")) }},
		{"stream torn", func(t *testing.T, dir string) { os.Truncate(block(t, dir), 1500) }},
		{"stream flipped", func(t *testing.T, dir string) { flip(t, block(t, dir), func(n int) int { return n / 2 }) }},
		{"stream flipped at its end", func(t *testing.T, dir string) { flip(t, block(t, dir), func(n int) int { return n - 20 }) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			j, _, end := journal(t, dir)
			write(t, j, 1, 50)
			end()
			tt.damage(t, dir)
			j, found, end := journal(t, dir)
			check(t, found, "", 1, 50)
			if len(found.Damage) == 0 {
				t.Error("damage was not told")
			}
			write(t, j, 51, 55)
			end()
			_, found, end = journal(t, dir)
			defer end()
			check(t, found, "", 1, 55)
			if len(found.Damage) > 0 {
				t.Errorf("damage was not mended: %v", found.Damage)
			}
		})
	}
}

func TestJournalLostInBothCopies(t *testing.T) {
	dir := t.TempDir()
	j, _, end := journal(t, dir)
	write(t, j, 1, 20)
	end()
	data, _ := os.ReadFile(filepath.Join(dir, "log", "job"))
	data[len(data)/2] ^= 1
	os.WriteFile(filepath.Join(dir, "log", "job"), data, 0o600)
	os.RemoveAll(filepath.Join(dir, "bus"))
	b := bustest.StartIn(t, filepath.Join(dir, "bus"))
	_, _, err := b.Head().Journal(t.Context(), "job", filepath.Join(dir, "log", "job"))
	if err == nil || !strings.Contains(err.Error(), "lost in both copies") {
		t.Errorf("a gap passed: %v", err)
	}
}

func TestJournalCommitsTogether(t *testing.T) {
	dir := t.TempDir()
	j, _, end := journal(t, dir)
	var wg sync.WaitGroup
	for i := range 2000 {
		wg.Go(func() {
			if err := j.Append(fmt.Appendf(nil, "record %d", i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	end()
	_, found, end := journal(t, dir)
	defer end()
	seen := map[string]int{}
	for _, r := range found.Records {
		seen[string(r)]++
	}
	if len(seen) != 2000 || len(found.Records) != 2000 {
		t.Errorf("%d records, %d different, want 2000", len(found.Records), len(seen))
	}
}

func BenchmarkJournal(b *testing.B) {
	s := bustest.Start(b)
	j, _, err := s.Head().Journal(b.Context(), "job", filepath.Join(b.TempDir(), "job"))
	if err != nil {
		b.Fatal(err)
	}
	record := make([]byte, 100)
	b.SetParallelism(500)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := j.Append(record); err != nil {
				b.Error(err)
			}
		}
	})
}

// A cut for which the disk has no room leaves the journal as it was: what is appended after it is found.
func TestCutThatFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	b := bustest.StartIn(t, filepath.Join(dir, "bus"))
	j, _, err := b.Head().Journal(t.Context(), "room", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append([]byte("before")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path+".new", 0o700); err != nil { // where the new log would be written
		t.Fatal(err)
	}
	if err := j.Cut(t.Context(), []byte("snapshot")); err == nil {
		t.Fatal("the cut succeeded")
	}
	if err := os.Remove(path + ".new"); err != nil {
		t.Fatal(err)
	}
	if err := j.Append([]byte("after")); err != nil {
		t.Fatal(err)
	}
	j.Close()
	b.Shutdown()
	_, found, err := bustest.StartIn(t, filepath.Join(dir, "bus")).Head().Journal(t.Context(), "room", path)
	if err != nil || len(found.Records) != 2 || found.Snapshot != nil {
		t.Errorf("found %q after %q, %v", found.Records, found.Snapshot, err)
	}
}
