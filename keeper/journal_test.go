package keeper_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bramble/fault"
	"bramble/keeper"
)

// spoolOfThree is a spool with three ended tasks whose keeper has stopped.
func spoolOfThree(t *testing.T) (spool, journal string) {
	t.Helper()
	spool = t.TempDir()
	k, stop := local(t, spool, io.Discard)
	for i := range 3 {
		run(t, k, sh(fmt.Sprint(i), fmt.Sprint("echo ", i)))
	}
	stop()
	return spool, filepath.Join(spool, "journal")
}

func TestTornJournal(t *testing.T) {
	spool, journal := spoolOfThree(t)
	whole, err := os.ReadFile(journal)
	must(t, err)
	last := strings.LastIndex(string(whole), `{"id":"2"`) // in the record of its end
	for name, test := range map[string]struct {
		data []byte
		torn bool
		lost string
	}{
		"whole":             {whole, false, ""},
		"cut in the tail":   {whole[:len(whole)-1], true, "2"},
		"cut in the head":   {whole[:last+5], true, "2"},
		"cut in the header": {whole[:last-3], true, "2"},
		"garbage behind":    {append(whole[:len(whole):len(whole)], "b\x01\x00garbage"...), true, ""},
		"zeros behind":      {append(whole[:len(whole):len(whole)], make([]byte, 70000)...), false, ""},
		"empty":             {nil, false, "0 1 2"},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, os.WriteFile(journal, test.data, 0o600))
			var log quiet
			k, stop := local(t, spool, &log)
			if torn := strings.Contains(log.String(), "torn=true"); torn != test.torn {
				t.Errorf("torn %v: %s", torn, log.String())
			}
			s := run(t, k, sh("new", "echo new")) // behind what was cut
			stop()
			k, _ = local(t, spool, &log)
			ended := collect(t, k, "new")
			if string(ended["new"].SmallOut) != "new\n" || s.Error != "" {
				t.Errorf("new: %+v", ended["new"])
			}
			for i := range 3 {
				id := fmt.Sprint(i)
				s, known := ended[id]
				switch {
				case !strings.Contains(test.lost, id):
					if string(s.SmallOut) != id+"\n" || s.Error != "" {
						t.Errorf("%s: %+v", id, s)
					}
				case name == "empty":
					if known {
						t.Errorf("%s: %+v", id, s)
					}
				case s.Error != keeper.Lost:
					t.Errorf("%s: %+v", id, s)
				}
			}
		})
	}
}

// A damaged record costs itself, not those behind it.
func TestDamagedJournal(t *testing.T) {
	spool, journal := spoolOfThree(t)
	data, err := os.ReadFile(journal)
	must(t, err)
	data[strings.LastIndex(string(data), `{"id":"1"`)+3] ^= 0x20
	must(t, os.WriteFile(journal, data, 0o600))
	var log quiet
	k, _ := local(t, spool, &log)
	ended := collect(t, k, "0", "1", "2")
	if ended["1"].Error != keeper.Lost || string(ended["2"].SmallOut) != "2\n" || string(ended["0"].SmallOut) != "0\n" {
		t.Errorf("%+v", ended)
	}
	if !strings.Contains(log.String(), "damaged") || strings.Contains(log.String(), "torn=true") {
		t.Errorf("log: %s", log.String())
	}
}

func TestForeignJournalIsLeftAlone(t *testing.T) {
	spool, journal := spoolOfThree(t)
	text := []byte("bramble spool 9\nwhatever a later version writes")
	must(t, os.WriteFile(journal, text, 0o600))
	_, err := keeper.Open(keeper.Options{Spool: spool, Host: newHost(spool)})
	if !fault.Is(err, fault.Conflict) {
		t.Errorf("%v", err)
	}
	if after, _ := os.ReadFile(journal); string(after) != string(text) {
		t.Errorf("it reads %q now", after)
	}
}

// Output that no task owns does not stay on the disk.
func TestOrphanedOutputIsRemoved(t *testing.T) {
	spool, _ := spoolOfThree(t)
	orphan := filepath.Join(spool, "output", "9_stdout")
	must(t, os.WriteFile(orphan, []byte("x"), 0o600))
	local(t, spool, io.Discard)
	if _, err := os.Stat(orphan); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
}

// On a full disk a start is refused before it is made, and an end waits for room.
func TestFullDisk(t *testing.T) {
	spool := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=256k", "bramble-test", spool).CombinedOutput(); err != nil {
		if os.Geteuid() == 0 {
			t.Fatalf("mount: %v: %s", err, out)
		}
		t.Skip("needs root, to mount a small disk")
	}
	t.Cleanup(func() { must(t, exec.Command("umount", spool).Run()) })
	var log quiet
	k, _ := local(t, spool, &log)
	ctx := t.Context()
	fifo := filepath.Join(t.TempDir(), "fifo")
	must(t, exec.Command("mkfifo", fifo).Run())
	must(t, k.Start(ctx, []keeper.Task{sh("1", "yes | head -c 10000; cat "+fifo)}))
	ballast := filepath.Join(spool, "ballast")
	fill(t, ballast)
	for i := 0; ; i++ { // what is left of the journal's last page
		s := sh(fmt.Sprint("2.", i), "true")
		if err := k.Start(ctx, []keeper.Task{s}); err != nil {
			if !fault.Is(err, fault.Full) {
				t.Errorf("full: %v", err)
			}
			break
		}
	}
	must(t, os.WriteFile(fifo, []byte("end\n"), 0))
	until(t, "the end to find no room", func() bool { return strings.Contains(log.String(), "could not be written down") })
	must(t, os.Remove(ballast))
	if s := collect(t, k, "1")["1"]; s.Stdout != 10_004 || !s.Exit.OK() || len(s.SmallOut) != 10_004 {
		t.Errorf("%+v", s)
	}
	big := run(t, k, sh("3", "yes | head -c 1000000"))
	if big.Stdout+big.Dropped != 1_000_000 || big.Stdout == 0 || big.Dropped == 0 {
		t.Errorf("too large for the disk: %+v", big)
	}
	if out := whole(t, k, "3", "stdout"); string(out) != strings.Repeat("y\n", int(big.Stdout+1)/2)[:big.Stdout] {
		t.Errorf("%d bytes of %d, or others", len(out), big.Stdout)
	}
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	for _, size := range []int{4096, 1} {
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		err = nil
	}
}
