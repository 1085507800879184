package slurm

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"bramble/fault"
	"bramble/fleet"
	"bramble/job"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC) // a Thursday

func script(lines ...string) []byte {
	return []byte("#!/bin/bash\n" + strings.Join(lines, "\n") + "\nhostname\n")
}

func read(t *testing.T, text []byte, options ...string) *Batch {
	t.Helper()
	b, err := Read(Input{Path: "job.sh", Script: text, Options: options, Now: noon})
	if err != nil {
		t.Fatalf("%s %v: %v", text, options, err)
	}
	return b
}

func TestDirectives(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		line string
		want job.Spec
	}{
		{"--time=30", job.Spec{Timeout: 30 * time.Minute}},
		{"-t 1-12", job.Spec{Timeout: 36 * time.Hour}},
		{"-t2:30", job.Spec{Timeout: 2*time.Minute + 30*time.Second}},
		{"--job-name=hello -N 2 --ntasks-per-node 4", job.Spec{Name: "hello", Nodes: 2, Ranks: 8, RanksPerNode: 4}},
		{`-J "two words" # why`, job.Spec{Name: "two words"}},
		{"--job='a b'", job.Spec{Name: "a b"}}, // a beginning that is one name's only
		{"-n4 -c2", job.Spec{Ranks: 4, CPUs: 2}},
		{"--nodes=2-2", job.Spec{Nodes: 2}},
		{"--mem=2G", job.Spec{Memory: 2 * gib}},
		{"--mem=512", job.Spec{Memory: gib / 2}},
		{"--mem-per-cpu 1000M", job.Spec{MemoryPerCPU: 1000 << 20}},
		{"--mem=1G --mem-per-cpu=1G", job.Spec{MemoryPerCPU: gib}},
		{"--gres=gpu:2,camera", job.Spec{Gres: map[string]int{"gpu": 2, "camera": 1}}},
		{"-N2 -G 3", job.Spec{Nodes: 2, Gres: map[string]int{"gpu": 2}}},
		{"-N2 -n4 --gpus-per-task=1", job.Spec{Nodes: 2, Ranks: 4, Gres: map[string]int{"gpu": 2}}},
		{"--array=0-9:3%2", job.Spec{Array: "0-9:3%2"}},
		{"-a 1,5", job.Spec{Array: "1,5"}},
		{"-p long -A chem", job.Spec{Partition: "long", Account: "chem"}},
		{"--exclusive", job.Spec{Exclusive: true}},
		{"-o out.%j -e err.%4a --open-mode=append", job.Spec{Output: "out.%j", Error: "err.%4a", Append: true}},
		{"-d afterok:12:13,afterany:14", job.Spec{Depend: []job.Dependency{{Kind: job.AfterOK, Job: 12}, {Kind: job.AfterOK, Job: 13}, {Kind: job.AfterAny, Job: 14}}}},
		{"-d afterok:12?afternotok:13", job.Spec{DependAny: true, Depend: []job.Dependency{{Kind: job.AfterOK, Job: 12}, {Kind: job.AfterNotOK, Job: 13}}}},
		{"-d singleton", job.Spec{Depend: []job.Dependency{{Kind: job.Singleton}}}},
		{"-d 12", job.Spec{Depend: []job.Dependency{{Kind: job.AfterAny, Job: 12}}}},
		{"--begin=now+1hour", job.Spec{Begin: noon.Add(time.Hour)}},
		{"-t 10 --signal=B:USR1@120", job.Spec{Timeout: 10 * time.Minute, Signal: "USR1", SignalBefore: 2 * time.Minute, SignalBatch: true}},
		{"-t 10 --signal=10", job.Spec{Timeout: 10 * time.Minute, Signal: "USR1", SignalBefore: time.Minute}},
		{"--no-requeue", job.Spec{NoRequeue: true}},
		{"--no-requeue --requeue", job.Spec{}},
		{"-w node[1-2],node4", job.Spec{On: "node[1-2,4]", Nodes: 3}},
		{"-x node3", job.Spec{On: "!node3"}},
		{"-x rack1n1,node3", job.Spec{On: "!node3,!rack1n1"}},
		{"-C pi4&ssd", job.Spec{On: "model=pi4&ssd"}},
		{"-C pi4|!ssd -x node3", job.Spec{On: "model=pi4,all&!ssd,!node3"}},
		{"-C (pi4|pi5)&ssd", job.Spec{On: "model=pi4&ssd,model=pi5&ssd"}},
		{"-w node1 -C ssd|rack=2", job.Spec{On: "node1&ssd,node1&rack=2", Nodes: 1}},
		{"-C !ssd", job.Spec{On: "!ssd"}},
		{"-H --nice=50 --comment=x", job.Spec{Hold: true, Nice: 50, Comment: "x"}},
		{"--nice", job.Spec{Nice: 100}},
		{"--mail-type=NONE", job.Spec{}},
	} {
		c.want.Slurm = true
		b := read(t, script("#SBATCH "+c.line))
		if got, want := show(b.Spec), show(c.want); got != want {
			t.Errorf("%s:\n got %s\nwant %s", c.line, got, want)
		}
		if len(b.Warnings) > 0 {
			t.Errorf("%s: warned of %q", c.line, b.Warnings)
		}
		if b.Spec.On != "" {
			if _, err := fleet.ParseSelector(b.Spec.On); err != nil {
				t.Errorf("%s: %v", c.line, err)
			}
		}
	}
}

func show(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

// What cannot be honoured is named, with its line.
func TestWarnings(t *testing.T) {
	for line, want := range map[string]string{
		"--hint=nomultithread":        "job.sh, line 3: --hint is not honoured",
		"--qos=high":                  "line 3: --qos is not honoured",
		"--mail-type=ALL":             "line 3: --mail-type is not honoured",
		"--mail-user=a@b":             "line 3: --mail-user is not honoured",
		"--reservation=x":             "line 3: --reservation is not honoured",
		"-p a,b":                      "line 3: --partition: a is used",
		"--nodes=1-4":                 "line 3: --nodes=1-4: it gets 1",
		"--mem=0":                     "line 3: --mem=0",
		"--gres=gpu:tesla:1":          "tesla",
		"-d after:12+5":               "5 minutes",
		"-d aftercorr:12":             "aftercorr",
		"-d afterok:12_3":             "all tasks of job 12",
		"-C [a*2&b*4]":                "a*2",
		"-C [a|b]":                    "[a|b]",
		"-w node1 -N 2":               "--nodelist is not honoured",
		"--signal=USR1":               "there is none",
		"-N 3 -n 2":                   "fewer tasks than nodes",
		"--exclusive=user":            "user",
		"-D /data/./run":              "/data/run travels, and the job runs in a copy",
		"--cpu-freq=high --wait -s":   "--cpu-freq",
		"\n#SBATCH --kill-on-inv=yes": "line 4: --kill-on-invalid-dep",
	} {
		b := read(t, script("# comment", "#SBATCH "+line))
		if !strings.Contains(strings.Join(b.Warnings, "\n"), want) {
			t.Errorf("%s: warnings %q lack %q", line, b.Warnings, want)
		}
	}
	shared := Input{Path: "job.sh", Script: []byte(script("#SBATCH -D /data/run")), Now: noon, Shared: func(folder string) bool { return folder == "/data/run" }}
	if b, err := Read(shared); err != nil || len(b.Warnings) > 0 || b.Spec.WorkDir != "/data/run" {
		t.Errorf("a folder that is the same everywhere: %+v, %v", b, err)
	}
	late := read(t, script("echo begins", "#SBATCH -n 4"))
	if late.Spec.Ranks != 0 || len(late.Warnings) != 1 || !strings.Contains(late.Warnings[0], "line 3: #SBATCH stands after") {
		t.Errorf("a directive after the first command: %+v", late)
	}
}

func TestRefused(t *testing.T) {
	for line, want := range map[string][2]string{
		"--nosuch=3":                 {"job.sh, line 2: sbatch has no option --nosuch", "sbatch --help"},
		"--tim=3":                    {"no option --tim", "--time"},
		"--ntask-per-node=":          {"line 2: sbatch has no option", "--ntasks-per-node"},
		"-Z":                         {"line 2: sbatch has no option -Z", "help"},
		"--time=abc":                 {`line 2: --time: "abc" is no time limit`, "--time=30"},
		"-t 1:2:3:4":                 {"no time limit", "--time=30"},
		"-n 0":                       {"-n:", ""},
		"-n":                         {"-n needs a value", "--ntasks"},
		"--mem=lots":                 {"no amount of memory", "512M"},
		"--mem=1GK":                  {"no amount of memory", "512M"},
		"--hold=1":                   {"--hold takes no value", "--hold"},
		"-d foo:1":                   {"no list of dependencies", "afterok"},
		"-d afterok:1,":              {"no list of dependencies", "afterok"},
		"-d after:1?after:2,after:3": {"mixes", "afterok"},
		"--array=9-1":                {"no array", "1-100"},
		"--begin=whenever":           {"no time to begin", "16:00"},
		"--signal=FOO":               {"no signal", "USR1"},
		"-C a&&b":                    {"character 3", "pi4"},
		"-w node[":                   {"-w:", "node[01-16"},
		"hetjob":                     {"several unlike parts", "jobs of their own"},
		"plain":                      {`"plain" is no option`, "#SBATCH"},
		`-J "open`:                   {"line 2: a quote is never closed", ""},
		"-n 4\r":                     {"Windows", "sed"},
	} {
		_, err := Read(Input{Path: "job.sh", Script: script("#SBATCH " + line), Now: noon})
		f := fault.Of(err)
		if err == nil || f.Code != fault.Misused || !strings.Contains(f.Text, want[0]) || !strings.Contains(f.Try, want[1]) {
			t.Errorf("%q: %+v, want %q and %q", line, f, want[0], want[1])
		}
	}
	_, err := Read(Input{Path: "job.sh", Script: []byte("#!/bin/sh\r\nhostname\r\n")})
	if !fault.Is(err, fault.Misused) || !strings.Contains(fault.Of(err).Try, "sed") {
		t.Errorf("Windows line ends: %v", err)
	}
}

// Options override variables, which override directives.
func TestPrecedence(t *testing.T) {
	text := script("#SBATCH -n 2 -t 10 -J script -p script")
	b, err := Read(Input{Path: "job.sh", Script: text, Now: noon,
		Environ: []string{"SBATCH_TIMELIMIT=20", "SBATCH_PARTITION=env", "SBATCH_NOSUCH=1", "HOME=/"},
		Options: []string{"-p", "word", "--parsable", "-W", "job.sh", "-n", "9"}})
	if err != nil {
		t.Fatal(err)
	}
	want := job.Spec{Slurm: true, Ranks: 2, Timeout: 20 * time.Minute, Name: "script", Partition: "word"}
	if show(b.Spec) != show(want) || !b.Parsable || !b.Wait || !reflect.DeepEqual(b.Args, []string{"job.sh", "-n", "9"}) {
		t.Errorf("got %+v", b)
	}
	if b = read(t, nil, "--wrap", "hostname -f", "--", "x"); b.Wrap != "hostname -f" || !reflect.DeepEqual(b.Args, []string{"x"}) {
		t.Errorf("got %+v", b)
	}
}

func TestBegin(t *testing.T) {
	day := func(y, m, d, h, min int) time.Time { return time.Date(y, time.Month(m), d, h, min, 0, 0, time.UTC) }
	for text, want := range map[string]time.Time{
		"now": noon, "now+60": noon.Add(time.Minute), "now + 2 days": noon.Add(48 * time.Hour), "now+1week": noon.Add(168 * time.Hour),
		"16:00": day(2026, 11, 26, 16, 0), "11:00": day(2026, 11, 27, 11, 0), "4pm": day(2026, 11, 26, 16, 0), "4:30 PM": day(2026, 11, 26, 16, 30), "teatime": day(2026, 11, 26, 16, 0),
		"midnight": day(2026, 11, 27, 0, 0), "today": day(2026, 11, 26, 0, 0), "tomorrow": day(2026, 11, 27, 0, 0), "tomorrow 08:30": day(2026, 11, 27, 8, 30),
		"2027-01-20T12:34:00": day(2027, 1, 20, 12, 34), "2027-01-20": day(2027, 1, 20, 0, 0),
		"12/24": day(2026, 12, 24, 0, 0), "01/20": day(2027, 1, 20, 0, 0), "16:00 12/24/28": day(2028, 12, 24, 16, 0), "122428": day(2028, 12, 24, 0, 0),
	} {
		got, err := parseBegin(text, noon)
		if err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "now-1", "now+", "25:00", "12/32", "16:00 17:00", "today tomorrow", "now+99999999999999weeks"} {
		if got, err := parseBegin(text, noon); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("-n 4 -C (a|b)&c -w node[1-4] -d afterok:1:2", "")
	f.Add("--begin='16:00 12/24' --mem=1T -t 1-2:3", "-J\x00")
	f.Fuzz(func(t *testing.T, line, option string) {
		b, err := Read(Input{Path: "x", Script: script("#SBATCH " + line), Options: []string{option, "y"}, Now: noon})
		if err != nil {
			if !fault.Is(err, fault.Misused) {
				t.Fatalf("%q: %v is not about what was typed", line, err)
			}
			return
		}
		if b.Spec.On != "" {
			if _, err := fleet.ParseSelector(b.Spec.On); err != nil && len(b.wanted) == 0 {
				t.Fatalf("%q: %q is no selection: %v", line, b.Spec.On, err)
			}
		}
		if s := b.Spec; s.Ranks < 0 || s.Nodes < 0 || s.Memory < 0 || s.MemoryPerCPU < 0 || s.Timeout < 0 {
			t.Fatalf("%q: something is negative: %+v", line, s)
		}
	})
}
