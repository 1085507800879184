package trust_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bramble/fault"
	"bramble/trust"
	"bramble/trust/trusttest"
)

var nodes = trust.TokenSpec{Kind: trust.KindNode}

func TestRedeem(t *testing.T) {
	w := newWorld(t)
	cert, err := w.join(w.token(nodes), newKey(t), "pi1")
	must(t, err)
	if id, err := w.Verify(cert); err != nil || id.Kind != trust.KindNode || id.Name != "pi1" {
		t.Errorf("the joiner is %v, %v", id, err)
	}
	cert, err = w.join(w.token(trust.TokenSpec{Kind: trust.KindClient, User: "ann", Role: trust.Operator}), newKey(t), "")
	must(t, err)
	if id, err := w.Verify(cert); err != nil || id.String() != "client/ann/operator" {
		t.Errorf("the client is %v, %v", id, err)
	}
	infos, err := w.Tokens(t.Context())
	must(t, err)
	if len(infos) != 2 || infos[0].Uses != 1 || infos[0].Hash != nil {
		t.Errorf("the tokens are listed as %+v", infos)
	}
}

func TestRedeemRefuses(t *testing.T) {
	w := newWorld(t)
	good := w.token(nodes)
	wrong, unknown, swapped := good, good, good
	wrong.Secret[15] ^= 1
	unknown.ID = "00000000"
	swapped.Secret = w.token(nodes).Secret
	odd := good
	odd.ID = "a.b/../*"
	foreign, _, err := trusttest.Authority(t, w.now).CreateToken(t.Context(), nodes)
	must(t, err)
	expired := w.token(trust.TokenSpec{Kind: trust.KindNode, TTL: time.Hour})
	revoked := w.token(nodes)
	must(t, w.RevokeToken(t.Context(), revoked.ID))
	revokedWrong := revoked
	revokedWrong.Secret[0] ^= 1
	used := w.token(trust.TokenSpec{Kind: trust.KindNode, Max: 1})
	_, err = w.join(used, newKey(t), "pi9")
	must(t, err)
	person := w.token(trust.TokenSpec{Kind: trust.KindClient, User: "ann", Role: trust.Viewer})
	w.pass(time.Hour)

	tests := []struct {
		name  string
		token trust.Token
		want  string
		code  fault.Code
		text  string
	}{
		{"wrong secret", wrong, "pi1", fault.Denied, "no such token"},
		{"unknown ID", unknown, "pi1", fault.Denied, "no such token"},
		{"another's secret", swapped, "pi1", fault.Denied, "no such token"},
		{"odd ID", odd, "pi1", fault.Denied, "no such token"},
		{"revoked, wrong secret", revokedWrong, "pi1", fault.Denied, "no such token"},
		{"foreign", foreign, "pi1", fault.Denied, "another cluster's"},
		{"expired", expired, "pi1", fault.Denied, "expired"},
		{"revoked", revoked, "pi1", fault.Denied, "revoked"},
		{"used up", used, "pi1", fault.Denied, "used up"},
		{"bad name", good, "Pi 1", fault.Misused, "Pi 1"},
		{"no name", good, "", fault.Misused, "name"},
		{"a person's token for a node", person, "pi1", fault.Misused, "joins no node"},
	}
	before := w.Certificates()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := w.join(test.token, newKey(t), test.want)
			refuses(t, err, test.code, test.text)
		})
	}
	if after := w.Certificates(); !slices.Equal(before, after) {
		t.Errorf("a refusal left something in the books: %v", after)
	}
	infos, err := w.Tokens(t.Context())
	must(t, err)
	for _, info := range infos {
		if info.ID != used.ID && info.Uses != 0 {
			t.Errorf("a refusal counted as a use: %+v", info)
		}
	}
}

func TestTokenUsesUnderConcurrency(t *testing.T) {
	w := newWorld(t)
	token := w.token(trust.TokenSpec{Kind: trust.KindNode, Max: 3})
	var joined atomic.Int32
	var group sync.WaitGroup
	for i := range 12 {
		key, name := newKey(t), "pi"+string(rune('a'+i))
		group.Go(func() {
			if _, err := w.join(token, key, name); err == nil {
				joined.Add(1)
			} else if !fault.Is(err, fault.Denied) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if joined.Load() != 3 {
		t.Errorf("a token for 3 let %d in", joined.Load())
	}
}

func TestAskingAgainIsNoSecondUse(t *testing.T) {
	w := newWorld(t)
	token := w.token(trust.TokenSpec{Kind: trust.KindNode, Max: 1})
	key := newKey(t)
	for range 3 {
		_, err := w.join(token, key, "pi1")
		must(t, err)
	}
	_, err := w.join(token, key, "pi2")
	refuses(t, err, fault.Denied, "used up")
	_, err = w.join(token, newKey(t), "pi3")
	refuses(t, err, fault.Denied, "used up")
}

// noCertificates is a Store that has room for tokens alone.
type noCertificates struct{ trust.Store }

func (s noCertificates) Put(ctx context.Context, key string, value []byte) error {
	if strings.HasPrefix(key, "cert.") {
		return errors.New("disk full")
	}
	return s.Store.Put(ctx, key, value)
}

func TestAFailedStoreGivesTheUseBack(t *testing.T) {
	w := newWorld(t)
	token := w.token(trust.TokenSpec{Kind: trust.KindNode, Max: 1})
	w.Authority = trust.NewAuthority(w.CA(), noCertificates{w.store})
	must(t, w.Load(t.Context()))
	if _, err := w.join(token, newKey(t), "pi1"); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Fatalf("got %v", err)
	}
	if len(w.Certificates()) != 0 {
		t.Errorf("the books hold what is not on disk: %v", w.Certificates())
	}
	w.restart()
	_, err := w.join(token, newKey(t), "pi1")
	must(t, err)
	token = w.token(nodes)
	w.store.Break(errors.New("disk full"))
	if _, err := w.join(token, newKey(t), "pi2"); err == nil {
		t.Error("joined without a disk")
	}
}

func TestNames(t *testing.T) {
	w := newWorld(t)
	trusttest.Credential(t, w.Authority, head("pi0"))
	token, key := w.token(nodes), newKey(t)
	old, err := w.join(token, key, "pi1")
	must(t, err)
	_, err = w.join(w.token(nodes), key, "pi1") // the same machine again
	must(t, err)

	for _, taken := range []string{"pi1", "pi0"} {
		_, err = w.join(token, newKey(t), taken)
		refuses(t, err, fault.Conflict, taken)
		if hint := fault.Of(err).Try; !strings.Contains(hint, taken+"-2") {
			t.Errorf("the hint is %q", hint)
		}
	}
	w.pass(2 * trust.Validity) // in a drawer: it has run out, and keeps its name
	token = w.token(nodes)
	_, err = w.join(token, newKey(t), "pi1")
	refuses(t, err, fault.Conflict, "pi1")
	w.restart()
	_, err = w.join(token, newKey(t), "pi1")
	refuses(t, err, fault.Conflict, "pi1")

	must(t, w.RevokeNode(t.Context(), "pi1"))
	_, err = w.join(token, newKey(t), "pi1")
	must(t, err)
	_, err = w.Verify(old)
	refuses(t, err, fault.Denied, "removed")
}

func TestARemovedMachineMayJoinAgain(t *testing.T) {
	w := newWorld(t)
	key := newKey(t)
	_, err := w.join(w.token(nodes), key, "pi1")
	must(t, err)
	must(t, w.RevokeNode(t.Context(), "pi1"))
	cert, err := w.join(w.token(nodes), key, "pi1")
	must(t, err)
	_, err = w.Verify(cert)
	must(t, err)
}

func TestIssue(t *testing.T) {
	w := newWorld(t)
	trusttest.Credential(t, w.Authority, head("pi0"))
	trusttest.Credential(t, w.Authority, node("pi0")) // the head's own machine
	_, _, err := w.Issue(t.Context(), node("pi0"), request(t, newKey(t)))
	refuses(t, err, fault.Conflict, "pi0")
	_, _, err = w.Issue(t.Context(), head("pi1"), request(t, newKey(t)))
	if !fault.Is(err, fault.Misused) {
		t.Errorf("a head's certificate was issued from afar: %v", err)
	}
	_, _, err = w.Issue(t.Context(), client("ann", "root"), request(t, newKey(t)))
	refuses(t, err, fault.Misused, "root")
}

func TestRenew(t *testing.T) {
	for _, age := range []time.Duration{time.Hour, 10 * trust.Validity} {
		w := newWorld(t)
		key := newKey(t)
		old, err := w.join(w.token(nodes), key, "pi1")
		must(t, err)
		w.pass(age)
		w.restart()
		text, id, err := w.Renew(t.Context(), old, request(t, key))
		must(t, err)
		fresh := certificate(t, text)
		if got, err := w.Verify(fresh); err != nil || got != id || got.Name != "pi1" {
			t.Errorf("after %v: %v, %v", age, got, err)
		}
		if !fresh.NotAfter.Equal(w.now().Add(trust.Validity)) {
			t.Errorf("after %v it lasts until %v", age, fresh.NotAfter)
		}
		if _, _, err := w.Renew(t.Context(), old, request(t, key)); err != nil { // the answer was lost
			t.Errorf("after %v, once more: %v", age, err)
		}
		if records := w.Certificates(); len(records) > 3 || age > trust.Validity && len(records) != 2 {
			t.Errorf("after %v the books hold %d records", age, len(records))
		}
	}
}

func TestRenewRefuses(t *testing.T) {
	w := newWorld(t)
	key := newKey(t)
	old, err := w.join(w.token(nodes), key, "pi1")
	must(t, err)
	_, _, err = w.Renew(t.Context(), old, request(t, newKey(t)))
	refuses(t, err, fault.Denied, "another key")

	stranger := trusttest.Credential(t, trusttest.Authority(t, w.now), node("pi1"))
	csr, err := stranger.Request()
	must(t, err)
	_, _, err = w.Renew(t.Context(), stranger.Cert(), csr)
	refuses(t, err, fault.Denied, "not one of this cluster's")

	w.pass(2 * trust.Validity)
	_, _, err = w.Renew(t.Context(), old, request(t, key)) // leaves old out of the books
	must(t, err)
	must(t, w.RevokeNode(t.Context(), "pi1"))
	w.restart()
	_, _, err = w.Renew(t.Context(), old, request(t, key))
	refuses(t, err, fault.Denied, "")
}

func TestRenewKeepsAHeadsHosts(t *testing.T) {
	w := newWorld(t)
	cred := trusttest.Credential(t, w.Authority, head("pi0"))
	csr, err := cred.Request()
	must(t, err)
	text, _, err := w.Renew(t.Context(), cred.Cert(), csr)
	must(t, err)
	must(t, certificate(t, text).VerifyHostname("127.0.0.1"))
	must(t, certificate(t, text).VerifyHostname("localhost"))
}

// After a restore the books may be older than certificates that are out there.
func TestBooksOlderThanCertificates(t *testing.T) {
	w := newWorld(t)
	key, lost := newKey(t), newKey(t)
	cert, err := w.CA().IssueNode("pi1", &key.PublicKey)
	must(t, err)
	gone, err := w.CA().IssueNode("pi1", &lost.PublicKey)
	must(t, err)
	_, err = w.Verify(cert)
	must(t, err)
	_, _, err = w.Renew(t.Context(), cert, request(t, key))
	must(t, err)
	_, _, err = w.Renew(t.Context(), gone, request(t, lost))
	refuses(t, err, fault.Conflict, "pi1")

	id, err := w.Verify(gone)
	must(t, err)
	must(t, w.Revoke(t.Context(), id))
	w.restart()
	_, err = w.Verify(gone)
	refuses(t, err, fault.Denied, "removed")
	_, err = w.Verify(cert)
	must(t, err)

	late, err := w.CA().IssueNode("pi7", &lost.PublicKey)
	must(t, err)
	w.pass(2 * trust.Validity)
	_, _, err = w.Renew(t.Context(), late, request(t, lost))
	refuses(t, err, fault.Denied, "do not know")
}

func TestVerify(t *testing.T) {
	w := newWorld(t)
	cred := trusttest.Credential(t, w.Authority, node("pi1"))
	w.pass(-3 * 365 * 24 * time.Hour) // a board that thinks it is years ago
	_, err := w.Verify(cred.Cert())
	must(t, err)
	w.pass(3*365*24*time.Hour + trust.Validity)
	_, err = w.Verify(cred.Cert())
	must(t, err)
	w.pass(time.Second)
	id, err := w.Verify(cred.Cert())
	refuses(t, err, fault.Denied, "ran out")
	if !errors.Is(err, trust.ErrExpired) || id.Name != "pi1" {
		t.Errorf("got %v, %v", id, err)
	}
	must(t, w.RevokeNode(t.Context(), "pi1"))
	if _, err := w.Verify(cred.Cert()); errors.Is(err, trust.ErrExpired) || !fault.Is(err, fault.Denied) {
		t.Errorf("revoked and run out: %v", err)
	}
	if _, err := w.Verify(w.CA().Cert()); !fault.Is(err, fault.Denied) {
		t.Errorf("the CA's own certificate: %v", err)
	}
}

func TestBeforeLoad(t *testing.T) {
	w := newWorld(t)
	headCred := trusttest.Credential(t, w.Authority, head("pi0"))
	nodeCred := trusttest.Credential(t, w.Authority, node("pi1"))
	token := w.token(nodes)
	w.Authority = trust.NewAuthority(w.CA(), w.store)
	_, err := w.Verify(headCred.Cert())
	must(t, err)
	_, err = w.Verify(nodeCred.Cert())
	refuses(t, err, fault.Unreachable, "starting")
	_, err = w.join(token, newKey(t), "pi2")
	refuses(t, err, fault.Unreachable, "starting")
	csr, err := nodeCred.Request()
	must(t, err)
	w.pass(2 * trust.Validity)
	_, _, err = w.Renew(t.Context(), nodeCred.Cert(), csr)
	refuses(t, err, fault.Unreachable, "starting")
}

func TestDamagedBooks(t *testing.T) {
	w := newWorld(t)
	must(t, w.store.Put(t.Context(), "cert.00", []byte("{")))
	if err := trust.NewAuthority(w.CA(), w.store).Load(t.Context()); err == nil || !strings.Contains(err.Error(), "cert.00") {
		t.Errorf("got %v", err)
	}
}
