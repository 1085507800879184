package trust

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"bramble/fault"
)

// ErrExpired marks a certificate that is ours, not revoked, and ran out: it may renew and nothing else.
var ErrExpired = errors.New("the certificate ran out")

// Verify judges a peer's certificate: who it is, or why it is not let in. With
// ErrExpired it returns the identity as well.
type Verify func(*x509.Certificate) (Identity, error)

// Verifier judges certificates by one CA, a deny list and a clock. The head has one
// inside its Authority; nodes have their own and are told the deny list.
type Verifier struct {
	roots *x509.CertPool
	now   func() time.Time

	mu     sync.RWMutex
	denied map[string]struct{}   // serials
	hangs  map[[32]byte]struct{} // SHA-256 of certificates that were found to hang on the CA: parties ask often
}

// maxHangs is how many certificates are remembered.
const maxHangs = 16 << 10

// NewVerifier trusts the CA; now is usually a Clock's.
func NewVerifier(ca *x509.Certificate, now func() time.Time) *Verifier {
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	return &Verifier{roots: roots, now: now, denied: map[string]struct{}{}, hangs: map[[32]byte]struct{}{}}
}

// Verify is of type Verify: the certificate hangs on the CA, carries an identity, is not denied and has not run out.
// Refusals are fault.Denied.
func (v *Verifier) Verify(cert *x509.Certificate) (Identity, error) {
	if err := v.chain(cert); err != nil {
		return Identity{}, err
	}
	id, err := FromCertificate(cert)
	if err != nil {
		return Identity{}, err
	}
	if v.isDenied(id.Serial) {
		return Identity{}, revoked(id)
	}
	if now := v.now(); now.After(cert.NotAfter) {
		return id, fault.New(fault.Denied, "%w: that of %s on %s, and the clock here says %s",
			ErrExpired, id, day(cert.NotAfter), day(now)).
			Hint("check the clocks; if they are right: bramble doctor, on that machine")
	}
	return id, nil
}

// chain judges the signature at the certificate's own last moment: expiry is judged
// apart, and not-before not at all, as a certificate "from the future" only shows that our clock is behind.
func (v *Verifier) chain(cert *x509.Certificate) error {
	sum := sha256.Sum256(cert.Raw)
	v.mu.RLock()
	_, known := v.hangs[sum]
	v.mu.RUnlock()
	if known {
		return nil
	}
	_, err := cert.Verify(x509.VerifyOptions{
		Roots:       v.roots,
		CurrentTime: cert.NotAfter,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fault.New(fault.Denied, "the certificate is not one of this cluster's: %w", err).
			Hint("join with a token of this cluster: bramble token create, on the head")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.hangs) == maxHangs {
		clear(v.hangs)
	}
	v.hangs[sum] = struct{}{}
	return nil
}

// Deny refuses these serials from now on; nothing takes one off the list again.
func (v *Verifier) Deny(serials ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, serial := range serials {
		v.denied[serial] = struct{}{}
	}
}

// Denied lists the refused serials in order: what the head tells its nodes.
func (v *Verifier) Denied() []string {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return slices.Sorted(maps.Keys(v.denied))
}

func (v *Verifier) isDenied(serial string) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, ok := v.denied[serial]
	return ok
}

func revoked(id Identity) error {
	return fault.New(fault.Denied, "%s was removed from the cluster", id).
		Hint("join again with a new token: bramble token create, on the head")
}

func day(t time.Time) string { return t.UTC().Format(time.DateTime + "Z") }
