package trust_test

import (
	"errors"
	"testing"
	"time"

	"bramble/fault"
	"bramble/trust"
	"bramble/trust/trusttest"
)

func TestRevoke(t *testing.T) {
	w := newWorld(t)
	laptop := trusttest.Credential(t, w.Authority, client("ann", trust.Admin))
	phone := trusttest.Credential(t, w.Authority, client("ann", trust.Admin))
	bob := trusttest.Credential(t, w.Authority, client("bob", trust.Admin))
	token := w.token(trust.TokenSpec{Kind: trust.KindClient, User: "ann", Role: trust.Admin})
	var told []trust.Identity
	w.OnRevoke(func(id trust.Identity) {
		if _, err := w.Verify(laptop.Cert()); err == nil {
			t.Error("told before it was in force")
		}
		told = append(told, id)
	})

	must(t, w.Revoke(t.Context(), trust.Identity{Serial: laptop.Identity().Serial}))
	_, err := w.Verify(laptop.Cert())
	refuses(t, err, fault.Denied, "removed")
	_, err = w.Verify(phone.Cert())
	must(t, err)
	if len(told) != 1 || told[0] != laptop.Identity() {
		t.Errorf("told %+v", told)
	}

	must(t, w.Revoke(t.Context(), client("ann", "")))
	w.restart()
	for _, cred := range []*trust.Credential{laptop, phone} {
		_, err = w.Verify(cred.Cert())
		refuses(t, err, fault.Denied, "removed")
	}
	_, err = w.Verify(bob.Cert())
	must(t, err)
	_, err = w.SignIn(t.Context(), token)
	refuses(t, err, fault.Denied, "revoked")
	if len(told) != 2 || !told[1].Covers(phone.Identity()) || told[1].Covers(bob.Identity()) {
		t.Errorf("told %+v", told)
	}
	if got := w.Denied(); len(got) != 2 {
		t.Errorf("the deny list is %v", got)
	}
}

func TestRevokeRefuses(t *testing.T) {
	w := newWorld(t)
	cred := trusttest.Credential(t, w.Authority, head("pi0"))
	w.OnRevoke(func(id trust.Identity) { t.Errorf("told %v", id) })
	for _, id := range []trust.Identity{{}, {Serial: "x"}, {Serial: "00000000000000000000000000000000"}, node("pi0"), node("no/name"), client("ann", "")} {
		if err := w.Revoke(t.Context(), id); !fault.Is(err, fault.NotFound) {
			t.Errorf("%+v: %v", id, err)
		}
	}
	for _, id := range []trust.Identity{head("pi0"), {Serial: cred.Identity().Serial}} {
		refuses(t, w.Revoke(t.Context(), id), fault.Misused, "head")
	}
	_, err := w.Verify(cred.Cert())
	must(t, err)
}

func TestRevokeComesFirstEvenWithoutAStore(t *testing.T) {
	w := newWorld(t)
	cred := trusttest.Credential(t, w.Authority, node("pi1"))
	told := 0
	w.OnRevoke(func(trust.Identity) { told++ })
	w.store.Break(errors.New("disk full"))
	refuses(t, w.RevokeNode(t.Context(), "pi1"), fault.Failed, "disk full")
	_, err := w.Verify(cred.Cert())
	refuses(t, err, fault.Denied, "removed")
	w.store.Break(nil)
	must(t, w.RevokeNode(t.Context(), "pi1"))
	w.restart()
	_, err = w.Verify(cred.Cert())
	refuses(t, err, fault.Denied, "removed")
	if told != 2 {
		t.Errorf("told %d times", told)
	}
}

func TestTokenBooks(t *testing.T) {
	w := newWorld(t)
	for _, spec := range []trust.TokenSpec{
		{}, {Kind: trust.KindHead}, {Kind: "x"}, {Kind: trust.KindNode, User: "ann"}, {Kind: trust.KindNode, Role: trust.Viewer},
		{Kind: trust.KindClient}, {Kind: trust.KindClient, User: "ann"}, {Kind: trust.KindClient, User: "a b", Role: trust.Viewer},
		{Kind: trust.KindNode, TTL: -1}, {Kind: trust.KindNode, Max: -1},
	} {
		if _, _, err := w.CreateToken(t.Context(), spec); !fault.Is(err, fault.Misused) {
			t.Errorf("%+v: %v", spec, err)
		}
	}
	for _, id := range []string{"", "00000000", "a.b", "../../..", "ABCDEFGH"} {
		refuses(t, w.RevokeToken(t.Context(), id), fault.NotFound, "token")
	}
	token, info, err := w.CreateToken(t.Context(), nodes)
	must(t, err)
	if info.ID != token.ID || info.Hash != nil || !info.Expires.Equal(w.now().Add(trust.DefaultTokenTTL)) {
		t.Errorf("made %+v", info)
	}
	w.pass(29 * 24 * time.Hour)
	w.restart()
	if infos, err := w.Tokens(t.Context()); err != nil || len(infos) != 1 {
		t.Errorf("listed %v, %v", infos, err)
	}
	w.pass(30 * 24 * time.Hour)
	w.restart()
	if infos, err := w.Tokens(t.Context()); err != nil || len(infos) != 0 {
		t.Errorf("still listed %v, %v", infos, err)
	}
}
