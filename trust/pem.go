package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"slices"

	"bramble/fault"
)

// PEM block types.
const (
	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY" // PKCS #8
	pemRequest     = "CERTIFICATE REQUEST"
)

// NewKey makes a private key as every identity here has one: ECDSA on P-256.
func NewKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// NewRequest makes the PEM certificate request that proves possession of key. It
// carries no names: those are the authority's to give.
func NewRequest(key crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fault.New(fault.Failed, "make a certificate request: %w", err)
	}
	return encodePEM(pemRequest, der), nil
}

// ParseRequest returns the public key of a PEM certificate request that was signed by
// it; anything but P-256 is fault.Misused.
func ParseRequest(csr []byte) (*ecdsa.PublicKey, error) {
	block, _ := pem.Decode(csr)
	if block == nil || block.Type != pemRequest {
		return nil, fault.New(fault.Misused, "that is not a certificate request in PEM form")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Misused, "read the certificate request: %w", err)
	}
	key, err := p256(request.PublicKey) // first, as checking with a huge RSA key takes long
	if err != nil {
		return nil, err
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fault.New(fault.Misused, "the certificate request is not signed by its own key: %w", err)
	}
	return key, nil
}

// EncodeCertificates writes certificates as PEM, one after the other.
func EncodeCertificates(certs ...*x509.Certificate) []byte {
	var text []byte
	for _, cert := range certs {
		text = append(text, encodePEM(pemCertificate, cert.Raw)...)
	}
	return text
}

// ParseCertificates reads PEM certificates; none at all is fault.Misused.
func ParseCertificates(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != pemCertificate {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fault.New(fault.Misused, "read a certificate: %w", err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, fault.New(fault.Misused, "there is no PEM certificate in it")
	}
	return certs, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fault.New(fault.Failed, "write a private key: %w", err)
	}
	return encodePEM(pemKey, der), nil
}

func parseKey(text []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != pemKey {
		return nil, fault.New(fault.Misused, "there is no PEM private key in it")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Misused, "read a private key: %w", err)
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok || signer.Curve != elliptic.P256() {
		return nil, fault.New(fault.Misused, "the private key is not ECDSA on P-256")
	}
	return signer, nil
}

func p256(key crypto.PublicKey) (*ecdsa.PublicKey, error) {
	public, ok := key.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, fault.New(fault.Misused, "the key is not ECDSA on P-256, which every identity here has")
	}
	return public, nil
}

// keyHash names a public key: hex SHA-256 of its SubjectPublicKeyInfo.
func keyHash(key *ecdsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fault.New(fault.Failed, "name a public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

func encodePEM(kind string, der []byte) []byte {
	return slices.Clip(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
