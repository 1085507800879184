package front_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"regexp"
	"sync"
	"testing"
	"time"

	"bramble/front"
	"bramble/front/visitor"
	"bramble/lab/labtest"
)

// A cable is pulled, a node is killed, and one hangs, each under load: no visitor notices but by a wait.
func TestFaultsUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("short: a lab takes seconds; make test runs it")
	}
	if os.Geteuid() != 0 {
		t.Skip("cutting a link needs root, for network namespaces; CI is root")
	}
	l := labtest.Up(t, 3)
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/index.html", []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l.Must("site", "publish", dir, "--name", "a", "--on", "node[1-3]")
	var members []front.Member
	for i, at := range regexp.MustCompile(`http://([0-9.]+:\d+)`).FindAllStringSubmatch(l.Must("site", "status", "a"), -1) {
		members = append(members, front.Member{Name: fmt.Sprintf("node%d", i+1), Address: netip.MustParseAddrPort(at[1])})
	}
	if len(members) != 3 {
		t.Fatalf("the site is at %v", members)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &front.Server{Spec: front.Spec{Pools: []front.Pool{{Check: front.Check{Path: "/"}, Members: members}}}, Log: slog.New(slog.DiscardHandler)}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := s.Run(ctx, ln); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer stop()
	v := &visitor.Crowd{At: ln.Addr().String(), Path: "/", Many: 16, Right: func(body []byte) bool { return string(body) == "hello\n" }}
	v.Begin(t.Context())
	more := func() {
		t.Helper()
		before := v.Answers()
		labtest.Until(t, "500 more answers", func() bool { return v.Answers() >= before+500 })
	}
	down := func(i int) bool { return s.Standing()[0].Members[i].Health.Down }
	more()
	for i, hurt := range []func(context.Context, string) error{l.Cut, l.Kill, l.Hang} {
		name := members[i].Name
		if err := hurt(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		labtest.Until(t, name+" to be down", func() bool { return down(i) })
		more()
		if err := l.Heal(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		labtest.Until(t, name+" to be back", func() bool { return !down(i) })
		more()
		t.Logf("%s: the worst answer took %s", name, v.Worst().Round(time.Millisecond))
	}
	if err := v.End(); err != nil {
		t.Errorf("of %d requests %d failed, the first one: %v", v.Answers()+v.Failed(), v.Failed(), err)
	}
}
