package host

import (
	"cmp"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
)

// RealOptions says where a Real looks. The zero value is this machine.
type RealOptions struct {
	Root     string // folder that holds /proc, /sys and /etc; "" is "/"
	StateDir string // its file system is the one measured; it tells our tasks from another cluster's on this machine
	// GOARCH and GOARM are the binary's; "" is this binary's own.
	GOARCH, GOARM string
	// Links lists the interfaces that are up, without speed and default route; nil asks the kernel.
	Links func() ([]Link, error)
}

// Real is this machine. It works with and without root; what needs a right that is
// missing is left out and named in Facts.Missing or refused with fault.Denied.
type Real struct {
	starter
	opts     RealOptions
	accounts *accounts

	mu   sync.Mutex
	busy cpuTimes // at the previous Sample
}

var _ Host = (*Real)(nil)

// NewReal returns the machine under opts.Root. It starts nothing by itself; Close
// ends the threads that Start makes.
func NewReal(opts RealOptions) *Real {
	opts.Root = cmp.Or(opts.Root, "/")
	opts.GOARM = cmp.Or(opts.GOARM, buildSetting("GOARM"))
	opts.GOARCH = cmp.Or(opts.GOARCH, runtime.GOARCH)
	if opts.Links == nil {
		opts.Links = kernelLinks
	}
	h := &Real{opts: opts, accounts: &accounts{root: opts.Root}}
	h.starter.open(opts, h.accounts)
	return h
}

// Account looks up an account of this machine; fault.NotFound when there is none.
func (h *Real) Account(name string) (Account, error) { return h.accounts.lookup(name) }

// AccountFor names the account that a bramble user's work runs as: the machine's account
// of that name unless it is root's or the system's, else bramble, else nobody.
// Without root it is "", ourselves.
func (h *Real) AccountFor(user string) string {
	if os.Geteuid() != 0 {
		return ""
	}
	return accountFor(user, h.accounts.all())
}

// stateFolder is the nearest folder on the way to StateDir that exists.
func (h *Real) stateFolder() string {
	dir := cmp.Or(h.opts.StateDir, "/")
	for dir != "/" && dir != "." {
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

// kernelLinks asks the kernel rather than /sys, which shows another network
// namespace's interfaces unless it was mounted anew.
func kernelLinks() ([]Link, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var links []Link
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		links = append(links, Link{Name: i.Name, MAC: i.HardwareAddr.String(), Addrs: addresses(i)})
	}
	return links, nil
}

func addresses(i net.Interface) []string {
	found, _ := i.Addrs()
	var texts []string
	for _, a := range found {
		if ip, ok := a.(*net.IPNet); ok {
			texts = append(texts, ip.IP.String())
		}
	}
	return texts
}

func buildSetting(key string) string {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}
