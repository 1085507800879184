package trust

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"

	"bramble/fault"
)

// signedPrefix begins what is hashed for a signature, as no certificate does: those the same key signs begin with 0x30.
const signedPrefix = "bramble-signed\x00"

// Sign signs data for a purpose, such as "release"; for another the signature is worth nothing.
func (ca *CA) Sign(purpose string, data []byte) ([]byte, error) {
	sig, err := ecdsa.SignASN1(rand.Reader, ca.key, purposeDigest(purpose, data))
	if err != nil {
		return nil, fault.New(fault.Failed, "sign a %s: %w", purpose, err)
	}
	return sig, nil
}

// Signed reports as fault.Denied data that ca's holder has not signed for this purpose.
func Signed(ca *x509.Certificate, purpose string, data, sig []byte) error {
	key, ok := ca.PublicKey.(*ecdsa.PublicKey)
	if !ok || !ecdsa.VerifyASN1(key, purposeDigest(purpose, data), sig) {
		return fault.New(fault.Denied, "this %s is not signed by the cluster", purpose)
	}
	return nil
}

func purposeDigest(purpose string, data []byte) []byte {
	h := sha256.New()
	h.Write([]byte(signedPrefix + purpose + "\x00"))
	h.Write(data)
	return h.Sum(nil)
}
