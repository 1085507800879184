package direct

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"bramble/fault"
	hostnet "bramble/host/net"
	"bramble/trust"
)

// record is what undo needs to know. It is on disk before anything is changed.
type record struct {
	Boot     string            `json:"boot"` // of the kernel that was changed: another one knows nothing of it
	Address  netip.Addr        `json:"address"`
	Link     string            `json:"link"`     // that has the address
	Had      bool              `json:"had"`      // it had it before
	Settings map[string]change `json:"settings"` // below /proc/sys/net/ipv4/conf
}

// change is a setting before and after.
type change struct{ Before, After string }

const settingsDir = "/proc/sys/net/ipv4/conf/"

func thisBoot() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text)), err
}

// readRecord is what an earlier process left, nil if it left nothing that this kernel knows of.
func readRecord(file string) (*record, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fault.New(fault.Failed, "%s, which says what to undo, is damaged: %w", file, err).
			Hint("ip -br addr and nft list ruleset show what is there; then remove the file")
	}
	boot, err := thisBoot()
	if err != nil {
		return nil, err
	}
	if r.Boot != boot {
		return nil, os.Remove(file)
	}
	return &r, nil
}

// write replaces the file, whole at any moment, and on disk.
func (r record) write(file string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return trust.WriteFile(file, text)
}

// newRecord looks at what is there before a change.
func newRecord(a netip.Addr, link string, settings map[string]string) (r record, err error) {
	r = record{Address: a, Link: link, Settings: map[string]change{}}
	if r.Boot, err = thisBoot(); err != nil {
		return r, err
	}
	if r.Had, err = has(link, a); err != nil {
		return r, err
	}
	for name, after := range settings {
		before, err := os.ReadFile(settingsDir + name)
		if err != nil {
			return r, err
		}
		r.Settings[name] = change{strings.TrimSpace(string(before)), after}
	}
	return r, nil
}

func has(link string, a netip.Addr) (bool, error) {
	l, err := net.InterfaceByName(link)
	if err != nil {
		return false, fault.New(fault.NotFound, "there is no interface %s", link).Hint("ip -br link lists them")
	}
	all, err := l.Addrs()
	for _, other := range all {
		if p, err := netip.ParsePrefix(other.String()); err == nil && p.Addr().Unmap() == a {
			return true, nil
		}
	}
	return false, err
}

// do makes the change: settings first, so that nobody hears of the address who should not.
func (r record) do() error {
	for name, c := range r.Settings {
		if err := os.WriteFile(settingsDir+name, []byte(c.After), 0); err != nil {
			return explain(err)
		}
	}
	if r.Had {
		return nil
	}
	_, err := hostnet.AddAddress(r.Link, r.Address)
	return explain(err)
}

// undo takes it back and removes the file. What somebody else has set meanwhile stays.
func (r record) undo(file string) error {
	if !r.Had {
		if err := hostnet.RemoveAddress(r.Link, r.Address); err != nil {
			return explain(err)
		}
	}
	for name, c := range r.Settings {
		now, err := os.ReadFile(settingsDir + name)
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(now)) != c.After || c.Before == c.After {
			continue
		}
		if err := os.WriteFile(settingsDir+name, []byte(c.Before), 0); err != nil {
			return explain(err)
		}
	}
	return os.Remove(file)
}

// lock keeps two processes from one part in a network namespace. The kernel lets go of it with the process.
func lock(part string) (net.Listener, error) {
	l, err := net.Listen("unix", "@bramble-direct-"+part)
	if err != nil {
		return nil, fault.New(fault.Conflict, "direct return is at work on this machine already, as %s: %w", part, err).
			Hint("end the process that does it: ss -xlp src unix:@bramble-direct-%s", part)
	}
	return l, nil
}

// begin makes a change that undo can take back. What an earlier process left is taken over where it is the same, else undone
// after whatever else it left.
func begin(file string, a netip.Addr, link string, settings map[string]string, foreign func() error) (r record, err error) {
	left, err := readRecord(file)
	switch {
	case err != nil:
		return r, err
	case left != nil && left.Address == a && left.Link == link:
		return *left, left.do()
	case left != nil:
		if err := errors.Join(foreign(), left.undo(file)); err != nil {
			return r, fmt.Errorf("undoing what was left: %w", err)
		}
	}
	if r, err = newRecord(a, link, settings); err != nil {
		return r, err
	}
	if err := r.write(file); err != nil {
		return r, explain(err)
	}
	return r, r.do()
}
