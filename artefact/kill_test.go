package artefact_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "bramble/artefact"
	"bramble/bus/bustest"
)

// childStore and childPlace make this binary a process that works until it is killed.
const (
	childStore = "BRAMBLE_TEST_STORE"
	childPlace = "BRAMBLE_TEST_PLACE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childStore); dir != "" {
		fmt.Println("error", storeChild(dir, os.Getenv(childPlace)))
		os.Exit(1)
	}
	bustest.Main(m)
}

// storeChild puts, resumes, pins, collects and places for ever, and says what it has done after each step.
func storeChild(dir, place string) error {
	ctx := context.Background()
	s, err := OpenStore(dir, Options{Grace: time.Nanosecond})
	if err != nil {
		return err
	}
	for {
		n := 1 + rand.N(300_000)
		data := noise(rand.Uint64(), n)
		ref := RefOf(data)
		name := fmt.Sprintf("pin.%d", rand.Uint32())
		if err := s.Pin(name, ref); err != nil {
			return err
		}
		if n%2 == 0 {
			_, _, err = s.Put(ctx, bytes.NewReader(data), "")
		} else {
			err = resumed(ctx, s, ref, data)
		}
		if err != nil {
			return err
		}
		fmt.Println("put", name, ref)
		if _, err := s.Collect(ctx); err != nil {
			return err
		}
		m := Manifest{Entries: []Entry{{Path: "f", Mode: 0o644, Size: int64(n), Ref: ref}}}
		if err := Place(ctx, s, m, place, PlaceOptions{Overwrite: true}); err != nil {
			return err
		}
		fmt.Println("placed", name, ref)
		if n%3 == 0 {
			fmt.Println("unpin", name, ref)
			if err := s.Unpin(name); err != nil {
				return err
			}
		}
	}
}

// resumed brings data in pieces, each by another writer.
func resumed(ctx context.Context, s *Store, ref Ref, data []byte) error {
	for {
		p, err := s.Resume(ctx, ref)
		if err != nil {
			return err
		}
		rest := data[p.Have():]
		if _, err := p.Append(ctx, bytes.NewReader(rest[:min(len(rest), 50_000)])); err != nil {
			return err
		}
		if p.Have() == int64(len(data)) {
			err := p.Commit()
			p.Close()
			return err
		}
		p.Close()
	}
}

func TestKilledAtAnyPoint(t *testing.T) {
	dir, place := t.TempDir(), t.TempDir()
	pinned := map[string]Ref{}  // acknowledged and not let go of
	maybe := map[string]bool{}  // letting go was begun
	placeable := map[Ref]bool{} // content that may stand at the destination
	for round := range 12 {
		for _, line := range runAndKill(t, dir, place, 1+rand.N(25)) {
			verb, rest, _ := strings.Cut(line, " ")
			name, ref, _ := strings.Cut(rest, " ")
			switch verb {
			case "put":
				pinned[name] = Ref(ref)
				placeable[Ref(ref)] = true
			case "unpin":
				maybe[name] = true
			case "error":
				t.Fatalf("round %d: the child failed: %s", round, rest)
			}
		}
		s, err := OpenStore(dir, Options{Grace: time.Nanosecond})
		must(t, err)
		c, err := s.Collect(t.Context())
		must(t, err)
		for name, ref := range pinned {
			if maybe[name] {
				continue
			}
			if err := s.Verify(t.Context(), ref); err != nil {
				t.Errorf("round %d: %s was acknowledged: %v", round, name, err)
			}
		}
		must(t, filepath.WalkDir(dir+"/blobs", func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				err = s.Verify(t.Context(), Ref(d.Name()))
			}
			return err
		}))
		if n := files(t, dir, "tmp"); n != 0 {
			t.Errorf("round %d: %d files left in tmp", round, n)
		}
		if data, err := os.ReadFile(place + "/f"); err == nil && !placeable[RefOf(data)] {
			t.Errorf("round %d: %d bytes of nothing stand at the destination", round, len(data))
		}
		var real int64
		must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.Contains(path, "/pins/") {
				return err
			}
			info, err := d.Info()
			real += info.Size()
			return err
		}))
		if s.Used() != real {
			t.Errorf("round %d: %d bytes used, %d there; %+v", round, s.Used(), real, c)
		}
		must(t, s.Close())
	}
	if len(pinned) == 0 {
		t.Error("the children did nothing")
	}
}

// runAndKill lets a child say so many lines, kills it a moment later, and returns all it said.
func runAndKill(t *testing.T, dir, place string, lines int) (said []string) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childStore+"="+dir, childPlace+"="+place)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	defer child.Wait()
	defer child.Process.Kill()
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if err == io.EOF {
			return said
		}
		must(t, err)
		if said = append(said, strings.TrimSuffix(line, "\n")); len(said) == lines {
			time.Sleep(rand.N(3 * time.Millisecond)) // any point will do: this decides only where the kill falls
			must(t, child.Process.Kill())
		}
	}
}
