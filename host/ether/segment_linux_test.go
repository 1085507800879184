package ether_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"bramble/host/ether"
	hostnet "bramble/host/net"
)

const (
	patience = time.Minute
	protocol = 253 // for experiments, by RFC 3692
)

var group = netip.MustParseAddr("224.0.0.18")

// open makes a switch and opens the segment where the machine is plugged into it.
func open(t *testing.T) (*ether.Segment, *hostnet.Network) {
	t.Helper()
	if testing.Short() {
		t.Skip("short: a network takes a second; make test runs it")
	}
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root; CI is root")
	}
	lab := "e" + strings.ToLower(rand.Text()[:6])
	t.Cleanup(func() {
		if err := hostnet.Down(context.WithoutCancel(t.Context()), lab); err != nil {
			t.Error(err)
		}
	})
	n, err := hostnet.Up(t.Context(), hostnet.Spec{Lab: lab, Nodes: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	s := openAt(t, n.Nodes[0].Addr)
	return s, n
}

func openAt(t *testing.T, shared netip.Addr) *ether.Segment {
	t.Helper()
	ports, err := ether.Ports()
	if err != nil {
		t.Fatal(err)
	}
	port, own, err := ether.Choose(ports, shared, "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := ether.Open(port, own, protocol, group)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for begun := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > patience {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// The kernel takes an address away that nobody renews.
func TestLeaseEnds(t *testing.T) {
	s, n := open(t)
	shared := n.Nodes[0].Addr.Next()
	stands := func(long time.Duration) (has, leased bool) {
		has, leased, err := s.Leased(shared, long)
		if err != nil {
			t.Fatal(err)
		}
		return has, leased
	}
	if has, _ := stands(time.Second); has {
		t.Fatal("it is there already")
	}
	if err := s.Lease(shared, time.Minute); err != nil {
		t.Fatal(err)
	}
	if has, leased := stands(time.Minute); !has || !leased {
		t.Errorf("it is there: %v, leased: %v", has, leased)
	}
	if has, leased := stands(time.Second); !has || leased {
		t.Error("an address for a minute is taken for one of a lease of a second")
	}
	if err := s.Lease(shared, time.Second); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	until(t, "the lease to end", func() bool { has, _ := stands(time.Second); return !has })
	t.Logf("the lease of a second ended after %s", time.Since(begun).Round(time.Millisecond))

	if err := s.Lease(shared, time.Minute); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is gone
		if err := s.Drop(shared); err != nil {
			t.Fatal(err)
		}
	}
	if has, _ := stands(time.Second); has {
		t.Error("it is there after it was dropped")
	}
	if has, leased, err := s.Leased(s.Own, time.Second); err != nil || !has || leased {
		t.Errorf("an address of the machine itself: %v, %v, %v", has, leased, err)
	}
}

// Who asks by ARP hears who has an address, without taking a place in anybody's table.
func TestAsk(t *testing.T) {
	s, n := open(t)
	node := n.Nodes[0].Addr
	heard := make(chan error, 1)
	go func() {
		for {
			if c, err := s.HearClaim(); err != nil || c.Addr == node {
				heard <- err
				return
			}
		}
	}()
	until(t, "an answer", func() bool { // a question may come before the switch passes anything on
		if err := s.Ask(node); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-heard:
			if err != nil {
				t.Fatal(err)
			}
			return true
		default:
			return false
		}
	})
	if err := s.Claim(node.Next()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := s.HearClaim(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed segment hears: %v", err)
	}
}

// A listener may be where the machine is not, or not yet.
func TestAbsent(t *testing.T) {
	if _, err := net.Listen("tcp", "203.0.113.9:0"); err == nil {
		t.Fatal("this machine has an address of documentation")
	}
	l, err := (&net.ListenConfig{Control: ether.Absent}).Listen(t.Context(), "tcp", "203.0.113.9:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

// The cable is out, and then the interface is gone.
func TestConnected(t *testing.T) {
	s, n := open(t)
	is := func() bool {
		up, err := s.Connected()
		if err != nil {
			t.Fatal(err)
		}
		return up
	}
	if !is() {
		t.Error("the cable is said to be out")
	}
	heard := make(chan error, 1)
	go func() {
		_, err := s.Hear()
		heard <- err
	}()
	if err := hostnet.Down(t.Context(), n.Lab); err != nil {
		t.Fatal(err)
	}
	until(t, "the interface to be gone", func() bool { _, err := s.Connected(); return err != nil })
	s.Close()
	if err := <-heard; err == nil {
		t.Error("something is heard at an interface that is gone")
	}
}
