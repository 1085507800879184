package trust

import (
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"bramble/fault"
)

// Every connection is TLS 1.3, and every verification is ours, at each handshake and
// at each resumption: chain, kind, revocation and expiry, never the DNS name.

// ServerConfig is for a listener that only the cluster's own may talk to: a caller must
// have a certificate that verify accepts, of one of the kinds; without kinds, of any.
func ServerConfig(cred *Credential, verify Verify, now func() time.Time, kinds ...Kind) *tls.Config {
	config := WebConfig(cred, now)
	config.ClientAuth = tls.RequireAnyClientCert
	config.VerifyConnection = func(state tls.ConnectionState) error {
		_, err := peerOf(state, verify, kinds)
		return err
	}
	return config
}

// JoinConfig is for the listener where machines join and renew: a caller may have no
// certificate, as it brings a token, or one that ran out, as it may renew. Every other
// handler there asks Peer before it answers.
func JoinConfig(cred *Credential, verify Verify, now func() time.Time) *tls.Config {
	config := WebConfig(cred, now)
	config.ClientAuth = tls.RequestClientCert
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return nil
		}
		_, err := verify(state.PeerCertificates[0])
		if errors.Is(err, ErrExpired) {
			return nil
		}
		return err
	}
	return config
}

// WebConfig is for the dashboard's listener, where people sign in and have no certificate.
func WebConfig(cred *Credential, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		Time:           now,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cred.chain(), nil },
	}
}

// ClientConfig is for a caller with a certificate; the server must be one that verify
// accepts, of one of the kinds; without kinds, a head.
func ClientConfig(cred *Credential, verify Verify, now func() time.Time, kinds ...Kind) *tls.Config {
	if len(kinds) == 0 {
		kinds = []Kind{KindHead}
	}
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		Time:                 now,
		InsecureSkipVerify:   true, // VerifyConnection does it all
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cred.chain(), nil },
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := peerOf(state, verify, kinds)
			return err
		},
	}
}

// PinnedConfig is for a joiner, which has a token and nothing else: the server must be a
// head whose certificate was signed by the CA that the token pins.
func PinnedConfig(pin Pin, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Time:               now,
		InsecureSkipVerify: true, // VerifyConnection does it all
		VerifyConnection: func(state tls.ConnectionState) error {
			ca, err := PinnedCA(state, pin)
			if err != nil {
				return err
			}
			_, err = peerOf(state, NewVerifier(ca, now).Verify, []Kind{KindHead})
			return err
		},
	}
}

// PinnedCA is the CA certificate with that pin among those the server presented: the one a joiner keeps.
func PinnedCA(state tls.ConnectionState, pin Pin) (*x509.Certificate, error) {
	for _, cert := range state.PeerCertificates {
		found := PinOf(cert)
		if subtle.ConstantTimeCompare(found[:], pin[:]) == 1 && cert.IsCA && cert.CheckSignatureFrom(cert) == nil {
			return cert, nil
		}
	}
	return nil, fault.New(fault.Denied, "what answers there is not the head that the token was made on").
		Hint("check the address, or make a new token on that head: bramble token create")
}

// Peer is who is at the other end of a connection; nobody with a certificate is fault.Denied.
func Peer(state *tls.ConnectionState, verify Verify) (Identity, error) {
	if state == nil {
		return Identity{}, noCertificate()
	}
	return peerOf(*state, verify, nil)
}

func peerOf(state tls.ConnectionState, verify Verify, kinds []Kind) (Identity, error) {
	if len(state.PeerCertificates) == 0 {
		return Identity{}, noCertificate()
	}
	id, err := verify(state.PeerCertificates[0])
	if err != nil {
		return id, err
	}
	if len(kinds) > 0 && !slices.Contains(kinds, id.Kind) {
		return Identity{}, fault.New(fault.Denied, "what answers there is %s, not a %s", id, kinds[0]).
			Hint("check the address")
	}
	return id, nil
}

func noCertificate() error {
	return fault.New(fault.Denied, "the caller has no certificate of this cluster").
		Hint("join with a token, or use a client file: bramble client create, on the head")
}
