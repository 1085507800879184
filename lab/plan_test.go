package lab

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"bramble/fault"
)

func TestNames(t *testing.T) {
	for nodes, want := range map[int]string{1: "head node1", 9: "head node1 … node9", 10: "head node01 … node10", 64: "head node01 … node64", 100: "head node001 … node100"} {
		got := names(nodes)
		text := strings.Join(got, " ")
		if nodes > 1 {
			text = got[0] + " " + got[1] + " … " + got[nodes]
		}
		if text != want || len(got) != nodes+1 {
			t.Errorf("%d nodes: %v", nodes, got)
		}
	}
}

func TestCheck(t *testing.T) {
	for name, test := range map[string]struct {
		options   Options
		netns, ok bool
	}{
		"plain":              {Options{State: "d", Nodes: 4}, false, true},
		"no folder":          {Options{Nodes: 4}, true, false},
		"no nodes":           {Options{State: "d"}, true, false},
		"too many":           {Options{State: "d", Nodes: maxNodes + 1}, true, false},
		"shaped":             {Options{State: "d", Nodes: 4, Link: 1e8}, true, true},
		"shaped on loopback": {Options{State: "d", Nodes: 4, Link: 1e8}, false, false},
	} {
		if err := test.options.check(test.netns); (err == nil) != test.ok || !test.ok && !fault.Is(err, fault.Misused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPick(t *testing.T) {
	all := names(12)
	for list, want := range map[string]any{
		"head": []string{"head"}, "node[03-05],head": []string{"node03", "node04", "node05", "head"},
		"node3": fault.NotFound, "node[11-13]": fault.NotFound, "": fault.Misused, "node[": fault.Misused,
	} {
		got, err := pick(all, list)
		if code, isCode := want.(fault.Code); isCode && !fault.Is(err, code) || !isCode && !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, %v", list, got, err)
		}
	}
}

func TestChoosePorts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	ports, err := choosePorts(r, func(port int) bool { return port%2 == 0 })
	if err != nil || ports[0] == ports[1] || ports[1] == ports[2] || ports[0] == ports[2] {
		t.Errorf("%v, %v", ports, err)
	}
	for _, port := range ports {
		if port%2 != 0 || port < firstPort || port >= lastPort {
			t.Errorf("port %d was not to be had", port)
		}
	}
	again, _ := choosePorts(rand.New(rand.NewPCG(1, 1)), func(port int) bool { return port%2 == 0 })
	if again != ports {
		t.Errorf("the same seed chose %v, then %v", ports, again)
	}
	if _, err := choosePorts(r, func(int) bool { return false }); !fault.Is(err, fault.Full) {
		t.Errorf("none is free: %v", err)
	}
}

// A lab's faults, one after the other, as people type them.
func TestFaultsCompose(t *testing.T) {
	const link, slow = 100e6, 1e6
	for history, want := range map[string]struct {
		steps string // of the last wish
		after Faults
		code  fault.Code
	}{
		"kill":                {"kill", Faults{Killed: true}, ""},
		"kill kill":           {"", Faults{Killed: true}, fault.Conflict},
		"kill hang":           {"", Faults{Killed: true}, fault.Conflict},
		"hang":                {"stop", Faults{Hung: true}, ""},
		"hang hang":           {"", Faults{Hung: true}, fault.Conflict},
		"hang kill":           {"kill", Faults{Killed: true}, ""},
		"cut":                 {"unplug", Faults{Cut: true}, ""},
		"cut cut":             {"", Faults{Cut: true}, fault.Conflict},
		"cut kill":            {"kill", Faults{Cut: true, Killed: true}, ""},
		"slow":                {"rate", Faults{Slow: slow}, ""},
		"slow slow":           {"rate", Faults{Slow: slow}, ""},
		"slow cut hang":       {"stop", Faults{Slow: slow, Cut: true, Hung: true}, ""},
		"heal":                {"", Faults{}, ""},
		"kill heal":           {"start", Faults{}, ""},
		"hang heal":           {"resume", Faults{}, ""},
		"cut heal":            {"plug", Faults{}, ""},
		"cut slow hang heal":  {"plug rate resume", Faults{}, ""},
		"cut kill heal":       {"plug start", Faults{}, ""},
		"kill heal kill":      {"kill", Faults{Killed: true}, ""},
		"crash heal":          {"start", Faults{}, ""},
		"hang crash cut heal": {"plug resume start", Faults{}, ""},
	} {
		var f Faults
		var d decision
		var err error
		running := true
		for wish := range strings.FieldsSeq(history) {
			switch wish {
			case "kill":
				d, err = decideKill("n", f)
			case "hang":
				d, err = decideHang("n", f)
			case "cut":
				d, err = decideCut("n", f, true)
			case "slow":
				d, err = decideSlow(f, slow, true)
			case "heal":
				d, err = decideHeal(f, link, running), nil
			case "crash":
				d, err, running = decision{after: f}, nil, false
			}
			if err == nil {
				f = d.after
				running = running && !f.Killed || slices.Contains(d.steps, stepStart)
			}
		}
		var steps []string
		for _, s := range d.steps {
			steps = append(steps, string(s))
		}
		if strings.Join(steps, " ") != want.steps || f != want.after || (err == nil) != (want.code == "") || err != nil && !fault.Is(err, want.code) {
			t.Errorf("%s: %v, %+v, %v", history, steps, f, err)
		}
	}
}

func TestLinkFaultsNeedNamespaces(t *testing.T) {
	if _, err := decideCut("n", Faults{}, false); !fault.Is(err, fault.Misused) {
		t.Errorf("cut: %v", err)
	}
	if _, err := decideSlow(Faults{}, 1e6, false); !fault.Is(err, fault.Misused) {
		t.Errorf("slow: %v", err)
	}
	if _, err := decideSlow(Faults{}, 0, true); !fault.Is(err, fault.Misused) {
		t.Errorf("slow to nothing: %v", err)
	}
}

func TestAgentArgs(t *testing.T) {
	r := record{At: listenAt("127.0.0.1", [3]int{1, 2, 3})}
	for want, args := range map[string][]string{
		"up --no-work --name head --title lab --state /d --address 127.0.0.1 --bus 127.0.0.1:1 --peer 127.0.0.1:2 --web 127.0.0.1:3": agentArgs(&r, Head, "/d", false),
		"join 127.0.0.1:2 --name node1 --state /d --metrics ":                                                                        agentArgs(&r, "node1", "/d", true),
		"join --state /d --metrics ": agentArgs(&r, "node1", "/d", false),
	} {
		if got := strings.Join(args, " "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestAgentEnv(t *testing.T) {
	env := agentEnv([]string{"HOME=/h", "BRAMBLE_CLUSTER=/other", "BRAMBLE_LAB=/outer/node1"}, "/d/node1", "secret")
	if want := []string{"HOME=/h", "BRAMBLE_LAB=/d/node1", "BRAMBLE_TOKEN=secret"}; !slices.Equal(env, want) {
		t.Errorf("got %v", env)
	}
}

func TestAssign(t *testing.T) {
	all := []process{
		{pid: 9, parent: 8, began: "1"}, // before its parent in the list
		{pid: 1, parent: 0, began: "1"},
		{pid: 2, parent: 1, began: "5", mark: "/d/node1"},
		{pid: 3, parent: 1, began: "6", mark: "/d/node2"},
		{pid: 4, parent: 1, began: "7", mark: "/d2/node1"},
		{pid: 8, parent: 2, began: "8"},
		{pid: 10, parent: 1, began: "9", task: "7.1@abc.2-5-ff00"},
		{pid: 11, parent: 1, began: "9", task: "7.1@abc.2-4-ff00"}, // of an earlier process with that id
		{pid: 12, parent: 10, began: "9"},
		{pid: 13, parent: 1, began: "9", mark: "/d"},
	}
	got := assign(all, "/d")
	want := map[int]string{2: "node1", 8: "node1", 9: "node1", 10: "node1", 12: "node1", 3: "node2"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}
