package job

import (
	"testing"
	"time"
)

// meddling is accounts that do something when they are asked.
type meddling struct {
	nobody
	then func()
}

func (m *meddling) AccountFor(user string) string {
	if m.then != nil {
		m.then()
	}
	return m.nobody.AccountFor(user)
}

// What tasks of a job share is made once, anew when the job has changed, and not kept when it changes meanwhile.
func TestGround(t *testing.T) {
	accounts := &meddling{}
	n := NewNode(&Node{Accounts: accounts, Dir: t.TempDir(), Log: quiet()})
	k := Key{Job: 1, Index: 2, Attempt: 1}
	spec := func(timeout time.Duration) Spec { return Spec{WorkDir: "/somewhere", Timeout: timeout} }
	change := func(timeout time.Duration) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.respec(1, spec(timeout))
	}
	ground := func() *ground {
		t.Helper()
		g, err := n.groundOf(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	n.enter(k)
	change(1)
	first := ground()
	if ground() != first {
		t.Error("it is made twice")
	}
	change(2)
	if g := ground(); g == first || g.spec.Timeout != 2 {
		t.Errorf("the job has changed, and the limit is %d", g.spec.Timeout)
	}
	change(3)
	accounts.then = func() { // once the spec was read
		accounts.then = nil
		change(4)
	}
	ground()
	if g := ground(); g.spec.Timeout != 4 {
		t.Errorf("the job has changed while its ground was made, and the limit is %d", g.spec.Timeout)
	}
	n.mu.Lock()
	n.leave(k)
	kept := len(n.grounds)
	n.mu.Unlock()
	if kept > 0 {
		t.Error("it is kept when no task is here any more")
	}
	n.close()
}
