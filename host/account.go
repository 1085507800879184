package host

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"bramble/fault"
)

// Account is a login of this machine.
type Account struct {
	Name   string
	UID    uint32
	GID    uint32
	Groups []uint32 // supplementary ones, the primary included
	Home   string
	Shell  string
}

// Env is what a login gives a program: HOME, USER, LOGNAME, SHELL and PATH.
func (a Account) Env() []string {
	return []string{"HOME=" + first(a.Home, "/"), "USER=" + a.Name, "LOGNAME=" + a.Name,
		"SHELL=" + first(a.Shell, "/bin/sh"), "PATH=" + defaultPath}
}

// defaultPath is searched when an environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// firstPerson is the least number of an account that belongs to a person; Debian and its kin count from here.
const firstPerson = 1000

// brambleAccount is the unprivileged account for users who have none on the machine.
const brambleAccount = "bramble"

// accountFor decides whose account a bramble user's work runs as.
func accountFor(user string, accounts map[string]Account) string {
	if a, ok := accounts[user]; ok && a.UID >= firstPerson && user != "nobody" {
		return user
	}
	if a, ok := accounts[brambleAccount]; ok && a.UID != 0 {
		return brambleAccount
	}
	return "nobody"
}

// accounts reads /etc/passwd and /etc/group under root, again when the last reading is some seconds old.
type accounts struct {
	root string

	mu     sync.Mutex
	read   time.Time
	byName map[string]Account
}

const accountsFresh = 5 * time.Second

func (c *accounts) all() map[string]Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byName == nil || time.Since(c.read) > accountsFresh {
		t := newTree(c.root)
		c.byName, c.read = parseAccounts(t.maybe("etc/passwd"), t.maybe("etc/group")), time.Now()
	}
	return c.byName
}

func (c *accounts) lookup(name string) (Account, error) {
	if a, ok := c.all()[name]; ok {
		return a, nil
	}
	return Account{}, fault.New(fault.NotFound, "no account %q on this machine", name).
		Hint("useradd --create-home %s", name)
}

// parseAccounts reads passwd (name:password:uid:gid:comment:home:shell) and group
// (name:password:gid:member,member). A system without files, such as one whose init is
// bramble, still has root and nobody.
func parseAccounts(passwd, group string) map[string]Account {
	found := map[string]Account{
		"root":   {Name: "root", Groups: []uint32{0}, Home: "/root", Shell: "/bin/sh"},
		"nobody": {Name: "nobody", UID: 65534, GID: 65534, Groups: []uint32{65534}, Home: "/", Shell: "/bin/sh"},
	}
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 7 || f[0] == "" || f[0][0] == '#' {
			continue
		}
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		found[f[0]] = Account{Name: f[0], UID: uint32(uid), GID: uint32(gid),
			Groups: []uint32{uint32(gid)}, Home: f[5], Shell: f[6]}
	}
	for line := range strings.Lines(group) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 4 {
			continue
		}
		gid, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			continue
		}
		for name := range strings.SplitSeq(f[3], ",") {
			if a, ok := found[name]; ok && uint32(gid) != a.GID {
				a.Groups = append(a.Groups, uint32(gid))
				found[name] = a
			}
		}
	}
	return found
}
