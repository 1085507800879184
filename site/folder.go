package site

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"bramble/artefact"
	"bramble/fault"
	"bramble/host"
)

// releaseFolder is where a release is laid out that another program serves.
func releaseFolder(s Spec, id artefact.Ref) string {
	return path.Join(s.Folder, "releases", string(id)) + "/"
}

// lay lays a release out, unless it is the one that this node has left there.
func (h *hosted) lay(ctx context.Context, o stageOrder, m artefact.Manifest) error {
	if kept := h.keptNow(); kept.Live.ID == o.Release.ID && kept.Spec.Folder == o.Spec.Folder {
		return nil
	}
	l := h.n.linked()
	if l == nil {
		return errHeadAway
	}
	return l.Files.Lay(ctx, o.Spec.User, o.Spec.As, o.Release.ID, m, releaseFolder(o.Spec, o.Release.ID))
}

var errHeadAway = fault.New(fault.Unreachable, "the head is away")

// pointScript has current mean another release by one rename, and removes releases that are not kept.
const pointScript = `cd -- "$1" && ln -sfn "releases/$2/files" .current.new && mv -Tf .current.new current || exit
shift 1
for dir in releases/*; do
	keep=no
	for id; do [ "$dir" = "releases/$id" ] && keep=yes; done
	[ $keep = yes ] || rm -rf -- "$dir"
done`

const (
	// pointWithin is how long the swap of a folder may take, and execWithin the command that follows.
	pointWithin = time.Minute
	execWithin  = 5 * time.Minute
	maxOutput   = 2000 // bytes of what a command says that are kept
)

// handOver makes a release in the folder the current one, and runs the command. What the command says when it fails is returned:
// the release is live all the same.
func (h *hosted) handOver(ctx context.Context, r *ready, w wanted) (complaint string, err error) {
	kept := h.keptNow()
	h.n.mu.Lock()
	h.n.doors.leave(h)
	h.n.mu.Unlock()
	if kept.Seq == w.Seq {
		complaint = kept.Error
	} else {
		keep := []string{w.Spec.Folder, string(w.Live.ID)}
		for _, id := range w.Keep {
			keep = append(keep, string(id))
		}
		args := append([]string{"/bin/sh", "-c", pointScript, "sh"}, keep...)
		if err := h.do(ctx, w.Spec, args, "/", pointWithin); err != nil {
			return "", fault.New(fault.Failed, "%s: %w", path.Join(w.Spec.Folder, "current"), err)
		}
		if w.Spec.Exec != "" {
			if err := h.do(ctx, w.Spec, []string{"/bin/sh", "-c", w.Spec.Exec}, w.Spec.Folder, execWithin); err != nil {
				complaint = clip(fmt.Sprintf("%s: %v", w.Spec.Exec, err))
			}
		}
	}
	h.n.mu.Lock()
	defer h.n.mu.Unlock()
	h.swap(r, w.Spec, nil)
	return complaint, nil
}

// do runs a command with the rights of the account of who published; what it says is part of its error.
func (h *hosted) do(ctx context.Context, s Spec, args []string, dir string, within time.Duration) error {
	if os.Geteuid() != 0 && s.As != "" {
		return fault.New(fault.Denied, "the agent does not run as root, so nothing can be done as root there")
	}
	l := h.n.linked()
	if l == nil {
		return errHeadAway
	}
	account := host.Account{Home: os.Getenv("HOME")}
	name := cmp.Or(s.As, l.Accounts.AccountFor(s.User))
	if name != "" {
		var err error
		if account, err = l.Accounts.Account(name); err != nil {
			return err
		}
	}
	said, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer said.Close()
	proc, err := l.Starter.Start(host.Command{ID: "site." + h.name, Args: args, Env: account.Env(), Dir: dir, User: name, Stdout: out, Stderr: out})
	out.Close()
	if err != nil {
		return err
	}
	var text bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for {
			n, err := said.Read(buf)
			text.Write(buf[:min(n, max(0, maxOutput-text.Len()))])
			if err != nil {
				return
			}
		}
	}()
	ctx, stop := context.WithTimeout(ctx, within)
	defer stop()
	forget := context.AfterFunc(ctx, func() { proc.Kill() })
	exit := proc.Wait()
	forget()
	said.SetReadDeadline(time.Now().Add(250 * time.Millisecond)) // a daemon that it left behind may hold the pipe for ever
	<-read
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("it did not end within %s", within)
	case exit.Code == 0 && exit.Signal == "":
		return nil
	}
	return fmt.Errorf("it ended with %s: %s", ending(exit), cmp.Or(strings.TrimSpace(text.String()), "it said nothing"))
}

func ending(exit host.Exit) string {
	if exit.Signal != "" {
		return "signal " + exit.Signal
	}
	return fmt.Sprintf("status %d", exit.Code)
}

// clip is text in one line, not too long for a report.
func clip(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if len(text) > maxOutput {
		text = strings.ToValidUTF8(text[:maxOutput], "") + "…"
	}
	return text
}
