package main

import (
	"strings"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	got := table([][]string{{"what", "figure", "peer", "ratio"}, {"`run`", "5 µs", "", "23×"}, {"a longer one", "1.00 s", "", ""}})
	want := "" +
		"| what         | figure | ratio |\n" +
		"| ------------ | ------ | ----- |\n" +
		"| `run`        | 5 µs   | 23×   |\n" +
		"| a longer one | 1.00 s |       |\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestPageSaysWhatWasNotMet(t *testing.T) {
	p := page{begun: time.Unix(0, 0), sections: []section{
		{id: "a", title: "Fast things", how: "So.", rows: []row{
			{what: "good", figure: "1 ms", target: "< 2 ms", verdict: met},
			{what: "slow", figure: "9 ms", ratio: "3.00×", target: "≥ 20×", verdict: missed},
			{what: "for information", figure: "7/s"}}},
		{id: "b", title: "Others", failed: "it needs root"},
	}}
	text := p.String()
	for _, want := range []string{
		"2 targets were measured. Of all, not met or not measured:\n",
		"- **slow**: 3.00×, and the target is ≥ 20×.\n",
		"- **Others** was not measured, or not all of it: it needs root.\n",
		"So. (`-only a`)\n",
		"1970-01-01 00:00 UTC",
		"NOT met",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	p.sections = []section{{title: "Fast things", rows: p.sections[0].rows[:1]}}
	if text := p.String(); !strings.Contains(text, "All 1 targets are met.") {
		t.Errorf("not all are met in\n%s", text)
	}
}

func TestWords(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{duration(1234 * time.Nanosecond), "1.23 µs"},
		{duration(56_789 * time.Microsecond), "56.8 ms"},
		{duration(8449 * time.Millisecond), "8.45 s"},
		{times(147.2, 1), "147×"},
		{times(2, 3), "0.67×"},
		{times(1, 0), ""},
		{megabytes(26_450_000), "26.4 MB"},
		{mebibytes(12 << 20), "12.0 MiB"},
		{count(999), "999"},
		{count(10_000), "10,000"},
		{count(1_234_567), "1,234,567"},
		{lastWords("one\ntwo \n\n"), "two"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestOwner(t *testing.T) {
	modules := []string{"bramble", "github.com/nats-io/nats.go", "github.com/nats-io/nats-server/v2", "github.com/nats-io"}
	for symbol, want := range map[string]string{
		"runtime.mallocgc":                                            goOwn,
		"bramble/bus.(*Conn).Call":                                    "bramble",
		"bramblebush.f":                                               goOwn,
		"github.com/nats-io/nats%2ego.(*Conn).flusher":                "github.com/nats-io/nats.go",
		"github.com/nats-io/nats-server/v2/server.(*client).parse":    "github.com/nats-io/nats-server/v2",
		"type:.eq.github.com/nats-io/nats-server/v2/server.stats":     "github.com/nats-io/nats-server/v2",
		"go:itab.*bramble/bus.writer,io.Writer":                       goOwn,
		"slices.SortFunc[go.shape.[]bramble/fleet.Node,go.shape.int]": goOwn,
	} {
		if got := owner(symbol, modules); got != want {
			t.Errorf("%s is %s's, want %s", symbol, got, want)
		}
	}
}
