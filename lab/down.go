package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"bramble/artefact"
	"bramble/fault"
	"bramble/host"
	hostnet "bramble/host/net"
)

// downPatience is how long agents may take to end before they are killed.
const downPatience = 3 * time.Second

// Down ends every process of the lab, removes its network and its files, also when it came up in part
// only or its maker crashed. A lab of which nothing is there is down already.
func (l *Lab) Down(ctx context.Context) error {
	unlock, err := l.lock()
	if err == nil {
		defer unlock()
	} else if !fault.Is(err, fault.NotFound) {
		return err
	}
	r, err := l.read()
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	if err := (marked{l.State}).end(ctx, r.names()...); err != nil {
		return err
	}
	if runtime.GOOS == "linux" && os.Geteuid() == 0 {
		if err := hostnet.Down(ctx, hostnet.ID(l.State)); err != nil {
			return err
		}
	}
	return l.remove(r)
}

// remove takes away the files that the record names, and the folder if it was made for them.
func (l *Lab) remove(r record) error {
	if r.ID == "" {
		return nil // there was none
	}
	var failed []error
	for _, name := range append(r.names(), clientFile) {
		failed = append(failed, host.UnlayerBelow(l.path(name)), os.RemoveAll(l.path(name)))
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("removing the lab's files: %w", err)
	}
	if err := os.Remove(l.path(recordFile)); err != nil || !r.Made {
		return err
	}
	os.Remove(l.path(artefact.IgnoreFile))
	os.Remove(l.State) // unless somebody put something in
	return nil
}
