package trust

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"bramble/fault"
	"bramble/sorts"
)

// Key prefixes of the books.
const (
	certKeys  = "cert."  // cert.SERIAL: Record
	tokenKeys = "token." // token.ID: TokenInfo
)

// Authority issues certificates for tokens, renews and revokes them, and keeps the
// books on it in a Store. One Authority at a time writes a Store.
type Authority struct {
	ca       *CA
	store    Store
	verifier *Verifier
	ready    atomic.Bool // Load has read the books

	mu       sync.Mutex // held while the books change, in memory and in the Store
	books    books
	onRevoke []func(Identity)
}

// NewAuthority makes an authority that lets in nobody but heads until Load has read the books.
// It judges time by the CA's clock.
func NewAuthority(ca *CA, store Store) *Authority {
	return &Authority{ca: ca, store: store, verifier: NewVerifier(ca.cert, ca.now), books: books{}}
}

// CA is the authority's certificate authority.
func (a *Authority) CA() *CA { return a.ca }

// Load reads the books into memory and forgets tokens that ended long ago. It may be repeated.
func (a *Authority) Load(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	found, err := a.store.List(ctx, certKeys)
	if err != nil {
		return fmt.Errorf("read the certificates' books: %w", err)
	}
	read := books{}
	for key, value := range found {
		var rec Record
		if err := json.Unmarshal(value, &rec); err != nil {
			return fault.New(fault.Failed, "the books are damaged at %s: %w", key, err)
		}
		read[strings.TrimPrefix(key, certKeys)] = rec
	}
	if err := a.dropTokens(ctx); err != nil {
		return err
	}
	for serial, rec := range read {
		if !rec.live() {
			a.verifier.Deny(serial)
		}
	}
	a.books = read
	a.ready.Store(true)
	return nil
}

// loaded refuses what needs the books before they are there.
func (a *Authority) loaded() error {
	if a.ready.Load() {
		return nil
	}
	return fault.New(fault.Unreachable, "the head is starting and has not read its books yet").Hint("again in a moment")
}

// Verify is of type Verify. Before Load it knows no revocations and lets in only heads.
func (a *Authority) Verify(cert *x509.Certificate) (Identity, error) {
	ready := a.loaded()
	id, err := a.verifier.Verify(cert)
	if err == nil && id.Kind != KindHead && ready != nil {
		return Identity{}, ready
	}
	return id, err
}

// Denied lists the serials that every node must refuse as well.
func (a *Authority) Denied() []string { return a.verifier.Denied() }

// Revoked reports whether a certificate was revoked.
func (a *Authority) Revoked(serial string) (bool, error) {
	return a.verifier.isDenied(serial), a.loaded()
}

// Certificates lists the records of all certificates, by name and then by issue.
func (a *Authority) Certificates() []Record {
	a.mu.Lock()
	defer a.mu.Unlock()
	records := make([]Record, 0, len(a.books))
	for _, rec := range a.books {
		records = append(records, rec)
	}
	sorts.By(records, func(x, y Record) int {
		return cmp.Or(strings.Compare(x.String(), y.String()), x.Issued.Compare(y.Issued), strings.Compare(x.Serial, y.Serial))
	})
	return records
}

// write puts a record in the Store, then in memory.
func (a *Authority) write(ctx context.Context, rec Record) error {
	if err := put(ctx, a.store, certKeys+rec.Serial, rec); err != nil {
		return err
	}
	a.books[rec.Serial] = rec
	return nil
}

// forget drops records that no longer matter; what the Store keeps of them does no harm.
func (a *Authority) forget(ctx context.Context, serials []string) {
	for _, serial := range serials {
		if a.store.Delete(ctx, certKeys+serial) == nil {
			delete(a.books, serial)
		}
	}
}

func put(ctx context.Context, store Store, key string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fault.New(fault.Failed, "write %s: %w", key, err)
	}
	if err := store.Put(ctx, key, text); err != nil {
		return fmt.Errorf("write %s in the books: %w", key, err)
	}
	return nil
}
