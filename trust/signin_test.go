package trust_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bramble/fault"
	"bramble/trust"
)

func newSignIn(t *testing.T) (*world, *trust.SignIn) {
	t.Helper()
	w := newWorld(t)
	return w, trust.NewSignIn(w.SignIn, w.now)
}

func TestSignInByLink(t *testing.T) {
	w, signIn := newSignIn(t)
	ann := client("ann", trust.Operator)
	secret := signIn.NewLink(ann, time.Minute)
	session, err := signIn.Redeem(t.Context(), "here", secret)
	must(t, err)
	if session.Identity != ann || !session.Expires.Equal(w.now().Add(trust.SessionTTL)) || len(session.ID) < 26 {
		t.Errorf("began %+v", session)
	}
	_, err = signIn.Redeem(t.Context(), "here", secret)
	refuses(t, err, fault.Denied, "used")
	_, err = signIn.Session(secret)
	refuses(t, err, fault.Denied, "signed in")

	found, err := signIn.Session(session.ID)
	if err != nil || found.Identity != ann || found.ID != "" {
		t.Errorf("found %+v, %v", found, err)
	}
	signIn.End(session.ID)
	_, err = signIn.Session(session.ID)
	refuses(t, err, fault.Denied, "signed in")

	late := signIn.NewLink(ann, time.Minute)
	session, err = signIn.Redeem(t.Context(), "here", signIn.NewLink(ann, time.Hour))
	must(t, err)
	w.pass(time.Minute)
	_, err = signIn.Redeem(t.Context(), "here", late)
	refuses(t, err, fault.Denied, "too old")
	w.pass(trust.SessionTTL)
	_, err = signIn.Session(session.ID)
	refuses(t, err, fault.Denied, "signed in")
}

func TestSignInByToken(t *testing.T) {
	w, signIn := newSignIn(t)
	token := w.token(trust.TokenSpec{Kind: trust.KindClient, User: "ann", Role: trust.Admin, Max: 2})
	for _, typed := range []string{token.String(), " " + strings.ToUpper(token.String()) + "\n"} {
		session, err := signIn.Redeem(t.Context(), "here", typed)
		if err != nil || session.Identity != client("ann", trust.Admin) {
			t.Errorf("began %+v, %v", session, err)
		}
	}
	_, err := signIn.Redeem(t.Context(), "here", token.String())
	refuses(t, err, fault.Denied, "used up")
	_, err = signIn.Redeem(t.Context(), "here", w.token(nodes).String())
	refuses(t, err, fault.Denied, "signs nobody in")
	_, err = signIn.Redeem(t.Context(), "here", token.String()[:40])
	refuses(t, err, fault.Misused, "mistyped")
}

func TestOneLinkOneSession(t *testing.T) {
	_, signIn := newSignIn(t)
	secret := signIn.NewLink(client("ann", trust.Viewer), time.Minute)
	var began atomic.Int32
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			if _, err := signIn.Redeem(t.Context(), fmt.Sprint(i), secret); err == nil {
				began.Add(1)
			}
		})
	}
	group.Wait()
	if began.Load() != 1 {
		t.Errorf("one link began %d sessions", began.Load())
	}
}

func TestSignInRateLimit(t *testing.T) {
	w, signIn := newSignIn(t)
	link := func() string { return signIn.NewLink(client("ann", trust.Viewer), time.Hour) }
	for range 3 * trust.TriesPerMinute { // right ones do not count
		_, err := signIn.Redeem(t.Context(), "a", link())
		must(t, err)
	}
	var limited atomic.Int32
	var group sync.WaitGroup
	for range 3 * trust.TriesPerMinute {
		group.Go(func() {
			if _, err := signIn.Redeem(t.Context(), "a", "wrong"); fault.Is(err, fault.Full) {
				limited.Add(1)
			}
		})
	}
	group.Wait()
	if limited.Load() != 2*trust.TriesPerMinute {
		t.Errorf("%d tries were refused unheard", limited.Load())
	}
	_, err := signIn.Redeem(t.Context(), "a", link())
	refuses(t, err, fault.Full, "too many")
	_, err = signIn.Redeem(t.Context(), "b", link())
	must(t, err)
	w.pass(time.Minute)
	_, err = signIn.Redeem(t.Context(), "a", link())
	must(t, err)
}

func TestSessionsAreBounded(t *testing.T) {
	w, signIn := newSignIn(t)
	var first, last trust.Session
	for i := range trust.MaxSessions + 1 {
		session, err := signIn.Redeem(t.Context(), "a", signIn.NewLink(client("ann", trust.Viewer), time.Hour))
		must(t, err)
		if i == 0 {
			first = session
		}
		last = session
		w.pass(time.Millisecond)
	}
	_, err := signIn.Session(first.ID)
	refuses(t, err, fault.Denied, "signed in")
	_, err = signIn.Session(last.ID)
	must(t, err)
}

func TestRevocationEndsSessions(t *testing.T) {
	w, signIn := newSignIn(t)
	w.OnRevoke(signIn.EndAll)
	token := w.token(trust.TokenSpec{Kind: trust.KindClient, User: "ann", Role: trust.Admin})
	ann, err := signIn.Redeem(t.Context(), "a", token.String())
	must(t, err)
	bob, err := signIn.Redeem(t.Context(), "a", signIn.NewLink(client("bob", trust.Admin), time.Hour))
	must(t, err)
	link := signIn.NewLink(client("ann", trust.Viewer), time.Hour)
	must(t, w.Revoke(t.Context(), client("ann", "")))
	_, err = signIn.Session(ann.ID)
	refuses(t, err, fault.Denied, "signed in")
	_, err = signIn.Redeem(t.Context(), "a", link)
	refuses(t, err, fault.Denied, "used")
	_, err = signIn.Session(bob.ID)
	must(t, err)
}
