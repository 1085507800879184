package hostnet

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bramble/fault"
)

// Down ends every process of a lab with SIGKILL and removes its namespaces and links,
// also when it came up in part only. A lab of which nothing is there is down already.
func Down(ctx context.Context, lab string) error {
	if !isLabID(lab) {
		return fault.New(fault.Misused, "%q is not a lab's id", lab)
	}
	if err := killAll(ctx, lab); err != nil {
		return fmt.Errorf("ending the processes of lab %s: %w", lab, explain(err))
	}
	unlock, err := lockMachine(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := remove(lab); err != nil {
		return fmt.Errorf("removing lab %s: %w", lab, explain(err))
	}
	return nil
}

func killAll(ctx context.Context, lab string) error {
	names, err := namespacesOf(lab)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := signalAll(ctx, name, unix.SIGKILL); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// remove takes away the machine's link and all names; the nodes' links end with their namespaces.
func remove(lab string) error {
	var failed []error
	link, err := netlink.LinkByName(hostLink(lab))
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil && !isMissing(err) {
		failed = append(failed, err)
	}
	names, err := namespacesOf(lab)
	failed = append(failed, err)
	for _, name := range names {
		failed = append(failed, removeName(name))
	}
	return errors.Join(append(failed, unmountNames())...)
}
