package trust_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"strings"
	"sync"
	"testing"
	"time"

	"bramble/fault"
	"bramble/trust"
	"bramble/trust/trusttest"
)

// hand is a clock that moves only when told.
type hand struct {
	mu sync.Mutex
	t  time.Time
}

func newHand() *hand { return &hand{t: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)} }

func (h *hand) now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.t
}

func (h *hand) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.t = h.t.Add(d)
}

// world is a cluster's authority with its parts in reach.
type world struct {
	*testing.T
	*trust.Authority
	*hand
	store *trusttest.Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, hand: newHand(), store: &trusttest.Store{}}
	ca, err := trust.CreateCA(t.TempDir(), "test", w.now)
	must(t, err)
	w.Authority = trust.NewAuthority(ca, w.store)
	must(t, w.Load(t.Context()))
	return w
}

// restart is the authority after the head began anew on the same books.
func (w *world) restart() {
	w.Helper()
	w.Authority = trust.NewAuthority(w.CA(), w.store)
	must(w.T, w.Load(w.Context()))
}

func (w *world) token(spec trust.TokenSpec) trust.Token {
	w.Helper()
	token, _, err := w.CreateToken(w.Context(), spec)
	must(w.T, err)
	return token
}

// join redeems a token for a key and a name.
func (w *world) join(token trust.Token, key *ecdsa.PrivateKey, name string) (*x509.Certificate, error) {
	w.Helper()
	text, id, err := w.Redeem(context.Background(), token, request(w.T, key), name)
	if err != nil {
		return nil, err
	}
	cert := certificate(w.T, text)
	if got, err := trust.FromCertificate(cert); err != nil || got != id {
		w.Fatalf("the certificate says %v (%v), Redeem said %v", got, err, id)
	}
	return cert, nil
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := trust.NewKey()
	must(t, err)
	return key
}

func request(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	csr, err := trust.NewRequest(key)
	must(t, err)
	return csr
}

func certificate(t *testing.T, text []byte) *x509.Certificate {
	t.Helper()
	certs, err := trust.ParseCertificates(text)
	must(t, err)
	return certs[0]
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refuses checks that err has the code, says text, and ends with a hint.
func refuses(t *testing.T, err error, code fault.Code, text string) {
	t.Helper()
	if !fault.Is(err, code) || !strings.Contains(err.Error(), text) {
		t.Fatalf("got error %v (%v), want %s with %q", err, codeOf(err), code, text)
	}
	if fault.Of(err).Try == "" {
		t.Errorf("%v has no hint", err)
	}
}

func codeOf(err error) fault.Code {
	if err == nil {
		return "none"
	}
	return fault.Of(err).Code
}

func node(name string) trust.Identity { return trust.Identity{Kind: trust.KindNode, Name: name} }

func head(name string) trust.Identity { return trust.Identity{Kind: trust.KindHead, Name: name} }

func client(user string, role trust.Role) trust.Identity {
	return trust.Identity{Kind: trust.KindClient, Name: user, Role: role}
}
