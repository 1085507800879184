package trust_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"bramble/fault"
	"bramble/trust"
)

// rank is a credential that the world's CA issued.
func (w *world) rank(r trust.Rank) *trust.RankCredential {
	w.Helper()
	key, err := trust.NewKey()
	must(w.T, err)
	csr, err := trust.NewRequest(key)
	must(w.T, err)
	cert, ca, err := w.CA().IssueRank(r, csr)
	must(w.T, err)
	c, err := trust.NewRankCredential(key, cert, ca)
	must(w.T, err)
	if c.Rank != r {
		w.Errorf("the certificate is rank %s's, not %s's", c.Rank, r)
	}
	return c
}

// speak makes a connection between two ends and returns what each says of the other.
func speak(t *testing.T, server, client *tls.Config) (errServer, errClient error, seen string) {
	t.Helper()
	a, b := net.Pipe()
	done := make(chan error, 1)
	srv := tls.Server(a, server)
	go func() {
		defer a.Close()
		err := srv.Handshake()
		if err == nil {
			_, err = srv.Write([]byte{1})
		}
		done <- err
	}()
	cli := tls.Client(b, client)
	errClient = cli.Handshake()
	if errClient == nil {
		_, errClient = cli.Read(make([]byte, 1)) // with TLS 1.3 the server's refusal comes now
	}
	b.Close()
	errServer = <-done
	if other, err := trust.RankPeer(srv.ConnectionState()); err == nil {
		seen = other.String()
	}
	return errServer, errClient, seen
}

func (w *world) rankConfig(c *trust.RankCredential) *tls.Config {
	return trust.RankConfig(func() (*trust.RankCredential, error) { return c, nil }, w.now)
}

func TestRanksOfAStepSpeak(t *testing.T) {
	w, foreign := newWorld(t), newWorld(t)
	r := trust.Rank{Attempt: "7.0.1", Step: "abc", Rank: 3}
	one := w.rank(r)
	with := func(change func(*trust.Rank)) *trust.RankCredential {
		other := r
		change(&other)
		return w.rank(other)
	}
	for name, c := range map[string]struct {
		other *trust.RankCredential
		want  string // part of a refusal
	}{
		"same step":       {with(func(r *trust.Rank) { r.Rank = 0 }), ""},
		"another step":    {with(func(r *trust.Rank) { r.Step = "abd" }), "of another step"},
		"another attempt": {with(func(r *trust.Rank) { r.Attempt = "7.0.2" }), "of another step"},
		"another cluster": {foreign.rank(r), "not one of this cluster's"},
	} {
		errServer, errClient, seen := speak(t, w.rankConfig(c.other), w.rankConfig(one))
		switch {
		case c.want == "" && (errServer != nil || errClient != nil || seen != "7.0.1/abc/3"):
			t.Errorf("%s: %v, %v, seen as %q", name, errServer, errClient, seen)
		case c.want != "" && (errClient == nil || !strings.Contains(errClient.Error(), c.want)):
			t.Errorf("%s: %v", name, errClient)
		}
	}
	w.pass(trust.RankValidity/2 + time.Second)
	if !one.RenewDue(w.now()) {
		t.Error("it is not due when half of its time is over")
	}
	w.pass(trust.RankValidity / 2)
	if _, err, _ := speak(t, w.rankConfig(one), w.rankConfig(w.rank(r))); err == nil || !strings.Contains(err.Error(), "ran out") {
		t.Errorf("one that ran out: %v", err)
	}
}

// A rank's certificate lets nobody in where the cluster's own are let in, as server or as client, and theirs is no rank's.
func TestARankIsNobodyElse(t *testing.T) {
	w := newWorld(t)
	r := w.rank(trust.Rank{Attempt: "7.0.1", Step: "node", Rank: 1})
	if id, err := w.Verify(r.Cert); !fault.Is(err, fault.Denied) {
		t.Errorf("it is verified as %v, %v", id, err)
	}
	key, err := trust.NewKey()
	must(t, err)
	cert, err := w.CA().IssueNode("node1", &key.PublicKey)
	must(t, err)
	node, err := trust.NewCredential(key, cert, w.CA().Cert())
	must(t, err)
	as := w.rankConfig(r)
	if err, _, _ := speak(t, trust.ServerConfig(node, w.Verify, w.now), as); err == nil {
		t.Error("a server of the cluster lets it in")
	}
	if err, _, _ := speak(t, trust.JoinConfig(node, w.Verify, w.now), &tls.Config{InsecureSkipVerify: true, GetClientCertificate: as.GetClientCertificate}); err == nil {
		t.Error("it may ask to be renewed as a member")
	}
	if _, err, _ := speak(t, as, trust.ClientConfig(node, w.Verify, w.now, trust.KindNode, trust.KindHead)); err == nil {
		t.Error("a node takes it for a server of the cluster")
	}
	if _, err, _ := speak(t, trust.ServerConfig(node, w.Verify, w.now), as); err == nil || !strings.Contains(err.Error(), "no rank's") {
		t.Errorf("a rank takes a node for a rank: %v", err)
	}
	if _, _, err := w.Renew(t.Context(), r.Cert, nil); !fault.Is(err, fault.Denied) {
		t.Errorf("renewed as a member: %v", err)
	}
}

func TestNoSuchRank(t *testing.T) {
	w := newWorld(t)
	key, err := trust.NewKey()
	must(t, err)
	csr, err := trust.NewRequest(key)
	must(t, err)
	for _, r := range []trust.Rank{{}, {"7.0.1", "", 0}, {"7.0.1", "a/b", 0}, {"7.0.1", "A", 0}, {"7/0", "a", 0}, {"7.0.1", "a", -1}, {"7.0.1", strings.Repeat("a", 64), 0}} {
		if _, _, err := w.CA().IssueRank(r, csr); !fault.Is(err, fault.Misused) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if _, _, err := w.CA().IssueRank(trust.Rank{Attempt: "7.0.1", Step: "a"}, []byte("no request")); !fault.Is(err, fault.Misused) {
		t.Errorf("no request: %v", err)
	}
}
