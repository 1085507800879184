package mpi

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"bramble/fault"
	"bramble/job"
)

func TestParseAgent(t *testing.T) {
	for words, want := range map[string]string{
		"-x node2 orted -mca ess env":         "node2: orted -mca ess env",
		"-x -l ann -p 22 -q node2 hostname":   "node2: hostname",
		"ann@node2 cd /tmp ; hydra_pmi_proxy": "node2: cd /tmp ; hydra_pmi_proxy",
		"-o BatchMode=yes -- node2 true -n":   "node2: true -n",
		"node2":                               "",
		"-l ann":                              "",
	} {
		host, line, err := ParseAgent(strings.Fields(words))
		if got := host + ": " + line; err == nil && got != want || err != nil && want != "" {
			t.Errorf("%q means %q, %v; want %q", words, got, err, want)
		}
	}
}

func good(node string) Found {
	return Found{Node: node, Arch: "amd64", Versions: map[Library]string{OpenMPI: "4.1.4"}, Program: "/bin/solve", Built: "amd64", Links: []Library{OpenMPI}}
}

func TestChoose(t *testing.T) {
	with := func(change func(*Found)) []Found {
		list := []Found{good("node1"), good("node2"), good("node3")}
		change(&list[1])
		return list
	}
	for name, c := range map[string]struct {
		asked Library
		nodes []Found
		want  string
	}{
		"all well":          {"", with(func(*Found) {}), ""},
		"library missing":   {"", with(func(f *Found) { f.Versions = nil }), "nothing was launched: node2 has no openmpi"},
		"other version":     {"", with(func(f *Found) { f.Versions = map[Library]string{OpenMPI: "5.0.1"} }), "different versions of openmpi: node[1,3] has 4.1.4; node2 has 5.0.1"},
		"wrong machine":     {"", with(func(f *Found) { f.Arch = "arm64" }), "node2 is arm64, and solve was built for amd64"},
		"program missing":   {"", with(func(f *Found) { f.Program, f.Links, f.Built = "", nil, "" }), "node2 has no program ./solve"},
		"shared object":     {"", with(func(f *Found) { f.Missing = []string{"libmpi.so.40"} }), "node2 lacks libmpi.so.40"},
		"asked for another": {MPICH, with(func(f *Found) {}), "node[1-3] has no mpich"},
		"none in common": {"", []Found{{Node: "a", Versions: map[Library]string{OpenMPI: "4"}}, {Node: "b", Versions: map[Library]string{MPICH: "4"}}},
			"no library of MPI in common: a has openmpi 4; b has mpich 4"},
	} {
		lib, err := Choose(c.asked, "./solve", c.nodes)
		switch {
		case c.want == "" && (err != nil || lib != OpenMPI):
			t.Errorf("%s: %s, %v", name, lib, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || fault.Of(err).Try == ""):
			t.Errorf("%s: %v; want %q and a hint", name, err, c.want)
		}
	}
}

func TestVersions(t *testing.T) {
	for said, want := range map[string][2]string{ // of Open MPI, of MPICH
		"mpirun.openmpi (OpenRTE) 4.1.4\n\nReport bugs to http://www.open-mpi.org/community/help/\n": {"4.1.4", ""},
		"mpirun (Open MPI) 4.1.4\n": {"4.1.4", ""},
		"prterun (PRRTE) 3.0.3\n":   {"3.0.3", ""},
		"HYDRA build details:\n    Version:                                 4.0.2\n": {"", "4.0.2"},
		"mpirun: cannot execute\n": {"", ""},
	} {
		for i, pattern := range []*regexp.Regexp{openVersion(), mpichVersion()} {
			got := ""
			if m := pattern.FindStringSubmatch(said); m != nil {
				got = m[1]
			}
			if got != want[i] {
				t.Errorf("%q is version %q of %s, want %q", said, got, []Library{OpenMPI, MPICH}[i], want[i])
			}
		}
	}
}

func TestFailure(t *testing.T) {
	for name, c := range map[string]struct {
		lib   Library
		lines string
		want  string
	}{
		"Open MPI, status": {OpenMPI, "[1,3]<stderr>:no such file\n  Process name: [[1234,1],3]\n  Exit code:    7\n", "rank 3 on node2 ended with status 7; it said last: no such file"},
		"Open MPI, signal": {OpenMPI, "mpirun noticed that process rank 1 with PID 55 on node node1 exited on signal 11 (Segmentation fault).\n", "rank 1 on node1 was ended by signal 11"},
		"MPICH, status":    {MPICH, "[2] oh no\n[2] " + deathMark + " 3\n=   PID 9 RUNNING AT node2\n=   EXIT CODE: 9\n", "rank 2 on node2 ended with status 3; it said last: oh no"},
		"MPICH, signal":    {MPICH, "[0] " + deathMark + " 139\n", "rank 0 on node1 was ended by signal 11"},
		"MPICH, abort":     {MPICH, "[2] application called MPI_Abort(MPI_COMM_WORLD, 9) - process 2\n[2] " + deathMark + " 9\n", "rank 2 on node2 called MPI_Abort with 9; it said last: application called MPI_Abort(MPI_COMM_WORLD, 9) - process 2"},
		"MPICH, lost node": {MPICH, "[2] last words\n[0] " + deathMark + " 143\n=   PID 9 RUNNING AT node1\n=   EXIT CODE: 15\nbramble: the connection to the step on node2 was lost: unexpected EOF\n", "the connection to the step on node2 was lost: unexpected EOF; it said last: [2] last words"},
		"no such host":     {MPICH, "bramble: \"node7\" is not in the allocation of job 1\ntry: one of node[1-2]\n[mpiexec@node1] error waiting for event\n", `"node7" is not in the allocation of job 1`},
		"nothing known":    {OpenMPI, "something else\n", ""},
	} {
		r := &record{places: []string{"node1", "node1", "node2", "node2"}}
		for line := range strings.Lines(c.lines) {
			rank, text := untag(c.lib, line)
			r.line(rank, strings.TrimRight(text, "\n"))
		}
		if got := r.failure(); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// lateWord is a file in which something is written after a while.
type lateWord struct {
	from time.Time
	text string
}

func (l *lateWord) Read(p []byte) (n int, err error) {
	if time.Now().After(l.from) {
		n = copy(p, l.text)
		l.text = l.text[n:]
	}
	if n == 0 {
		err = io.EOF
	}
	return n, err
}

// A launcher that has ended before those that it called could say why is waited for a while.
func TestToldLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &record{places: []string{"node1", "node2"}, last: map[int][]string{1: {"last words"}}}
		lost := "the connection to the step on node2 was lost: unexpected EOF"
		if got := r.later(&lateWord{time.Now().Add(time.Second), "bramble: " + lost + "\n"}); got != lost+"; it said last: [1] last words" {
			t.Errorf("after a while it is %q", got)
		}
		begun := time.Now()
		if got := (&record{}).later(&lateWord{}); got != "" || time.Since(begun) < laterWithin {
			t.Errorf("of nothing it is %q after %s", got, time.Since(begun))
		}
	})
}

func TestEnvironmentNamesEachVariableOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, v := range (Setting{Agent: "/a", Hosts: "/h", Machines: "/m", Network: "10.0.0.0/24", Interface: "eth0", Scratch: "/s", Root: true, Shell: "/bin/false"}).Environment() {
		name, value, ok := strings.Cut(v, "=")
		if seen[name] || !ok || value == "" {
			t.Errorf("%q", v)
		}
		seen[name] = true
	}
}

func TestNodesOfOneMachineShareNoScratch(t *testing.T) {
	env := Setting{Scratch: "/dev/shm/x", Shared: true}.Environment()
	if slices.ContainsFunc(env, func(v string) bool { return strings.HasSuffix(v, "tmpdir_base=/dev/shm/x") }) {
		t.Errorf("%q", env)
	}
	if got := Passed(env, "node2"); !slices.Contains(got, "OMPI_MCA_orte_tmpdir_base=/dev/shm/x.node2") {
		t.Errorf("%q", got)
	}
}

func TestPassed(t *testing.T) {
	if got := Passed([]string{"HOME=/", "HWLOC_COMPONENTS=-x", "HWLOCK=1", "HWLOC_XMLFILE="}, "n"); !slices.Equal(got, []string{"HWLOC_COMPONENTS=-x", "HWLOC_XMLFILE="}) {
		t.Errorf("%q", got)
	}
}

func TestNoise(t *testing.T) {
	line := "[node01:21075] plm:rsh: Warning: setpgid(21081,21081) failed in parent with errno=Permission denied(13)\n"
	if !noise(-1, line) || noise(2, line) || noise(-1, "plm:rsh: it failed") {
		t.Error("a rank's line, or one that means something, is dropped, or noise is not")
	}
}

func TestLists(t *testing.T) {
	hosts, machines := lists([]job.Peer{{Share: job.Share{Node: "a", Ranks: 2}}, {Share: job.Share{Node: "b", Ranks: 1}}})
	if hosts != "a slots=2\nb slots=1\n" || machines != "a:2\nb:1\n" {
		t.Errorf("%q, %q", hosts, machines)
	}
}

// Each two ranks meet exactly once, and nobody is in two pairs at a time.
func TestRounds(t *testing.T) {
	for n := range 20 {
		met := map[[2]int]int{}
		for _, round := range rounds(n) {
			busy := map[int]bool{}
			for _, pair := range round {
				if busy[pair[0]] || busy[pair[1]] || pair[0] >= pair[1] {
					t.Errorf("%d ranks: a round is %v", n, round)
				}
				busy[pair[0]], busy[pair[1]] = true, true
				met[pair]++
			}
		}
		if len(met) != n*(n-1)/2 {
			t.Errorf("%d ranks: %d pairs", n, len(met))
		}
	}
}

func TestVerdict(t *testing.T) {
	nodes := []string{"a", "b", "c", "d"}
	health := func(change func(*Pair)) Health {
		h := Health{Nodes: nodes, Sum: 10}
		for i, a := range nodes {
			for _, b := range nodes[i+1:] {
				p := Pair{A: a, B: b, Mbits: 94, Latency: 200 * time.Microsecond}
				change(&p)
				h.Pairs = append(h.Pairs, p)
			}
		}
		return h
	}
	for name, c := range map[string]struct {
		change func(*Pair)
		want   []string
	}{
		"well": {func(*Pair) {}, nil},
		"a 10 Mbit port": {func(p *Pair) {
			if p.B == "c" || p.A == "c" {
				p.Mbits = 9.4
			}
		}, []string{"c is slow towards every node: at best 9 of 94 Mbit/s; look at its cable and its port"}},
		"one pair": {func(p *Pair) {
			if p.A == "a" && p.B == "d" {
				p.Mbits = 20
			}
		}, []string{"a and d are slow: 20 Mbit/s and 200 µs"}},
		"cut": {func(p *Pair) {
			if p.A == "b" && p.B == "c" {
				p.Error = "no connection"
			}
		}, []string{"b and c do not reach each other: no connection"}},
	} {
		if got := health(c.change).Verdict(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
