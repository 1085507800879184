package agent_test

import (
	"context"
	"crypto/tls"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bramble/agent"
	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
	"bramble/metric"
	"bramble/trust"
	"bramble/trust/trusttest"
)

// door is a head's join handler behind its real TLS; mute, it does what it is asked and loses the answer.
type door struct {
	authority *trust.Authority
	addr      string
	mute      atomic.Bool
}

func newDoor(t *testing.T) *door {
	t.Helper()
	d := &door{authority: trusttest.Authority(t, time.Now)}
	events, err := event.Open(t.TempDir(), time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { events.Close() })
	s := &fleet.Service{Authority: d.authority, Roll: &trusttest.Store{}, Events: events, Metrics: &metric.Set{},
		Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	answer := s.JoinHandler(fleet.Ports{Bus: 7650, Peer: 7651, Web: 7652})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if d.mute.Load() {
				answer.ServeHTTP(discard{}, r)
				panic(http.ErrAbortHandler)
			}
			answer.ServeHTTP(w, r)
		})}
	cred := trusttest.Credential(t, d.authority, trust.Identity{Kind: trust.KindHead, Name: "head"})
	go server.Serve(tls.NewListener(l, trust.JoinConfig(cred, d.authority.Verify, time.Now)))
	t.Cleanup(func() { server.Close() })
	d.addr = l.Addr().String()
	return d
}

type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

func (d *door) token(t *testing.T, spec trust.TokenSpec) trust.Token {
	t.Helper()
	token, _, err := d.authority.CreateToken(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// tree lists what is in a folder, contents included.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		all.WriteString(path + "\n")
		if !e.IsDir() {
			text, _ := os.ReadFile(path)
			all.Write(text)
		}
		return nil
	})
	return all.String()
}

func TestRefusedJoinLeavesNothing(t *testing.T) {
	d, stranger := newDoor(t), newDoor(t)
	ctx, spec := context.Background(), trust.TokenSpec{Kind: trust.KindNode}
	good, wrong, revoked, used := d.token(t, spec), d.token(t, spec), d.token(t, spec), d.token(t, trust.TokenSpec{Kind: trust.KindNode, Max: 1})
	wrong.Secret[0] ^= 1
	d.authority.RevokeToken(ctx, revoked.ID)
	if _, err := agent.Join(ctx, agent.Layout(t.TempDir()), d.addr, used.String(), "first"); err != nil {
		t.Fatal(err)
	}
	person := d.token(t, trust.TokenSpec{Kind: trust.KindClient, User: "ann", Role: trust.Viewer})
	tests := []struct {
		name, token, as string
		code            fault.Code
	}{
		{"wrong", wrong.String(), "n1", fault.Denied},
		{"revoked", revoked.String(), "n1", fault.Denied},
		{"used up", used.String(), "n1", fault.Denied},
		{"foreign", stranger.token(t, spec).String(), "n1", fault.Denied},
		{"mistyped", good.String()[:50], "n1", fault.Misused},
		{"a person's", person.String(), "ann", fault.Misused},
		{"no name", good.String(), "N 1", fault.Misused},
		{"another's name", good.String(), "first", fault.Conflict},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			parent := t.TempDir()
			if _, err := agent.Join(ctx, agent.Layout(parent+"/a/state"), d.addr, tt.token, tt.as); !fault.Is(err, tt.code) || fault.Of(err).Try == "" {
				t.Errorf("got %v", err)
			}
			if left := tree(t, parent); left != parent+"\n" {
				t.Errorf("left behind:\n%s", left)
			}
		})
	}
}

func TestRefusedJoinLeavesAMembershipAlone(t *testing.T) {
	d, stranger := newDoor(t), newDoor(t)
	ctx, state := context.Background(), t.TempDir()
	spec := trust.TokenSpec{Kind: trust.KindNode}
	if _, err := agent.Join(ctx, agent.Layout(state), d.addr, d.token(t, spec).String(), "n1"); err != nil {
		t.Fatal(err)
	}
	before := tree(t, state)
	wrong := d.token(t, spec)
	wrong.Secret[0] ^= 1
	if _, err := agent.Join(ctx, agent.Layout(state), d.addr, wrong.String(), ""); !fault.Is(err, fault.Denied) {
		t.Errorf("a wrong token: %v", err)
	}
	if _, err := agent.Join(ctx, agent.Layout(state), stranger.addr, stranger.token(t, spec).String(), ""); !fault.Is(err, fault.Conflict) {
		t.Errorf("another cluster: %v", err)
	}
	if tree(t, state) != before {
		t.Error("the membership changed")
	}
	if conf, err := agent.Join(ctx, agent.Layout(state), d.addr, d.token(t, spec).String(), ""); err != nil || conf.Name != "n1" {
		t.Errorf("joining again: %+v, %v", conf, err)
	}
}

func TestJoinAfterALostAnswerIsTheSameMachine(t *testing.T) {
	d := newDoor(t)
	token := d.token(t, trust.TokenSpec{Kind: trust.KindNode, Max: 1}).String()
	ctx, state := context.Background(), t.TempDir()
	d.mute.Store(true)
	if _, err := agent.Join(ctx, agent.Layout(state), d.addr, token, "n1"); !fault.Is(err, fault.Unreachable) {
		t.Fatalf("got %v", err)
	}
	d.mute.Store(false)
	conf, err := agent.Join(ctx, agent.Layout(state), d.addr, token, "n1")
	if err != nil || conf.Name != "n1" {
		t.Errorf("got %+v, %v", conf, err)
	}
}

func TestRunNodeWithoutMembershipStartsNothing(t *testing.T) {
	err := agent.RunNode(context.Background(), agent.Options{State: t.TempDir() + "/none"}) // without a Keeper it would panic
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}
}
