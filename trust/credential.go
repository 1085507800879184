package trust

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"path/filepath"
	"sync/atomic"
	"time"

	"bramble/fault"
)

// A credential's folder (0700) holds two files (0600), so that a certificate never
// stands beside another cluster's CA: key.pem, made once and kept over joins and
// renewals; cert.pem, the certificate and then the CA's.
const (
	credKeyFile  = "key.pem"
	credCertFile = "cert.pem"
)

// Credential is what a party proves itself with. Its certificate may be replaced while
// it is in use: the TLS configurations made with it present the new one from then on.
type Credential struct {
	key  *ecdsa.PrivateKey
	ca   *x509.Certificate
	cert atomic.Pointer[tls.Certificate] // Leaf is set
}

// NewCredential puts a credential together, and refuses parts that do not belong together as fault.Misused.
func NewCredential(key *ecdsa.PrivateKey, cert, ca *x509.Certificate) (*Credential, error) {
	c := &Credential{key: key, ca: ca}
	if err := c.Replace(cert); err != nil {
		return nil, err
	}
	return c, nil
}

// OpenKey reads the private key in dir, or makes one there: a joiner has its key on disk
// before it asks, so that asking again is no new machine.
func OpenKey(dir string) (*ecdsa.PrivateKey, error) {
	path := filepath.Join(dir, credKeyFile)
	text, err := readFile(path, "bramble join")
	if err == nil {
		return parseKey(text)
	}
	if !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	key, err := NewKey()
	if err != nil {
		return nil, fault.New(fault.Failed, "make a key: %w", err)
	}
	return key, saveKey(path, key)
}

// LoadCredential reads the credential in dir; fault.NotFound when there is none.
func LoadCredential(dir string) (*Credential, error) {
	certText, err := readFile(filepath.Join(dir, credCertFile), "bramble join")
	if err != nil {
		return nil, err
	}
	keyText, err := readFile(filepath.Join(dir, credKeyFile), "bramble join")
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyText)
	if err != nil {
		return nil, fault.New(fault.Failed, "load the credential in %s: %w", dir, err)
	}
	certs, err := ParseCertificates(certText)
	if err != nil || len(certs) != 2 {
		return nil, fault.New(fault.Failed, "%s in %s does not hold two certificates", credCertFile, dir).Hint("bramble join")
	}
	return NewCredential(key, certs[0], certs[1])
}

// Save writes the credential to dir.
func (c *Credential) Save(dir string) error {
	if err := saveKey(filepath.Join(dir, credKeyFile), c.key); err != nil {
		return err
	}
	return WriteFile(filepath.Join(dir, credCertFile), EncodeCertificates(c.Cert(), c.ca))
}

// Replace takes a renewed certificate of the same key and CA; Save makes it last.
func (c *Credential) Replace(cert *x509.Certificate) error {
	if !c.key.PublicKey.Equal(cert.PublicKey) {
		return fault.New(fault.Misused, "the certificate and the private key do not belong together")
	}
	if err := cert.CheckSignatureFrom(c.ca); err != nil {
		return fault.New(fault.Misused, "the certificate is not signed by the CA beside it: %w", err)
	}
	if _, err := FromCertificate(cert); err != nil {
		return err
	}
	c.cert.Store(&tls.Certificate{
		Certificate: [][]byte{cert.Raw, c.ca.Raw}, // the CA too, for joiners to pin
		PrivateKey:  c.key,
		Leaf:        cert,
	})
	return nil
}

// Cert is the certificate in use.
func (c *Credential) Cert() *x509.Certificate { return c.cert.Load().Leaf }

// CA is the certificate of the cluster's CA.
func (c *Credential) CA() *x509.Certificate { return c.ca }

// Identity is who the credential speaks for.
func (c *Credential) Identity() Identity {
	id, _ := FromCertificate(c.Cert()) // Replace has seen that it has one
	return id
}

// Request is the certificate request, in PEM, to renew with.
func (c *Credential) Request() ([]byte, error) { return NewRequest(c.key) }

// RenewDue reports whether less than RenewBefore is left of the certificate.
func (c *Credential) RenewDue(now time.Time) bool { return c.Cert().NotAfter.Sub(now) < RenewBefore }

func (c *Credential) chain() *tls.Certificate { return c.cert.Load() }

func saveKey(path string, key *ecdsa.PrivateKey) error {
	text, err := encodeKey(key)
	if err != nil {
		return err
	}
	return WriteFile(path, text)
}
