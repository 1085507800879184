package direct

import (
	"net"
	"net/netip"
)

// quiet keeps a member from saying on the network that it has the service address: it answers only for addresses of the
// interface that was asked, and asks in the name of such ones. A front is kept by it from answering by its other interfaces.
var quiet = map[string]string{"all/arp_ignore": "1", "all/arp_announce": "2"}

// Holding is a member's half: the service address on its loopback.
type Holding struct {
	file string
	lock net.Listener
}

// Hold has this machine answer at the service address; file is where it is written what to undo. Packets come by the front.
func Hold(a netip.Addr, file string) (*Holding, error) {
	if err := CheckAddress(a); err != nil {
		return nil, err
	}
	held, err := lock("member")
	if err != nil {
		return nil, err
	}
	h := &Holding{file: file, lock: held}
	if _, err := begin(file, a, "lo", quiet, func() error { return nil }); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// Leave lets another process take over; the address stays.
func (h *Holding) Leave() error { return h.lock.Close() }

// Close has everything as it was before.
func (h *Holding) Close() error {
	defer h.lock.Close()
	left, err := readRecord(h.file)
	if left == nil || err != nil {
		return err
	}
	return left.undo(h.file)
}

// Release undoes what a process left that was killed, and reports whether there was anything.
func Release(file string) (undone bool, err error) {
	held, err := lock("member")
	if err != nil {
		return false, err
	}
	left, err := readRecord(file)
	if left == nil || err != nil {
		held.Close()
		return false, err
	}
	return true, (&Holding{file: file, lock: held}).Close()
}
