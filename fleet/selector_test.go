package fleet_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"bramble/fault"
	"bramble/fleet"
)

// bramble is a cluster with a node of every sort, out of order; the node "camera" bears the name of a label.
func bramble() []fleet.Node {
	node := func(name, model, arch string, state fleet.State, labels ...string) fleet.Node {
		n := fleet.Node{Name: name, Model: model, Arch: arch, State: state, Roles: []string{fleet.RoleWorker}, Labels: map[string]string{}}
		for _, label := range labels {
			key, value, _ := strings.Cut(label, "=")
			n.Labels[key] = value
		}
		return n
	}
	nodes := []fleet.Node{
		node("node10", "pi4", "arm64", fleet.Up, "rack=2"),
		node("node2", "pi3", "arm64", fleet.Up, "rack=1", "sensor"),
		node("node1", "pi3", "armv7", fleet.Suspect, "rack=1", "sensor=DHT-22"),
		node("node3", "pi4", "arm64", fleet.Down),
		node("camera", "pizero", "armv6", fleet.Up, "lens"),
		node("head", "x86", "amd64", fleet.Up, "camera", "rack=2"),
	}
	nodes[5].Roles = append(nodes[5].Roles, fleet.RoleHead)
	return nodes
}

func names(nodes []fleet.Node) string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.Name)
	}
	return strings.Join(all, " ")
}

func TestSelect(t *testing.T) {
	const everyone = "camera head node1 node2 node3 node10"
	tests := []struct{ on, want string }{
		{"all", everyone},
		{" all\t", everyone},
		{"node2", "node2"},
		{"node[1-3,10]", "node1 node2 node3 node10"},
		{"node10,node2,node2", "node2 node10"},
		{"name=node[1-2]", "node1 node2"},
		{"name=camera", "camera"},
		{"model=pi3", "node1 node2"},
		{"arch=arm64", "node2 node3 node10"},
		{"role=head", "head"},
		{"role=worker", everyone},
		{"state=up", "camera head node2 node10"},
		{"state=down", "node3"},
		{"sensor", "node1 node2"},
		{"sensor=DHT-22", "node1"},
		{"rack=1", "node1 node2"},
		{"camera", "camera"}, // the node wins over head's label
		{"lens", "camera"},

		{"model=pi3,model=pi4", "node1 node2 node3 node10"},
		{"arch=arm64&state=up", "node2 node10"},
		{"arch=arm64 & state=up , head", "head node2 node10"},
		{"head,arch=arm64&model=pi3", "head node2"}, // & binds tighter
		{"node[1-3]&node[2-3,10]&state=up", "node2"},

		{"!node3", "camera head node1 node2 node10"},
		{"all&!node3", "camera head node1 node2 node10"},
		{"!node3&all", "camera head node1 node2 node10"},
		{"all,!node3", "camera head node1 node2 node10"},
		{"!node3,all", "camera head node1 node2 node10"},
		{"! node3", "camera head node1 node2 node10"},
		{"node[1-3],!node[2-3]", "node1"},
		{"node3,!node3,node1", "node1"}, // takes away what comes later as well
		{"node1,!sensor&rack=2", "head node1 node10"},
		{"head,!node1&!node2", "head"},
		{"node[1-3],!node1&!node2", "node3"},
		{"!node1&!node2", "camera head node3 node10"},
		{"!node1,!node2", "camera head node3 node10"},
		{"!rack", "camera node3"},
		{"all,!rack=1,!rack=2", "camera node3"},
		{"!all,head&!node1,node[1-2]&!sensor=DHT-22,all&!rack,!node2", ""},
	}
	for _, test := range tests {
		s, err := fleet.ParseSelector(test.on)
		if err != nil {
			t.Errorf("ParseSelector(%q): %v", test.on, err)
			continue
		}
		nodes := bramble()
		got, err := s.Select(nodes)
		if names(got) != test.want || (err == nil) != (test.want != "") || err != nil && !fault.Is(err, fault.NotFound) {
			t.Errorf("%q selects %q, %v; want %q", test.on, names(got), err, test.want)
		}
		if matched := s.Match(nodes); names(matched) != test.want {
			t.Errorf("%q matches %q; want %q", test.on, names(matched), test.want)
		}
		if names(nodes) != names(bramble()) {
			t.Errorf("%q reordered its argument", test.on)
		}
		if s.String() != test.on {
			t.Errorf("%q calls itself %q", test.on, s)
		}
	}
	if got, err := (fleet.Selector{}).Select(bramble()); err != nil || names(got) != everyone {
		t.Errorf("the zero selector selects %q, %v", names(got), err)
	}
}

func TestSelectFindsNothing(t *testing.T) {
	tests := []struct{ on, want string }{
		{"nod3", "no node or label is called nod3; the nearest is node3"},
		{"sensro", "no node or label is called sensro; the nearest is sensor"},
		{"fridge", "no node or label is called fridge"},
		{"all,!node33", `"all,!node33", character 6: no node or label is called node33; the nearest is node3`},
		{"head, sensro=1", `"head, sensro=1", character 7: no node has a label sensro; the nearest is sensor`},
		{"node[1-5]", "no node is called node[4-5]; there is node[1-3,10]"},
		{"node[20-30]", "no node is called node[20-30]; there is node[1-3,10]"},
		{"nodes[1-3]", "no node is called nodes[1-3]; the nearest is node1"},
		{"name=sensor", "no node is called sensor"},
		{"node[1-65000]", "no node is called node[4-9,11-65000]; there is node[1-3,10]"},
		{"model=pi5", "no node has model=pi5; there is pi3, pi4, pizero, x86"},
		{"role=front&all", "no node has role=front; there is head, worker"},
		{"rack=7", "no node has rack=7; there is 1, 2"},
		{"lens=wide", "no node has lens=wide"},
		{"node1&node2", `no node is selected by "node1&node2"`},
		{"node1,!all", `no node is selected by "node1,!all"`},
	}
	for _, test := range tests {
		s, err := fleet.ParseSelector(test.on)
		if err != nil {
			t.Errorf("ParseSelector(%q): %v", test.on, err)
			continue
		}
		got, err := s.Select(bramble())
		if got != nil || fault.Exit(err) != 3 || err.Error() != test.want || fault.Of(err).Try != "bramble nodes" {
			t.Errorf("%q selects %q, %q with the hint %q; want %q", test.on, names(got), err, fault.Of(err).Try, test.want)
		}
	}
	if _, err := (fleet.Selector{}).Select(nil); !fault.Is(err, fault.NotFound) {
		t.Errorf("of no nodes: %v", err)
	}
}

// Who names nodes with other zeros than they have is told what to type.
func TestSelectPadded(t *testing.T) {
	const many, try = "; there is node[01-16]", "', with as many digits as nodes have"
	for _, test := range []struct{ known, on, want, try string }{
		{"node[01-16]", "node[1-16]", "no node is called node[1-9]" + many, "'node[01-16]" + try},
		{"node[01-16]", "node[001-004]", "no node is called node[001-004]" + many, "'node[01-04]" + try},
		{"node[01-16]", "all & !node[1-2], node16", `"all & !node[1-2], node16", character 8: no node is called node[1-2]` + many, "'all & !node[01-02], node16" + try},
		{"node[01-16]", "name=node[8-10]", "no node is called node[8-9]" + many, "'name=node[08-10]" + try},
		{"node[01-16]", "node[1-20]", "no node is called node[1-9,17-20]" + many, "bramble nodes"},
		{"node[01-16]", "node1", "no node or label is called node1; the nearest is node01", "bramble nodes"},
		{"node[1-16]", "node[01-12]", "no node is called node[01-09]; there is node[1-16]", "'node[1-12]" + try},
		{"rack[1-2]n[01-03]", "rack[1-2]n[1-3]", "no node is called rack[1-2]n[1-3]; there is rack[1-2]n[01-03]", "'rack[1-2]n[01-03]" + try},
	} {
		all, err := fleet.Expand(test.known)
		if err != nil {
			t.Fatal(err)
		}
		var nodes []fleet.Node
		for _, name := range all {
			nodes = append(nodes, fleet.Node{Name: name})
		}
		s, err := fleet.ParseSelector(test.on)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = s.Select(nodes); err == nil || err.Error() != test.want || fault.Of(err).Try != test.try {
			t.Errorf("%s of %s: %v, with the hint %q", test.on, test.known, err, fault.Of(err).Try)
		}
		if fixed, ok := strings.CutSuffix(test.try, try); ok {
			if s, err = fleet.ParseSelector(fixed[1:]); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Select(nodes); err != nil {
				t.Errorf("what is to be typed for %s: %v", test.on, err)
			}
		}
	}
}

func TestMatchWaitsForNames(t *testing.T) {
	s, err := fleet.ParseSelector("node[1-99],later,gpu=1,!gone")
	if err != nil {
		t.Fatal(err)
	}
	if got := names(s.Match(bramble())); got != "node1 node2 node3 node10" {
		t.Errorf("got %q", got)
	}
}

// Who is no member any more takes nothing away from the others.
func TestMeant(t *testing.T) {
	for on, want := range map[string]string{"node1,gone": "node1", "node[1-2]&!gone": "node1 node2", "gone": "", "node[1": ""} {
		if got := names(fleet.Meant(on, bramble())); got != want {
			t.Errorf("%q means %q by now, want %q", on, got, want)
		}
	}
	if got := fleet.Meant("", bramble()); len(got) != len(bramble()) {
		t.Errorf("nothing said means %q", names(got))
	}
}

// A field's name alone was meant to have a value, unless a node is called so.
func TestSelectFieldWithoutValue(t *testing.T) {
	s, err := fleet.ParseSelector("head,model")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Select(bramble())
	if want := `"head,model", character 6: model needs a value, such as model=pi4`; !fault.Is(err, fault.Misused) || err.Error() != want {
		t.Errorf("got %v; want %s", err, want)
	}
	nodes := append(bramble(), fleet.Node{Name: "model"})
	if got, err := s.Select(nodes); err != nil || names(got) != "head model" {
		t.Errorf("got %q, %v", names(got), err)
	}
}

// What a hostile node says of itself does not reach a terminal through an error.
func TestSelectKeepsControlCharactersBack(t *testing.T) {
	nodes := bramble()
	nodes[0].Model = "pi\x1b[2J"
	s, _ := fleet.ParseSelector("model=pi9")
	if _, err := s.Select(nodes); err == nil || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("got %q", err)
	}
}

func TestParseSelectorRefuses(t *testing.T) {
	tests := []struct {
		on  string
		at  int
		why string
	}{
		{"", 1, "expected a name, not the end"},
		{" ", 2, "expected a name"},
		{",all", 1, "expected a name"},
		{"all,", 5, "the end"},
		{"all&", 5, "the end"},
		{"all&&all", 5, `"&"`},
		{"&all", 1, `"&"`},
		{"!", 2, "the end"},
		{"!!all", 2, `"!"`},
		{"all!node3", 4, "a comma or & goes between terms"},
		{"node1 node2", 7, "a comma or & goes between terms"},
		{"(all)", 1, `"("`},
		{"all|head", 4, `"|"`},
		{"model=", 7, "goes after model="},
		{"model= pi3", 7, "goes after model="},
		{"model=pi[34]", 9, `"["`},
		{"model=pi3=pi4", 10, `"="`},
		{"name=", 6, "expected a name"},
		{"=1", 1, "in front of ="},
		{strings.Repeat("0", 8_000) + "=", 1, "in front of ="},
		{"model=" + strings.Repeat("0", 8_000), 7, "goes after model="},
		{"state=upp", 7, "up, suspect, down"},
		{"state=gone", 7, "up, suspect, down"},
		{"all=1", 1, "all cannot be a label"},
		{"Rack=1", 1, "begins with a letter"},
		{"1rack=1", 1, "begins with a letter"},
		{"rack-=1", 1, "ends with no dash"},
		{"rack=" + strings.Repeat("1", 64), 6, "1 to 63 bytes"},
		{"all,node[3-1]", 10, "runs backwards"},
		{"a[1-65536],b[1-2]", 12, "more than 65536 names"},
		{"all,é", 5, `"é"`},
		{"é,all", 1, `"é"`},
		{"all\x00", 4, `"\x00"`},
		{"all\n", 4, `"\n"`},
	}
	for _, test := range tests {
		s, err := fleet.ParseSelector(test.on)
		if !fault.Is(err, fault.Misused) || fault.Of(err).Try == "" {
			t.Errorf("ParseSelector(%q) = %v, %v; want a misuse with a hint", test.on, s, err)
			continue
		}
		if len(err.Error()) > 300 {
			t.Errorf("ParseSelector(%.20q…): the error has %d bytes", test.on, len(err.Error()))
		}
		if place := fmt.Sprintf(", character %d: ", test.at); !strings.Contains(err.Error(), place) || !strings.Contains(err.Error(), test.why) {
			t.Errorf("ParseSelector(%q): %v; want %q and %q in it", test.on, err, place, test.why)
		}
	}
	if _, err := fleet.ParseSelector(strings.Repeat("a", fleet.MaxSelector+1)); !fault.Is(err, fault.Misused) {
		t.Errorf("a selection too long: %v", err)
	}
}

// A selection is what its rules make of it, whatever the order of its members.
func TestSelectByTheRules(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	terms := []string{"all", "node1", "node[2-3]", "model=pi3", "state=up", "rack", "rack=2", "sensor", "role=head"}
	nodes := bramble()
	sets := map[string]map[string]bool{}
	for _, term := range terms {
		s, err := fleet.ParseSelector(term)
		if err != nil {
			t.Fatal(err)
		}
		sets[term] = map[string]bool{}
		for _, n := range s.Match(nodes) {
			sets[term][n.Name] = true
		}
	}
	for range 5_000 {
		var members []string
		added, taken, adding := map[string]bool{}, map[string]bool{}, false
		for range 1 + random.IntN(4) {
			var typed []string
			adds := false
			in := map[string]bool{}
			for _, n := range nodes {
				in[n.Name] = true
			}
			for range 1 + random.IntN(3) {
				term, not := terms[random.IntN(len(terms))], random.IntN(2) == 0
				for name := range in {
					in[name] = in[name] && sets[term][name] != not
				}
				adds = adds || !not
				typed = append(typed, map[bool]string{true: "!"}[not]+term)
			}
			members = append(members, strings.Join(typed, "&"))
			adding = adding || adds
			for name, holds := range in {
				added[name] = added[name] || adds && holds
				taken[name] = taken[name] || !adds && !holds
			}
		}
		var want []string
		for _, n := range nodes {
			if (added[n.Name] || !adding) && !taken[n.Name] {
				want = append(want, n.Name)
			}
		}
		slices.SortFunc(want, fleet.NaturalCompare)
		for range 2 {
			s, err := fleet.ParseSelector(strings.Join(members, ","))
			if got := names(s.Match(nodes)); err != nil || got != strings.Join(want, " ") {
				t.Fatalf("%q selects %q, %v; want %q", s, got, err, want)
			}
			slices.Reverse(members)
		}
	}
}

func FuzzSelector(f *testing.F) {
	for _, seed := range []string{
		"all", "node[1-3]&!node2,model=pi4", "!node3", "all,!sensor=DHT-22", "name=node[1-2]", "state=up&role=head",
		"!!", "a&&b", "a[1-65536],a[1-65536]", "=", "a=", "((", "é", "model",
	} {
		f.Add(seed)
	}
	nodes := bramble()
	f.Fuzz(func(t *testing.T, text string) {
		s, err := fleet.ParseSelector(text)
		if err != nil {
			if !fault.Is(err, fault.Misused) || len(err.Error()) > 1_000 {
				t.Fatalf("ParseSelector(%q): %v", text, err)
			}
			return
		}
		selected, err := s.Select(nodes)
		switch {
		case err != nil && (selected != nil || !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Misused) || len(err.Error()) > 1_000):
			t.Fatalf("%q: %q, %v", text, names(selected), err)
		case err == nil && (len(selected) == 0 || names(selected) != names(s.Match(nodes))):
			t.Fatalf("%q selects %q and matches %q", text, names(selected), names(s.Match(nodes)))
		}
		// What is taken away from all is what is not selected.
		if !strings.ContainsAny(text, "!,&") {
			rest, err := fleet.ParseSelector("!" + text)
			if err != nil || len(rest.Match(nodes))+len(s.Match(nodes)) != len(nodes) {
				t.Fatalf("%q and its opposite do not make all, %v", text, err)
			}
		}
	})
}

// The longest selections that are read are answered in bounded time and space; the deadline is only a stop.
func TestSelectHostile(t *testing.T) {
	nodes := make([]fleet.Node, 1_000)
	for i := range nodes {
		nodes[i].Name = fmt.Sprint("a", i)
	}
	start := time.Now()
	for _, text := range []string{
		strings.Repeat("a1,", fleet.MaxSelector/3) + "a1",
		strings.Repeat("!a1&", fleet.MaxSelector/4-1) + "a1",
		"a[1-65535],b",
	} {
		s, err := fleet.ParseSelector(text)
		if err != nil {
			t.Fatalf("%.20q…: %v", text, err)
		}
		s.Match(nodes)
		if _, err := s.Select(nodes); err != nil && len(err.Error()) > 300 {
			t.Errorf("%.20q…: the error has %d bytes", text, len(err.Error()))
		}
	}
	if time.Since(start) > time.Minute {
		t.Errorf("took %v", time.Since(start))
	}
}

func BenchmarkSelect(b *testing.B) {
	nodes := make([]fleet.Node, 10_000)
	for i := range nodes {
		nodes[i] = fleet.Node{Name: fmt.Sprintf("node%05d", i), State: fleet.Up, Model: "pi4"}
	}
	for b.Loop() {
		s, err := fleet.ParseSelector("node[00000-00999]&state=up&model=pi4,!node00003")
		if err != nil {
			b.Fatal(err)
		}
		if got, err := s.Select(nodes); err != nil || len(got) != 999 {
			b.Fatal(len(got), err)
		}
	}
}
