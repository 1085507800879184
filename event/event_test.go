package event_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bramble/bus/bustest"
	"bramble/event"
	"bramble/trust"
)

func TestMain(m *testing.M) { bustest.Main(m) }

func open(t *testing.T, dir string) *event.Log {
	t.Helper()
	l, err := event.Open(dir, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestListAndFollow(t *testing.T) {
	b := bustest.Start(t)
	dir := t.TempDir()
	l := open(t, dir)
	head := b.Head()
	if err := l.Serve(t.Context(), head); err != nil {
		t.Fatal(err)
	}
	head.Flush(t.Context())
	for i := range 5 {
		l.Record(event.Event{Kind: event.Change, Room: "fleet", Node: fmt.Sprintf("node%d", i%2), Text: fmt.Sprint(i)})
	}
	client := event.Client{Conn: b.Client("vic", trust.Viewer)}
	texts := func(f event.Filter) (got []string) {
		for e, err := range client.List(t.Context(), f) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Text)
		}
		return got
	}
	for _, tt := range []struct {
		filter event.Filter
		want   string
	}{
		{event.Filter{}, "[0 1 2 3 4]"},
		{event.Filter{Limit: 2}, "[3 4]"},
		{event.Filter{Node: "node0"}, "[0 2 4]"},
		{event.Filter{After: 4}, "[4]"},
		{event.Filter{Room: "job"}, "[]"},
	} {
		if got := fmt.Sprint(texts(tt.filter)); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.filter, got, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var followed []string
	for e, err := range client.List(ctx, event.Filter{After: 4, Follow: true}) {
		if err != nil {
			t.Fatal(err)
		}
		followed = append(followed, e.Text)
		if len(followed) == 1 {
			l.Record(event.Event{Text: "new"})
		} else {
			break
		}
	}
	if fmt.Sprint(followed) != "[4 new]" {
		t.Errorf("followed %v", followed)
	}
}

func TestRemembersAcrossRestartAndTornLine(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	l.Record(event.Event{Text: "before"})
	l.Close()
	f, _ := os.OpenFile(filepath.Join(dir, "events.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	f.WriteString(`{"seq":2,"te`)
	f.Close()
	l = open(t, dir)
	l.Record(event.Event{Text: "after"})
	l.Close()
	l = open(t, dir)
	b := bustest.Start(t)
	head := b.Head()
	l.Serve(t.Context(), head)
	head.Flush(t.Context())
	var got []string
	for e, err := range (event.Client{Conn: b.Client("vic", trust.Viewer)}).List(t.Context(), event.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Text)
	}
	if fmt.Sprint(got) != "[before after]" {
		t.Errorf("got %v", got)
	}
}
