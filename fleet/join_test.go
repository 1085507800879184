package fleet_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"bramble/event"
	"bramble/fault"
	"bramble/fleet"
	"bramble/metric"
	"bramble/trust"
	"bramble/trust/trusttest"
)

// door is the join handler behind its real TLS.
type door struct {
	*testing.T
	authority *trust.Authority
	addr      string
	events    *event.Log
	now       time.Time
}

func newDoor(t *testing.T) *door {
	t.Helper()
	d := &door{T: t, now: time.Now()}
	clock := func() time.Time { return d.now }
	d.authority = trusttest.Authority(t, clock)
	var err error
	if d.events, err = event.Open(t.TempDir(), clock, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.events.Close() })
	s := &fleet.Service{Authority: d.authority, Roll: &trusttest.Store{}, Events: d.events, Metrics: &metric.Set{},
		Now: clock, Log: slog.New(slog.DiscardHandler)}
	cred := trusttest.Credential(t, d.authority, trust.Identity{Kind: trust.KindHead, Name: "head"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s.JoinHandler(fleet.Ports{Bus: 1, Peer: 2, Web: 3}),
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	go server.Serve(tls.NewListener(l, trust.JoinConfig(cred, d.authority.Verify, clock)))
	t.Cleanup(func() { server.Close() })
	d.addr = l.Addr().String()
	return d
}

func (d *door) token(spec trust.TokenSpec) trust.Token {
	d.Helper()
	token, _, err := d.authority.CreateToken(context.Background(), spec)
	if err != nil {
		d.Fatal(err)
	}
	return token
}

func (d *door) key() *ecdsa.PrivateKey {
	key, err := trust.NewKey()
	if err != nil {
		d.Fatal(err)
	}
	return key
}

func (d *door) join(token trust.Token, name string, key *ecdsa.PrivateKey) (fleet.JoinAnswer, error) {
	d.Helper()
	csr, err := trust.NewRequest(key)
	if err != nil {
		d.Fatal(err)
	}
	return fleet.Join(context.Background(), d.addr, token, fleet.JoinRequest{Name: name, CSR: csr}, func() time.Time { return d.now })
}

func TestJoin(t *testing.T) {
	d := newDoor(t)
	token, key := d.token(trust.TokenSpec{Kind: trust.KindNode, Max: 1}), d.key()
	for range 2 { // the answer of the first may have been lost
		a, err := d.join(token, "n1", key)
		if err != nil || a.ID.String() != "node/n1" || a.Ports.Bus != 1 || !a.Time.Equal(d.now.UTC()) {
			t.Fatalf("got %+v, %v", a, err)
		}
	}
	if _, err := d.join(token, "n2", d.key()); !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "used up") {
		t.Errorf("used up: %v", err)
	}
}

func TestRefusedTokensWriteNothing(t *testing.T) {
	d := newDoor(t)
	records := len(d.authority.Certificates())
	stranger := newDoor(t)
	wrong := d.token(trust.TokenSpec{Kind: trust.KindNode})
	wrong.Secret[0] ^= 1
	revoked := d.token(trust.TokenSpec{Kind: trust.KindNode})
	if err := d.authority.RevokeToken(context.Background(), revoked.ID); err != nil {
		t.Fatal(err)
	}
	expired := d.token(trust.TokenSpec{Kind: trust.KindNode, TTL: time.Minute})
	d.now = d.now.Add(time.Hour)
	disguised := stranger.token(trust.TokenSpec{Kind: trust.KindNode})
	disguised.CA = wrong.CA
	tests := []struct {
		name  string
		token trust.Token
		as    string
		code  fault.Code
		text  string
	}{
		{"wrong", wrong, "n1", fault.Denied, "no such token"},
		{"expired", expired, "n1", fault.Denied, "expired"},
		{"revoked", revoked, "n1", fault.Denied, "revoked"},
		{"foreign", stranger.token(trust.TokenSpec{Kind: trust.KindNode}), "n1", fault.Denied, "not the head that the token was made on"},
		{"foreign, in disguise", disguised, "n1", fault.Denied, "no such token"},
		{"for a person", d.token(trust.TokenSpec{Kind: trust.KindClient, User: "ann", Role: trust.Viewer}), "n1", fault.Misused, "ann"},
		{"no name", d.token(trust.TokenSpec{Kind: trust.KindNode}), "../etc", fault.Misused, "name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := d.join(tt.token, tt.as, d.key())
			if !fault.Is(err, tt.code) || !strings.Contains(err.Error(), tt.text) || fault.Of(err).Try == "" {
				t.Errorf("got %v, try %q", err, fault.Of(err).Try)
			}
		})
	}
	if now := len(d.authority.Certificates()); now != records {
		t.Errorf("%d certificates were issued", now-records)
	}
}

func TestMistypedTokenIsNotSent(t *testing.T) {
	text := newDoor(t).token(trust.TokenSpec{Kind: trust.KindNode}).String()
	for _, bad := range []string{"", "hello", text[:30], strings.Replace(text, text[20:21], "~", 1), text + "0"} {
		if _, err := trust.ParseToken(bad); !fault.Is(err, fault.Misused) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestRefusedTooOften(t *testing.T) {
	d := newDoor(t)
	good, wrong := d.token(trust.TokenSpec{Kind: trust.KindNode}), d.token(trust.TokenSpec{Kind: trust.KindNode})
	wrong.Secret[0] ^= 1
	refusals := 0
	for ; refusals < 50; refusals++ {
		if _, err := d.join(wrong, fmt.Sprintf("n%d", refusals), d.key()); strings.Contains(err.Error(), "too often") {
			break
		}
	}
	if refusals < 5 || refusals == 50 {
		t.Errorf("%d wrong tokens were looked at", refusals)
	}
	if _, err := d.join(good, "n1", d.key()); !fault.Is(err, fault.Denied) {
		t.Errorf("a good one at once: %v", err)
	}
	d.now = d.now.Add(2 * time.Minute)
	if _, err := d.join(good, "n1", d.key()); err != nil {
		t.Errorf("a good one later: %v", err)
	}
}

func TestGarbageAtTheDoor(t *testing.T) {
	d := newDoor(t)
	token := d.token(trust.TokenSpec{Kind: trust.KindNode})
	client := http.Client{Transport: &http.Transport{TLSClientConfig: trust.PinnedConfig(token.CA, time.Now)}}
	defer client.CloseIdleConnections()
	for _, tt := range []struct {
		path, body string
		status     int
	}{
		{"/join", "", 400}, {"/join", "{", 400}, {"/join", `{"csr":"AAAA"}`, 400},
		{"/join", `{"token":"` + strings.Repeat("x", 1<<20) + `"}`, 400},
		{"/join", `{"token":"` + token.String() + `","name":"n1","csr":"AAAA"}`, 400},
		{"/renew", `{"csr":"AAAA"}`, 403},
		{"/etc/passwd", "", 404},
	} {
		resp, err := client.Post("https://"+d.addr+tt.path, "application/json", strings.NewReader(tt.body))
		if err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != tt.status {
			t.Errorf("%s %.40q: %s", tt.path, tt.body, resp.Status)
		}
	}
}

func TestNoHeadThere(t *testing.T) {
	token := newDoor(t).token(trust.TokenSpec{Kind: trust.KindNode})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // a web server that is none of ours
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			c.Close()
		}
	}()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, addr := range []string{closed.Addr().String(), l.Addr().String(), "no such host", "127.0.0.1:99999"} {
		_, err := fleet.Join(context.Background(), addr, token, fleet.JoinRequest{Name: "n1"}, time.Now)
		if err == nil || fault.Of(err).Try == "" || strings.Contains(err.Error(), "Post ") {
			t.Errorf("%s: %v, try %q", addr, err, fault.Of(err).Try)
		}
	}
}

// Whoever is turned away by TLS can ask whether that is because it was removed.
func TestRevoked(t *testing.T) {
	d := newDoor(t)
	clock := func() time.Time { return d.now }
	one := trusttest.Credential(t, d.authority, trust.Identity{Kind: trust.KindNode, Name: "one"})
	two := trusttest.Credential(t, d.authority, trust.Identity{Kind: trust.KindNode, Name: "two"})
	if err := d.authority.RevokeNode(t.Context(), "two"); err != nil {
		t.Fatal(err)
	}
	if _, err := fleet.Renew(t.Context(), d.addr, two, clock); fault.Is(err, fault.Denied) {
		t.Errorf("TLS gives the reason: %v", err)
	}
	for cred, want := range map[*trust.Credential]bool{one: false, two: true} {
		if got, err := fleet.Revoked(t.Context(), d.addr, cred, clock); err != nil || got != want {
			t.Errorf("%s is revoked: %v, %v", cred.Identity(), got, err)
		}
	}
	other := newDoor(t)
	if got, err := fleet.Revoked(t.Context(), other.addr, two, clock); err == nil || got {
		t.Errorf("another cluster's head is believed: %v, %v", got, err)
	}
}
