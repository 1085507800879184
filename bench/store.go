package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"bramble/artefact"
)

const (
	storeTarget    = 0.8      // of the time that cp takes, over ours
	storeRSSTarget = 32 << 20 // bytes of the process, whatever the file's size
)

// storeVerb makes this program one that puts a file into a store, or gets one out of it: storeVerb put|get STORE FILE.
const storeVerb = "use-store"

// useStore does what the part store measures, in a process of its own, and says the most memory that this had, in bytes: what
// the kernel tells who waits for it counts that of the process that forked it, too.
func useStore(ctx context.Context, what, dir, file string) error {
	if err := putOrGet(ctx, what, dir, file); err != nil {
		return err
	}
	_, err := fmt.Println(kilobytes("/proc/self/status", "VmHWM"))
	return err
}

func putOrGet(ctx context.Context, what, dir, file string) error {
	s, err := artefact.OpenStore(dir, artefact.Options{})
	if err != nil {
		return err
	}
	defer s.Close()
	name := filepath.Join(filepath.Dir(dir), "ref")
	if what == "put" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		ref, _, err := s.Put(ctx, f, "")
		if err != nil {
			return err
		}
		return os.WriteFile(name, []byte(ref), 0o600)
	}
	ref, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	f, size, err := s.Open(artefact.Ref(ref))
	if err != nil {
		return err
	}
	f.Close()
	tree := artefact.Manifest{Entries: []artefact.Entry{{Path: filepath.Base(file), Mode: 0o644, Ref: artefact.Ref(ref), Size: size}}}
	return artefact.Place(ctx, s, tree, filepath.Dir(file), artefact.PlaceOptions{})
}

// store measures a node's store beside cp.
func (b *bench) store(ctx context.Context, s *section) error {
	s.title = fmt.Sprintf("A file of %d MiB into a store, and out of it", b.storeBytes>>20)
	s.how = fmt.Sprintf("A process puts a file of %d MiB of random bytes into a store, where it is named by its SHA-256, and another gets it out, proved again; `cp` copies the same file on the same disk. All have it on the disk at their end (`cp` with `sync FILE` after it). Wall time of whole processes.", b.storeBytes>>20)
	dir := filepath.Join(b.dir, "store")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "file")
	if err := randomFile(file, int64(b.storeBytes)); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	u := &storeUse{exe: exe, dir: dir, file: file}
	cp := &contender{name: "cp", run: u.cp}
	put := &contender{name: "put", run: func(ctx context.Context) (time.Duration, error) { return u.use(ctx, "put") }}
	get := &contender{name: "get", run: func(ctx context.Context) (time.Duration, error) { return u.use(ctx, "get") }}
	if err := interleave(ctx, b.runs, cp, put, get); err != nil {
		return err
	}
	for _, c := range []*contender{put, get} {
		ratio := median(cp.took).Seconds() / median(c.took).Seconds()
		s.add(row{what: c.name + ", cp's time over ours", figure: seconds(median(c.took)), peer: "cp: " + seconds(median(cp.took)), ratio: fmt.Sprintf("%.2f×", ratio),
			target: fmt.Sprintf("≥ %.1f×", storeTarget), verdict: judge(ratio >= storeTarget)})
	}
	s.add(row{what: "largest RSS of a process that puts or gets", figure: mebibytes(u.rss), target: "≤ " + mebibytes(storeRSSTarget), verdict: judge(u.rss <= storeRSSTarget)})
	return nil
}

// storeUse is one file that is put and gotten again and again, by processes of their own.
type storeUse struct {
	exe, dir, file string
	rss            int64 // the largest of any
}

func (u *storeUse) use(ctx context.Context, what string) (time.Duration, error) {
	store, file := filepath.Join(u.dir, "kept"), u.file
	if what == "put" {
		if err := os.RemoveAll(store); err != nil {
			return 0, err
		}
	} else {
		file = filepath.Join(u.dir, "out")
		os.Remove(file)
	}
	var peak int64
	took, err := timed(func() error {
		out, err := exec.CommandContext(ctx, u.exe, storeVerb, what, store, file).Output()
		if err == nil {
			_, err = fmt.Sscan(string(out), &peak)
		}
		return err
	})
	u.rss = max(u.rss, peak)
	return took, err
}

func (u *storeUse) cp(ctx context.Context) (time.Duration, error) {
	to := filepath.Join(u.dir, "copy")
	os.Remove(to)
	return timed(func() error {
		return said(exec.CommandContext(ctx, "sh", "-c", `cp "$1" "$2" && sync "$2"`, "sh", u.file, to))
	})
}

// said runs a command, and takes what it printed into its error.
func said(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", cmd.Path, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func randomFile(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyN(f, rand.Reader, size); err != nil {
		return err
	}
	return f.Sync()
}
