package term

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func nodes(style Style) *Table {
	t := NewTable(
		Column{Title: "name"},
		Column{Title: "state"},
		Column{Title: "model", Priority: 2},
		Column{Title: "cores", Right: true, Priority: 3},
		Column{Title: "memory", Right: true, Priority: 1},
		Column{Title: "board", Priority: 4, Min: 12},
	)
	t.Row("node1", style.Good("up"), "pi4", "4", "3.7 GiB", "Raspberry Pi 4 Model B Rev 1.4")
	t.Row("node12", style.Bad("down"), "pi3", "4", "949 MiB", "Raspberry Pi 3 Model B Plus Rev 1.3")
	t.Row("オレンジ", style.Good("up"), "orangepi", "8", "15.6 GiB", "Orange Pi 5")
	return t
}

func TestTable(t *testing.T) {
	for _, c := range []struct {
		name   string
		width  int
		colour Level
		want   []string
	}{
		{"wide", 100, Plain, []string{
			"NAME      STATE  MODEL     CORES    MEMORY  BOARD",
			"node1     up     pi4           4   3.7 GiB  Raspberry Pi 4 Model B Rev 1.4",
			"node12    down   pi3           4   949 MiB  Raspberry Pi 3 Model B Plus Rev 1.3",
			"オレンジ  up     orangepi      8  15.6 GiB  Orange Pi 5",
		}},
		{"shortened", 62, Plain, []string{
			"NAME      STATE  MODEL     CORES    MEMORY  BOARD",
			"node1     up     pi4           4   3.7 GiB  Raspberry Pi 4 Mo…",
			"node12    down   pi3           4   949 MiB  Raspberry Pi 3 Mo…",
			"オレンジ  up     orangepi      8  15.6 GiB  Orange Pi 5",
		}},
		{"dropped", 40, Plain, []string{
			"NAME      STATE  MODEL       MEMORY",
			"node1     up     pi4        3.7 GiB",
			"node12    down   pi3        949 MiB",
			"オレンジ  up     orangepi  15.6 GiB",
		}},
		{"tiny", 7, Plain, []string{"NAME", "node1", "node12", "オレン…"}},
		{"pipe", 0, Plain, []string{
			"node1\tup\tpi4\t4\t3.7 GiB\tRaspberry Pi 4 Model B Rev 1.4",
			"node12\tdown\tpi3\t4\t949 MiB\tRaspberry Pi 3 Model B Plus Rev 1.3",
			"オレンジ\tup\torangepi\t8\t15.6 GiB\tOrange Pi 5",
		}},
		{"colour", 20, Basic, []string{
			"\x1b[1mNAME\x1b[0m      \x1b[1mSTATE\x1b[0m",
			"node1     \x1b[32mup\x1b[0m",
			"node12    \x1b[31mdown\x1b[0m",
			"オレンジ  \x1b[32mup\x1b[0m",
		}},
	} {
		var b bytes.Buffer
		out := NewTest(&b, c.width, c.colour)
		if err := nodes(out.Stdout.Style).Write(out.Stdout); err != nil {
			t.Fatal(err)
		}
		if want := strings.Join(c.want, "\n") + "\n"; b.String() != want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, b.String(), want)
		}
	}
}

func TestTableNeverWraps(t *testing.T) {
	for width := 1; width < 120; width++ {
		var b bytes.Buffer
		out := NewTest(&b, width, Full)
		out.Stdout.ASCII = width%2 == 0
		for _, line := range nodes(out.Stdout.Style).Lines(out.Stdout) {
			if cells(line) > width {
				t.Errorf("%d cells at width %d: %q", cells(line), width, line)
			}
		}
	}
}

func TestLayout(t *testing.T) {
	columns := []Column{{Title: "a"}, {Title: "b", Priority: 1, Min: 5}, {Title: "c", Priority: 2, Min: 5}, {Title: "d", Priority: 2}}
	natural := []int{10, 10, 10, 4}
	for width, want := range map[int][]int{
		0:  {0, 0, 0, 0},
		8:  {8, 0, 0, 0},
		17: {10, 5, 0, 0},
		21: {10, 9, 0, 0},
		24: {10, 5, 5, 0},
		27: {10, 8, 5, 0},
		30: {10, 5, 5, 4},
		33: {10, 8, 5, 4},
		38: {10, 10, 8, 4},
		40: {10, 10, 10, 4},
		99: {10, 10, 10, 4},
	} {
		if got := layout(columns, natural, width); !slices.Equal(got, want) {
			t.Errorf("width %d: %v, want %v", width, got, want)
		}
	}
}

func TestTableSafeCells(t *testing.T) {
	table := NewTable(Column{Title: "a"}, Column{Title: "b"})
	table.Row("two\nlines", "a\ttab\x1b]0;x\a\u202e")
	table.Row("short row")
	for width, want := range map[int]string{
		0:  "two lines\ta tab␛]0;x␇<202E>\nshort row\t\n",
		80: "A          B\ntwo lines  a tab␛]0;x␇<202E>\nshort row\n",
	} {
		var b bytes.Buffer
		table.Write(NewTest(&b, width, Plain).Stdout)
		if b.String() != want {
			t.Errorf("width %d: %q, want %q", width, b.String(), want)
		}
	}
}

func TestJSON(t *testing.T) {
	v := map[string]any{"name": "a<b>\u009b\x7f\u202e", "cores": 4}
	const escaped = `a<b>\u009b\u007f\u202e`
	for _, c := range []struct {
		width int
		print func(*Stream, any) error
		want  string
	}{
		{0, JSON, `{"cores":4,"name":"` + escaped + "\"}\n"},
		{80, JSON, "{\n  \"cores\": 4,\n  \"name\": \"" + escaped + "\"\n}\n"},
		{80, JSONLine, `{"cores":4,"name":"` + escaped + "\"}\n"},
	} {
		var b bytes.Buffer
		if err := c.print(NewTest(&b, c.width, Plain).Stdout, v); err != nil || b.String() != c.want {
			t.Errorf("%v %q, want %q", err, b.String(), c.want)
		}
	}
	if err := JSON(NewTest(&bytes.Buffer{}, 0, Plain).Stdout, func() {}); err == nil {
		t.Error("a function became JSON")
	}
}
