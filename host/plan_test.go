package host

import (
	"maps"
	"reflect"
	"slices"
	"testing"
)

func TestFamilyOfRevision(t *testing.T) {
	for code, want := range map[string]string{
		"0002": "pi1", "000f": "pi1", "0010": "pi1", "0011": "cm1", "0014": "cm1", "0015": "pi1",
		"1000002": "pi1", // warranty void
		"000a":    "", "0000": "", "0100": "", "": "", "xyz": "",
		"900021": "pi1", "900032": "pi1", "a21041": "pi2", "a02042": "pi2", "900061": "cm1",
		"a02082": "pi3", "2a02082": "pi3", "a020d4": "pi3", "9020e1": "pi3", // 3B, warranty void, 3B+, 3A+
		"920093": "pizero", "9000c1": "pizero", "902120": "pizero2",
		"a220a0": "cm3", "a02100": "cm3", "d03140": "cm4", "e04180": "cm5", "b041a0": "cm5",
		"c03115": "pi4", "c03130": "pi400", "e04171": "pi5", "e04190": "pi500",
	} {
		if got := familyOfRevision(code); got != want {
			t.Errorf("%q is %q, want %q", code, got, want)
		}
	}
}

func TestIdentify(t *testing.T) {
	cases := []struct {
		what string
		e    evidence
		want board
	}{
		{"a Pi newer than the table, told by its text",
			evidence{cpu: map[string]string{"Revision": "e0ff00"}, model: "Raspberry Pi 5 Model B Rev 9.0", compatible: []string{"raspberrypi,5-model-b"}},
			board{family: "pi5", name: "Raspberry Pi 5 Model B Rev 9.0", revision: "e0ff00"}},
		{"a compute module by text", evidence{model: "Raspberry Pi Compute Module 4 Rev 1.0"},
			board{family: "cm4", name: "Raspberry Pi Compute Module 4 Rev 1.0"}},
		{"a Pi Zero 2 by text", evidence{model: "Raspberry Pi Zero 2 W Rev 1.0"}, board{family: "pizero2", name: "Raspberry Pi Zero 2 W Rev 1.0"}},
		{"an old kernel without a device tree",
			evidence{cpu: map[string]string{"Hardware": "BCM2708", "Revision": "0002", "Serial": "000000000abc0ab1"}},
			board{family: "pi1", name: "BCM2708", revision: "0002", serial: "000000000abc0ab1"}},
		{"an Odroid whose revision would be a Pi's",
			evidence{cpu: map[string]string{"Hardware": "ODROID-C1", "Revision": "000a", "Serial": "1b00000000000000"}},
			board{family: "odroid", name: "ODROID-C1", serial: "1b00000000000000"}},
		{"an Odroid by its maker alone", evidence{model: "C4", compatible: []string{"hardkernel,c4", "amlogic,sm1"}}, board{family: "odroid", name: "C4"}},
		{"an Orange Pi of the maker's kernel", evidence{model: "OrangePi 3 LTS", compatible: []string{"allwinner,sun50i-h6"}}, board{family: "orangepi", name: "OrangePi 3 LTS"}},
		{"a virtual ARM machine", evidence{model: "linux,dummy-virt", compatible: []string{"linux,dummy-virt"}}, board{family: "unknown", name: "linux,dummy-virt"}},
		{"a PC", evidence{cpu: map[string]string{"vendor_id": "AuthenticAMD", "model name": "AMD EPYC"}}, board{family: "x86", name: "AMD EPYC"}},
		{"nothing at all", evidence{}, board{family: "unknown"}},
	}
	for _, c := range cases {
		if got := identify(c.e); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.what, got, c.want)
		}
	}
}

func TestArchOf(t *testing.T) {
	cases := []struct{ goarch, goarm, features, want string }{
		{"amd64", "", "", "amd64"},
		{"arm64", "", "fp asimd", "arm64"},
		{"arm", "6", "half thumb fastmult vfp edsp java tls", "armv6"},
		{"arm", "6", "half thumb fastmult vfp edsp neon vfpv3 tls", "armv7"},
		{"arm", "6", "fp asimd evtstrm crc32 cpuid", "armv7"}, // 64-bit kernel
		{"arm", "6", "", "armv6"},
		{"arm", "7", "", "armv7"},
		{"arm", "7,hardfloat", "", "armv7"},
		{"arm", "", "", "armv6"},
		{"riscv64", "", "", "riscv64"},
	}
	for _, c := range cases {
		cpu := map[string]string{"Features": c.features, "CPU architecture": "7"}
		if got := archOf(c.goarch, c.goarm, cpu); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
}

func TestAccountFor(t *testing.T) {
	machine := map[string]Account{
		"root": {Name: "root"}, "nobody": {Name: "nobody", UID: 65534}, "postgres": {Name: "postgres", UID: 101},
		"ada": {Name: "ada", UID: 1000}, "toor": {Name: "toor", UID: 0},
	}
	withBramble := maps.Clone(machine)
	withBramble["bramble"] = Account{Name: "bramble", UID: 996}
	rooted := maps.Clone(machine)
	rooted["bramble"] = Account{Name: "bramble"}
	cases := []struct {
		user     string
		accounts map[string]Account
		want     string
	}{
		{"ada", machine, "ada"},
		{"ada", withBramble, "ada"},
		{"grace", machine, "nobody"},
		{"grace", withBramble, "bramble"},
		{"root", machine, "nobody"},
		{"root", withBramble, "bramble"},
		{"toor", withBramble, "bramble"},
		{"postgres", withBramble, "bramble"},
		{"nobody", withBramble, "bramble"},
		{"bramble", withBramble, "bramble"},
		{"grace", rooted, "nobody"}, // an account with root's number is root
		{"", machine, "nobody"},
		{"ada", nil, "nobody"},
	}
	for _, c := range cases {
		if got := accountFor(c.user, c.accounts); got != c.want {
			t.Errorf("%q: got %q, want %q", c.user, got, c.want)
		}
	}
}

func TestParseAccounts(t *testing.T) {
	got := parseAccounts("root:x:0:0:root:/root:/bin/bash\n# no account\n+::::::\nada:x:1000:1000:Ada,,,:/home/ada:/bin/zsh\nbad:x:one:1:::\nshort:x\n",
		"video:x:44:ada,grace\nada:x:1000:ada\ngpio:x:993:ada\nbad:x:y:ada\n")
	want := Account{Name: "ada", UID: 1000, GID: 1000, Groups: []uint32{1000, 44, 993}, Home: "/home/ada", Shell: "/bin/zsh"}
	if !reflect.DeepEqual(got["ada"], want) {
		t.Errorf("got %+v", got["ada"])
	}
	if len(got) != 3 || got["nobody"].UID != 65534 {
		t.Errorf("got %v", slices.Sorted(maps.Keys(got)))
	}
}

func TestTreeOf(t *testing.T) {
	run := func(pid, parent, session int) proc {
		return proc{pid: pid, parent: parent, group: session, session: session, state: 'S'}
	}
	zombie := run(13, 10, 10)
	zombie.state = 'Z'
	all := []proc{run(1, 0, 1), run(5, 1, 5), run(10, 5, 10), run(11, 10, 10), run(12, 11, 12), zombie,
		run(20, 5, 20), run(30, 1, 30), run(31, 30, 31), run(40, 1, 10)}
	marked := func(pid int) bool { return pid == 30 || pid == 1 || pid == 5 } // the last two must not count
	cases := []struct {
		what   string
		leader int
		reaped bool
		all    []proc
		want   []int
	}{
		{"leader, child, grandchild in a session of its own, daemon by mark and its child, orphan in the session", 10, false, all, []int{10, 11, 12, 30, 31, 40}},
		{"after its end, the number unused", 10, true, slices.DeleteFunc(slices.Clone(all), func(p proc) bool { return p.pid == 10 }), []int{11, 12, 30, 31, 40}},
		{"after its end, the number used again", 10, true, all, []int{30, 31}},
		{"none", 99, true, []proc{run(1, 0, 1)}, nil},
		{"no leader", 0, true, all, []int{30, 31}},
		{"init as leader", 1, false, all, []int{30, 31}},
		{"no leader, and a mark on init and on ourselves", 0, true, []proc{run(1, 0, 0), run(2, 0, 0), run(5, 1, 5), run(6, 5, 6)}, nil},
	}
	for _, c := range cases {
		if got := treeOf(c.all, c.leader, 5, c.reaped, marked); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.what, got, c.want)
		}
	}
}

func TestMarks(t *testing.T) {
	id, scope, owner, ok := parseMark(markFor("7.3.1", "0a1b2c3d", "12-3456-abcdef"))
	if id != "7.3.1" || scope != "0a1b2c3d" || owner != "12-3456-abcdef" || !ok {
		t.Error(id, scope, owner, ok)
	}
	if _, _, _, ok := parseMark("7.3.1"); ok {
		t.Error("a mark without scope and owner was taken")
	}
	if scopeOf("/a") == scopeOf("/b") {
		t.Error("two state folders have the same scope")
	}
	got := withMark([]string{"A=1", "BRAMBLE_TASK=other", "B=2"}, "mine")
	if !slices.Equal(got, []string{"A=1", "B=2", "BRAMBLE_TASK=mine"}) {
		t.Error(got)
	}
	for id, want := range map[string]bool{"7.3.1": true, "run-ab": true, "": false, "..": false, "a/b": false, "A": false, "a b": false} {
		if validID(id) != want {
			t.Errorf("%q: want %v", id, want)
		}
	}
}

func TestFindGround(t *testing.T) {
	anywhere := func(string) bool { return true }
	cases := []struct {
		board    string
		root     bool
		writable func(string) bool
		version  int
		unified  string
		memory   string
	}{
		{"pi4", true, anywhere, 2, "testdata/pi4/sys/fs/cgroup", ""},
		{"pi4", false, anywhere, 2, "testdata/pi4/sys/fs/cgroup/system.slice/bramble.service", ""},
		{"pi4", false, func(string) bool { return false }, 0, "", ""},
		{"orangepi", true, anywhere, 1, "", "testdata/orangepi/sys/fs/cgroup/memory"},
		{"orangepi", false, anywhere, 1, "", "testdata/orangepi/sys/fs/cgroup/memory/system.slice/bramble.service"},
	}
	for _, c := range cases {
		root := "testdata/" + c.board
		g := findGround(newTree(root), root, c.root, c.writable)
		if version, _ := g.limits(); version != c.version || g.unified != c.unified || g.v1["memory"] != c.memory {
			t.Errorf("%+v: got %+v", c, g)
		}
	}
}

func TestParseOwnGroups(t *testing.T) {
	got := parseOwnGroups("5:cpu,cpuacct:/a\n1:name=systemd:/b\n0::/system.slice/bramble.service/bramble/self\nodd\n")
	want := map[string]string{"cpu": "/a", "cpuacct": "/a", "name=systemd": "/b", "": "/system.slice/bramble.service"}
	if !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestCanCloneInto(t *testing.T) {
	for release, want := range map[string]bool{"6.6.51+rpt-rpi-v8": true, "5.7.0": true, "5.6.19": false, "5.10": true,
		"4.19.66-v7+": false, "6.1+": true, "": false, "odd": false} {
		if canCloneInto(release) != want {
			t.Errorf("%q: want %v", release, want)
		}
	}
}
