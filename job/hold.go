package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A node's disk remembers what an attempt takes where its job's spec does not say it: its share of an allocation,
// what an exclusive one or generic resources come to. A later agent holds it as before.

const holdSuffix = ".hold"

// holdPath lies beside the attempt's folder.
func (n *Node) holdPath(k Key) string { return n.taskDir(k) + holdSuffix }

// usual reports whether an attempt takes what its job's spec says.
func (a *Attempt) usual(spec Spec) bool {
	return !a.Member && len(a.Shares) == 0 && len(a.Gres) == 0 && a.CPUs == max(1, spec.CPUs) && a.Memory == spec.Memory
}

// keepHold puts on disk what an attempt takes, if a later agent could not know it.
func (n *Node) keepHold(a Attempt, spec Spec) error {
	if a.usual(spec) {
		return nil
	}
	data, err := json.Marshal(a)
	if err == nil {
		err = os.WriteFile(n.holdPath(a.Key)+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(n.holdPath(a.Key)+".new", n.holdPath(a.Key))
	}
	if err != nil {
		return fmt.Errorf("note what attempt %s takes: %w", a.Key, err)
	}
	return nil
}

// readHold is what an earlier agent noted of an attempt; of one that takes what its spec says, that.
func (n *Node) readHold(k Key, spec Spec) (Attempt, error) {
	usual := Attempt{Key: k, CPUs: max(1, spec.CPUs), Memory: spec.Memory}
	data, err := os.ReadFile(n.holdPath(k))
	if errors.Is(err, fs.ErrNotExist) {
		return usual, nil
	}
	var a Attempt
	if err == nil {
		err = json.Unmarshal(data, &a)
	}
	if err != nil || a.Key != k {
		return usual, fmt.Errorf("read what attempt %s takes: %w", k, err)
	}
	return a, nil
}

// reserved is the shares of others' allocations that an earlier agent held. They are in no keeper's books.
func (n *Node) reserved() (list []Attempt, err error) {
	paths, err := filepath.Glob(filepath.Join(globbed(n.Dir), "*", "*"+holdSuffix))
	for _, path := range paths {
		k, bad := ParseKey(filepath.Base(filepath.Dir(path)) + "." + strings.TrimSuffix(filepath.Base(path), holdSuffix))
		if bad != nil {
			continue
		}
		if a, bad := n.readHold(k, Spec{}); bad == nil && a.Member {
			list = append(list, a)
		}
	}
	return list, err
}

// globbed is a path in which no character has a meaning for Glob.
func globbed(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// reserve makes a share of an allocation ready for steps, with the files that its job brings.
func (n *Node) reserve(ctx context.Context, a Attempt) {
	on, err := n.groundOf(ctx, a.Key)
	if err == nil {
		_, err = n.prepare(ctx, a, on)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil && !n.isKilled(a.Key):
		n.Log.Warn("a share of an allocation cannot be had here now", "task", a.Key.String(), "error", err)
		n.refuse(a.Key, err.Error())
	case !n.isReady(a.Key):
		n.refuse(a.Key, "it was ended before it had started")
	}
}

// vacate ends what runs in a share of an allocation, frees it and says so.
func (n *Node) vacate(k Key) {
	n.endSteps(k)
	n.refuse(k, "the allocation is over")
}
