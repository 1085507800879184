package bare

import (
	"context"
	"testing"
)

// As many answers are waited for as there are nodes, each time anew.
func TestAskedNodesAnswer(t *testing.T) {
	const nodes = 20
	s, err := Start(nodes)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, stop := context.WithCancel(t.Context())
	up, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- Answer(ctx, s.Address(), nodes, []byte("yes"), func() { close(up) }) }()
	select {
	case <-up:
	case err := <-ended:
		t.Fatal(err)
	}
	for range 3 {
		if _, err := s.Ask(t.Context(), []byte("there?")); err != nil {
			t.Error(err)
		}
		if left := len(s.answers); left != 0 {
			t.Errorf("%d answers came after the last", left)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
