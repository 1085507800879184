package fan

import (
	"reflect"
	"strings"
	"testing"

	"bramble/fault"
	"bramble/trust"
)

func TestCheck(t *testing.T) {
	long := strings.Repeat("x", MaxArgs)
	tests := []struct {
		name string
		args []string
		env  []string
		as   string
		role trust.Role
		want fault.Code
	}{
		{"a command", []string{"uptime"}, nil, "", trust.Operator, ""},
		{"an empty argument behind it", []string{"echo", ""}, nil, "", trust.Operator, ""},
		{"nothing", nil, nil, "", trust.Operator, fault.Misused},
		{"an empty word", []string{""}, nil, "", trust.Operator, fault.Misused},
		{"NUL in an argument", []string{"echo", "a\x00b"}, nil, "", trust.Operator, fault.Misused},
		{"NUL in the environment", []string{"env"}, []string{"A=\x00"}, "", trust.Operator, fault.Misused},
		{"as long as may be", []string{long[:MaxArgs-1]}, nil, "", trust.Operator, ""},
		{"too long", []string{"echo", long}, nil, "", trust.Operator, fault.Full},
		{"too long an environment", []string{"echo"}, []string{"A=" + long}, "", trust.Operator, fault.Full},
		{"root by an admin", []string{"id"}, nil, "root", trust.Admin, ""},
		{"root by an operator", []string{"id"}, nil, "root", trust.Operator, fault.Denied},
		{"another account", []string{"id"}, nil, "bob", trust.Admin, fault.Misused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := check(tt.args, tt.env, tt.as, tt.role)
			if got := codeOf(err); got != tt.want {
				t.Errorf("got %q (%v), want %q", got, err, tt.want)
			}
		})
	}
}

func codeOf(err error) fault.Code {
	if err == nil {
		return ""
	}
	return fault.Of(err).Code
}

func TestWords(t *testing.T) {
	tests := []struct {
		args          []string
		direct, shell string
	}{
		{[]string{"uptime"}, "uptime", "/bin/sh -c uptime"},
		{[]string{"/usr/bin/g++-12"}, "/usr/bin/g++-12", "/bin/sh -c /usr/bin/g++-12"},
		{[]string{"ls | wc"}, "", "/bin/sh -c ls | wc"},
		{[]string{"A=1"}, "", "/bin/sh -c A=1"},
		{[]string{"$HOME"}, "", "/bin/sh -c $HOME"},
		{[]string{"~/x"}, "", "/bin/sh -c ~/x"},
		{[]string{"ls", "|", "wc"}, "ls | wc", ""},
	}
	for _, tt := range tests {
		direct, shell := words(tt.args)
		if strings.Join(direct, " ") != tt.direct || strings.Join(shell, " ") != tt.shell {
			t.Errorf("words(%q) = %q, %q", tt.args, direct, shell)
		}
	}
}

func TestEnvironment(t *testing.T) {
	got := environment([]string{"HOME=/root", "PATH=/bin"}, []string{"PATH=/x", "A=1=2", "junk", "=x"}, []string{"A="})
	if want := []string{"HOME=/root", "PATH=/x", "A="}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFrames(t *testing.T) {
	names := make([]string, 1500)
	for i := range names {
		names[i] = strings.Repeat("n", 60)
	}
	pieces, err := packNames(names)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, piece := range pieces {
		f := pack(nil, Nodes, 0, piece)
		if len(f) > 64<<10 {
			t.Errorf("a frame of %d bytes", len(f))
		}
		ev, err := unpack(f, told)
		if err != nil || ev.Kind != Nodes {
			t.Fatalf("got %v, %v", ev.Kind, err)
		}
		told = append(told, ev.Names...)
	}
	if !reflect.DeepEqual(told, names) {
		t.Errorf("%d names came, %d went", len(told), len(names))
	}
	ev, err := unpack(pack(nil, Stderr, 300, []byte("a\x00\xff")), names)
	if err != nil || ev.Kind != Stderr || ev.Node != names[300] || string(ev.Data) != "a\x00\xff" {
		t.Errorf("got %+v, %v", ev, err)
	}
	for _, bad := range [][]byte{nil, {'o'}, pack(nil, Stdout, 1500, nil), pack(nil, '?', 0, nil), append([]byte{byte(Nodes), 0, 0}, '{')} {
		if _, err := unpack(bad, names); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	if ev, err := unpack(pack(nil, Ended, 1, []byte("{")), names); err != nil || ev.Node != names[1] || !ev.End.Lost {
		t.Errorf("an unreadable report: %+v, %v", ev, err)
	}
}

func TestBrief(t *testing.T) {
	if got := brief([]string{"echo", "a\nb\x1b[2J", strings.Repeat("é", 100)}); strings.ContainsAny(got, "\n\x1b") || len([]rune(got)) != 80 {
		t.Errorf("got %q", got)
	}
}
