package cli

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"bramble/artefact"
	"bramble/fault"
)

type pullCmd struct {
	On    string   `help:"Which nodes: all, node[01-16], model=pi3, a label; , or & and !." placeholder:"SEL"`
	As    string   `help:"root: read as root (admins)." placeholder:"root"`
	JSON  bool     `help:"A JSON object per line: kind (nodes, progress, skipped, ended), node, and what goes with it."`
	To    string   `help:"For jobs: folder for their files (default: the one that was submitted)." placeholder:"DIR"`
	Paths []string `arg:"" name:"path" help:"Files and folders there, with * and ? if quoted, relative to the home of your account there; at last the folder here, in which every node gets its own. Without --on: numbers of jobs whose files come back."`
}

func (pullCmd) Examples() string {
	return `bramble pull --on all /etc/hostname here
bramble pull --on 'node[1-4]' '/var/log/*.log' results/ logs
bramble pull 7            # what job 7 has made so far, into the folder that it was submitted from
`
}

func (c *pullCmd) Run(e *env) error {
	switch {
	case c.On == "" && areJobs(c.Paths):
		return pullJobs(e, c.Paths, c.To)
	case c.On == "":
		return fault.New(fault.Misused, "pull needs the nodes to copy from, or jobs by number").Hint("bramble pull --on all PATH DIR, or bramble pull 7")
	}
	last := len(c.Paths) - 1
	if last < 1 {
		return fault.New(fault.Misused, "pull needs a path on the nodes and a folder here").Hint("bramble pull --on '%s' %s .", c.On, c.Paths[0])
	}
	dir := c.Paths[last]
	cl, err := e.open()
	if err != nil {
		return err
	}
	defer cl.Close()
	return showCopies(e, c.JSON, cl.Copies().Pull(e.ctx, artefact.Pull{On: c.On, As: c.As, Paths: c.Paths[:last], Dir: dir, Cache: pullCache(dir)}))
}

// pullCache is where what an interrupted pull into dir got waits for the next one; what nobody came back for in a week goes.
func pullCache(dir string) string {
	base, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	base = filepath.Join(base, "bramble", "pull")
	old, _ := os.ReadDir(base)
	for _, d := range old {
		if info, err := d.Info(); err == nil && time.Since(info.ModTime()) > 7*24*time.Hour {
			os.RemoveAll(filepath.Join(base, d.Name()))
		}
	}
	return filepath.Join(base, fmt.Sprintf("%.12x", sha256.Sum256([]byte(absolute(dir)))))
}
