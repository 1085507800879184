// Package trusttest gives other rooms' tests an authority, credentials and a Store in memory.
package trusttest

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bramble/fault"
	"bramble/trust"
)

// Store is a trust.Store in memory; the zero value is empty and ready.
type Store struct {
	mu     sync.Mutex
	values map[string][]byte
	broken error
}

// Break makes everything but reading fail with err from now on; nil mends it.
func (s *Store) Break(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = err
}

// Get is as trust.Store says.
func (s *Store) Get(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.values[key]
	if !ok {
		return nil, fault.New(fault.NotFound, "there is no %s", key)
	}
	return slices.Clone(value), nil
}

// Put is as trust.Store says.
func (s *Store) Put(_ context.Context, key string, value []byte) error {
	return s.change(func() error { s.values[key] = slices.Clone(value); return nil })
}

// Create is as trust.Store says.
func (s *Store) Create(_ context.Context, key string, value []byte) error {
	return s.change(func() error {
		if _, taken := s.values[key]; taken {
			return fault.New(fault.Conflict, "there is a %s already", key)
		}
		s.values[key] = slices.Clone(value)
		return nil
	})
}

// Delete is as trust.Store says.
func (s *Store) Delete(_ context.Context, key string) error {
	return s.change(func() error { delete(s.values, key); return nil })
}

// List is as trust.Store says.
func (s *Store) List(_ context.Context, prefix string) (map[string][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := maps.Clone(s.values)
	maps.DeleteFunc(found, func(key string, _ []byte) bool { return !strings.HasPrefix(key, prefix) })
	return found, nil
}

func (s *Store) change(do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	if s.values == nil {
		s.values = map[string][]byte{}
	}
	return do()
}

// Authority makes an authority for a cluster called test, with empty books, loaded.
func Authority(tb testing.TB, now func() time.Time) *trust.Authority {
	tb.Helper()
	ca, err := trust.CreateCA(tb.TempDir(), "test", now)
	if err != nil {
		tb.Fatal(err)
	}
	authority := trust.NewAuthority(ca, &Store{})
	if err := authority.Load(context.Background()); err != nil {
		tb.Fatal(err)
	}
	return authority
}

// Credential issues a credential to id and enters it in the books; a head's is good for the loopback addresses.
func Credential(tb testing.TB, authority *trust.Authority, id trust.Identity) *trust.Credential {
	tb.Helper()
	key, err := trust.NewKey()
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := issue(authority, id, key)
	if err != nil {
		tb.Fatal(err)
	}
	cred, err := trust.NewCredential(key, cert, authority.CA().Cert())
	if err != nil {
		tb.Fatal(err)
	}
	return cred
}

func issue(authority *trust.Authority, id trust.Identity, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	if id.Kind == trust.KindHead {
		cert, err := authority.CA().IssueServer(id.Name, &key.PublicKey, []string{"localhost", "127.0.0.1", "::1"})
		if err != nil {
			return nil, err
		}
		return cert, authority.Adopt(context.Background(), cert)
	}
	csr, err := trust.NewRequest(key)
	if err != nil {
		return nil, err
	}
	text, _, err := authority.Issue(context.Background(), id, csr)
	if err != nil {
		return nil, err
	}
	certs, err := trust.ParseCertificates(text)
	if err != nil {
		return nil, err
	}
	return certs[0], nil
}
