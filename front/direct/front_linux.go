package direct

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"bramble/fault"
)

// Front is the half that is where visitors come. Its methods may be called from many goroutines.
type Front struct {
	file string
	link *net.Interface
	lock net.Listener
	kept record

	mu    sync.Mutex
	spec  Spec
	slots [Slots]string // by name
	macs  []MAC         // in the kernel
}

// Start gives the interface the service address and loads the kernel's table; file is where it is written what to undo. What an
// earlier process left is taken over with its connections, or undone where it was for another address or interface.
func Start(ctx context.Context, file string, s Spec) (*Front, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	link, err := net.InterfaceByName(s.Interface)
	if err != nil || len(link.HardwareAddr) != 6 {
		return nil, fault.New(fault.NotFound, "%s is no interface of Ethernet here", s.Interface).Hint("--on eth0; ip -br link lists them")
	}
	if err := near(link, s); err != nil {
		return nil, err
	}
	held, err := lock("front")
	if err != nil {
		return nil, err
	}
	f := &Front{file: file, link: link, lock: held}
	if err := able(ctx, s, link); err != nil { // before anything is changed
		held.Close()
		return nil, err
	}
	drop := func() error { return nft(ctx, false, remove()) }
	if f.kept, err = begin(file, s.Address, s.Interface, quiet, drop); err == nil {
		err = f.load(ctx, s)
	}
	if err == nil {
		err = announce(link, s.Address)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// able is nil where nft and the kernel take what is needed, whatever table there is now.
func able(ctx context.Context, s Spec, link *net.Interface) error {
	return nft(ctx, true, remove()+frame(s, MAC(link.HardwareAddr)))
}

// load makes the table and fills it. Where there is another one of ours, of a form that is not this, it is replaced.
func (f *Front) load(ctx context.Context, s Spec) error {
	form := frame(s, MAC(f.link.HardwareAddr))
	left, err := f.leftMembers(ctx)
	if err == nil {
		err = nft(ctx, true, form)
	}
	if err != nil {
		return f.apply(ctx, remove()+form, s)
	}
	f.macs = left
	if up := func(m Member) bool { return !m.Down }; len(left) > 0 && !slices.ContainsFunc(s.Members, up) {
		f.spec = s // who is up is not known yet; until it is, visitors go where they went
		return nft(ctx, false, form)
	}
	return f.apply(ctx, form, s)
}

// leftMembers are those in the kernel's table.
func (f *Front) leftMembers(ctx context.Context) (all []MAC, err error) {
	found, err := f.list(ctx, "set", "members")
	if err != nil {
		return nil, err
	}
	counts, err := readCounts(found)
	for text := range counts {
		mac, err := net.ParseMAC(text)
		if err != nil || len(mac) != 6 {
			return nil, fmt.Errorf("%s is no hardware address: %w", text, err)
		}
		all = append(all, MAC(mac))
	}
	return all, err
}

// Set changes members and ports, all at one moment. Connections stay where they are, but for those of members that are gone
// or down: their visitors are told by another member that there is no such connection.
func (f *Front) Set(ctx context.Context, s Spec) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.Address != f.kept.Address || s.Interface != f.kept.Link {
		return fault.New(fault.Misused, "a front keeps its address and interface, %s and %s", f.kept.Address, f.kept.Link)
	}
	if err := cmp.Or(s.check(), near(f.link, s)); err != nil {
		return err
	}
	return f.apply(ctx, "", s)
}

func (f *Front) apply(ctx context.Context, before string, s Spec) error {
	slots := assign(s.Members, f.slots)
	if err := nft(ctx, false, before+fill(s, slots, f.macs)); err != nil {
		return err
	}
	f.spec, f.macs = s, nil
	for i, at := range slots {
		if f.slots[i] = ""; at >= 0 {
			f.slots[i] = s.Members[at].Name
		}
	}
	for _, m := range s.Members {
		if !m.Down {
			f.macs = append(f.macs, m.MAC)
		}
	}
	return nil
}

// near refuses members that are not on the front's segment, or are the front.
func near(link *net.Interface, s Spec) error {
	own, network, err := ownAddress(link, s.Address)
	if err != nil {
		return err
	}
	for _, m := range s.Members {
		switch {
		case m.Address == own || m.Address == s.Address || m.MAC == MAC(link.HardwareAddr):
			return fault.New(fault.Misused, "%s is the front itself, which is no member with direct return", m.Name).Hint("leave it out, or use the proxy: %s", Proxy)
		case !network.Contains(m.Address):
			return fault.New(fault.Misused, "%s is not in %s, the network of %s: there is a router between", m.Name, network, link.Name).Hint("members on the front's own segment, or the proxy: %s", Proxy)
		}
	}
	return nil
}

// sees refuses an interface that is not the one where the kernel looks at packets.
func (f *Front) sees(link *net.Interface) error {
	if link.Index != f.link.Index || link.HardwareAddr.String() != f.link.HardwareAddr.String() {
		return fault.New(fault.Failed, "%s is another one than it was, and the kernel's table went with that", link.Name).Hint("start it again")
	}
	return nil
}

// Counts is what went to each member. To count flows, all are read: ask every few seconds at most.
func (f *Front) Counts(ctx context.Context) ([]Count, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	text, err := f.list(ctx, "set", "members")
	if err != nil {
		return nil, err
	}
	counts, err := readCounts(text)
	if err != nil {
		return nil, err
	}
	if text, err = f.list(ctx, "map", "flows"); err != nil {
		return nil, err
	}
	flows, err := readFlows(text)
	if err != nil {
		return nil, err
	}
	all := make([]Count, len(f.spec.Members))
	for i, m := range f.spec.Members {
		all[i] = counts[m.MAC.String()]
		all[i].Name, all[i].Flows = m.Name, flows[m.MAC.String()]
	}
	return all, nil
}

func (f *Front) list(ctx context.Context, kind, name string) ([]byte, error) {
	return runNft(ctx, "", "-j", "list", kind, "netdev", table, name)
}

// Leave lets another process take over; the kernel goes on meanwhile.
func (f *Front) Leave() error { return f.lock.Close() }

// Close takes everything away again; visitors' connections end.
func (f *Front) Close() error {
	defer f.lock.Close()
	return undoFront(f.file)
}

// Undo takes away what a process left that was killed, and reports whether there was anything.
func Undo(file string) (undone bool, err error) {
	held, err := lock("front")
	if err != nil {
		return false, err
	}
	defer held.Close()
	left, err := readRecord(file)
	if err != nil {
		return false, err
	}
	if _, err := runNft(context.Background(), "", "list", "table", "netdev", table); left == nil && err != nil {
		return false, nil // no table, or nobody who could have made one
	}
	return true, undoFront(file)
}

// undoFront is not to be interrupted. The table goes first, for the address alone harms nobody.
func undoFront(file string) error {
	left, err := readRecord(file)
	if err != nil {
		return err
	}
	if err := nft(context.Background(), false, remove()); err != nil || left == nil {
		return err
	}
	return left.undo(file)
}

// nft has the kernel take in a text as one change, or only look at it.
func nft(ctx context.Context, check bool, text string) error {
	args := []string{"-f", "-"}
	if check {
		args = append([]string{"--check"}, args...)
	}
	_, err := runNft(ctx, text, args...)
	return err
}

// runNft runs Debian's program.
func runNft(ctx context.Context, text string, args ...string) ([]byte, error) {
	path, err := exec.LookPath("nft")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/nft"); err != nil { // where an account's PATH may not lead
			return nil, fault.New(fault.NotFound, "direct return needs the program nft, which is not here").
				Hint("sudo apt-get install nftables; or without it, the proxy: %s", Proxy)
		}
	}
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin, cmd.Stderr = strings.NewReader(text), &errs
	out, err := cmd.Output()
	if err == nil {
		return out, nil
	}
	said := strings.TrimSpace(errs.String())
	if strings.Contains(said, "not permitted") {
		return nil, fault.New(fault.Denied, "the kernel does not let this account change nftables").Hint("sudo bramble front …; or without root, the proxy: %s", Proxy)
	}
	line, _, _ := strings.Cut(said, "\n")
	return nil, fault.New(fault.Failed, "nft does not take what direct return needs: %w: %s", err, line).
		Hint("a kernel with nf_tables for netdev (that of Raspberry Pi OS has it), or the proxy: %s", Proxy)
}
