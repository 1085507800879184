package job

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"bramble/fault"
	"bramble/host"
)

// What a job makes lies in its folder on one node. A step begins on every node in the same place below the job's folder as
// the process that starts it, and the program that it names, which the job may have just built, goes ahead of it.

// DirVar is the variable that names the job's folder on a node.
const DirVar = "BRAMBLE_DIR"

// below is a path as seen from the job's folder here; false for one outside of it.
func (in Inside) below(path string) (string, bool) {
	if in.Dir == "" {
		return "", false
	}
	top, err := filepath.EvalSymlinks(in.Dir)
	if err != nil {
		return "", false
	}
	if path, err = filepath.Abs(path); err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return "", false
	}
	rel, err := filepath.Rel(top, path)
	return rel, err == nil && filepath.IsLocal(rel)
}

// here is where this process is, as seen from the job's folder; "" when it is outside of it.
func (in Inside) here() string {
	if rel, ok := in.below("."); ok && rel != "." {
		return rel
	}
	return ""
}

// cargo is a program on its way to other nodes.
type cargo struct {
	path string // here
	to   string // below the job's folder
	mode fs.FileMode
	sum  string // SHA-256 in hexadecimal
}

// came reports whether a file is here since before the allocation's command began: it came with the job, to every node.
// What has been noted of the allocation was noted in between; the time at which a file changed is the kernel's own.
func (in Inside) came(file fs.FileInfo) bool {
	hold, err := os.Stat(strings.TrimSuffix(in.Socket, doorSuffix) + holdSuffix)
	return err == nil && host.Changed(file).Before(hold.ModTime())
}

// cargo is what has to go ahead of a step that runs program, which is a path; nil when it is none of the job's files, or
// came with the job.
func (in Inside) cargo(program string) (*cargo, error) {
	if !strings.Contains(program, "/") {
		return nil, nil
	}
	to, ok := in.below(program)
	if !ok {
		return nil, nil
	}
	f, err := os.Open(program)
	if err != nil {
		return nil, nil // the step says what is wrong with it
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || in.came(info) {
		return nil, nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return nil, fault.New(fault.Failed, "read %s: %w", program, err)
	}
	return &cargo{path: program, to: to, mode: info.Mode().Perm(), sum: hex.EncodeToString(sum.Sum(nil))}, nil
}

// Ship brings a program of the job's to other nodes of the allocation where it is not the same already.
func (in Inside) Ship(ctx context.Context, program string, nodes []string) error {
	p, err := in.cargo(program)
	if p == nil || err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, node := range nodes {
		if node != in.Node {
			group.Go(func() error { return in.deliver(ctx, p, node) })
		}
	}
	return group.Wait()
}

const (
	isSame  = `[ -x "$1" ] && sum=$(sha256sum <"$1") && [ "${sum%% *}" = "$2" ]`
	replace = `mkdir -p -- "$(dirname -- "$1")" && cat >"$1.$$" && chmod "$2" "$1.$$" && mv -f -- "$1.$$" "$1"`
)

func (in Inside) deliver(ctx context.Context, p *cargo, node string) error {
	sh := func(script, arg string, stdin io.Reader) (bool, string, error) {
		var said bytes.Buffer
		exit, err := in.Run(ctx, StepCommand{Node: node, Args: []string{"/bin/sh", "-c", script, "sh", p.to, arg}}, StepFiles{Stdin: stdin, Stderr: &said})
		return exit.OK(), strings.TrimSpace(said.String()), err
	}
	same, _, err := sh(isSame, p.sum, nil)
	if same || err != nil {
		return err
	}
	f, err := os.Open(p.path)
	if err != nil {
		return fault.New(fault.Failed, "bring %s to %s: %w", p.path, node, err)
	}
	defer f.Close()
	done, said, err := sh(replace, fmt.Sprintf("%o", p.mode), f)
	if err == nil && !done {
		err = fault.New(fault.Failed, "bring %s to %s: %s", p.path, node, said)
	}
	return err
}
