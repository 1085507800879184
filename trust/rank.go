package trust

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"bramble/fault"
)

// Rank is one process of a step of a job's attempt. Its certificate speaks for it to other ranks of its step and to
// nobody else: its name has a scheme of its own, which nothing takes that verifies an Identity.
type Rank struct {
	Attempt string // such as 7.0.1
	Step    string // one lower-case DNS label
	Rank    int    // from 0
}

// rankScheme begins the URI name that carries a Rank in a certificate.
const rankScheme = "bramble-rank"

// RankValidity is how long a rank's certificate lasts. It is in no books: none has to be taken back.
const RankValidity = time.Hour

// String is the rank's name: ATTEMPT/STEP/RANK.
func (r Rank) String() string { return fmt.Sprintf("%s/%s/%d", r.Attempt, r.Step, r.Rank) }

// URI is the name that a certificate carries for the rank.
func (r Rank) URI() string { return rankScheme + "://" + r.String() }

// Host is the DNS name in its certificate, for libraries of TLS that know no other names. No host is called so.
func (r Rank) Host() string {
	return fmt.Sprintf("%d.%s.%s.rank.internal", r.Rank, r.Step, strings.ReplaceAll(r.Attempt, ".", "-"))
}

// Check reports what is wrong with a rank's name as fault.Misused.
func (r Rank) Check() error {
	if !isLabel(r.Step) || !isLabel(strings.ReplaceAll(r.Attempt, ".", "-")) || r.Rank < 0 {
		return fault.New(fault.Misused, "%s cannot be the name of a rank", shown(r.String()))
	}
	return nil
}

// RankFrom reads the rank that a certificate carries; it verifies nothing else.
func RankFrom(cert *x509.Certificate) (Rank, error) {
	if len(cert.URIs) == 1 {
		uri := cert.URIs[0].String()
		text, ours := strings.CutPrefix(uri, rankScheme+"://")
		words := strings.Split(text, "/")
		if ours && len(words) == 3 {
			number, err := strconv.Atoi(words[2])
			if r := (Rank{words[0], words[1], number}); err == nil && r.Check() == nil && r.URI() == uri {
				return r, nil
			}
		}
	}
	return Rank{}, fault.New(fault.Denied, "the certificate is no rank's")
}

// IssueRank makes a certificate for a rank's request, and says whose it is to trust; all in PEM form.
func (ca *CA) IssueRank(r Rank, csr []byte) (cert, root []byte, err error) {
	key, err := ParseRequest(csr)
	if err == nil {
		err = r.Check()
	}
	if err != nil {
		return nil, nil, err
	}
	uri, err := url.Parse(r.URI())
	if err != nil {
		return nil, nil, fault.New(fault.Misused, "name %s in a certificate: %w", r, err)
	}
	template := template("rank "+strconv.Itoa(r.Rank), ca.now(), RankValidity)
	template.URIs, template.DNSNames = []*url.URL{uri}, []string{r.Host()}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = usages(KindNode)
	signed, err := sign(template, ca.cert, key, ca.key)
	if err != nil {
		return nil, nil, err
	}
	return EncodeCertificates(signed), EncodeCertificates(ca.cert), nil
}

// RankCredential is what a rank proves itself with.
type RankCredential struct {
	Rank Rank
	Key  *ecdsa.PrivateKey
	Cert *x509.Certificate
	CA   *x509.Certificate
}

// NewRankCredential reads what the head has answered; it is of use only with the key that was asked for.
func NewRankCredential(key *ecdsa.PrivateKey, cert, ca []byte) (*RankCredential, error) {
	own, err := ParseCertificates(cert)
	if err != nil {
		return nil, err
	}
	roots, err := ParseCertificates(ca)
	if err != nil {
		return nil, err
	}
	c := &RankCredential{Key: key, Cert: own[0], CA: roots[0]}
	if !key.PublicKey.Equal(c.Cert.PublicKey) {
		return nil, fault.New(fault.Failed, "the certificate is for another key")
	}
	c.Rank, err = RankFrom(c.Cert)
	return c, err
}

// RenewDue reports whether half of its time is over.
func (c *RankCredential) RenewDue(now time.Time) bool {
	return now.After(c.Cert.NotAfter.Add(-RankValidity / 2))
}

// Save writes the credential to dir, in PEM form: key.pem, cert.pem and ca.pem.
func (c *RankCredential) Save(dir string) error {
	if err := saveKey(filepath.Join(dir, credKeyFile), c.Key); err != nil {
		return err
	}
	if err := WriteFile(filepath.Join(dir, "ca.pem"), EncodeCertificates(c.CA)); err != nil {
		return err
	}
	return WriteFile(filepath.Join(dir, credCertFile), EncodeCertificates(c.Cert))
}

// RankConfig is for both ends of a connection between ranks of one step: the other must be a rank of the same step of
// the same attempt. current is the credential at the time of a handshake, which a renewal may have replaced.
func RankConfig(current func() (*RankCredential, error), now func() time.Time) *tls.Config {
	chain := func() (*tls.Certificate, error) {
		c, err := current()
		if err != nil {
			return nil, err
		}
		return &tls.Certificate{Certificate: [][]byte{c.Cert.Raw}, PrivateKey: c.Key, Leaf: c.Cert}, nil
	}
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		Time:                 now,
		ClientAuth:           tls.RequireAnyClientCert,
		InsecureSkipVerify:   true, // VerifyConnection does it all
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return chain() },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return chain() },
		VerifyConnection: func(state tls.ConnectionState) error {
			c, err := current()
			if err == nil {
				_, err = c.peer(state, now())
			}
			return err
		},
	}
}

// RankPeer is the rank at the other end of a connection that was made with a RankConfig.
func RankPeer(state tls.ConnectionState) (Rank, error) {
	if len(state.PeerCertificates) == 0 {
		return Rank{}, noCertificate()
	}
	return RankFrom(state.PeerCertificates[0])
}

// peer is the rank at the other end when it is one of the same step.
func (c *RankCredential) peer(state tls.ConnectionState, now time.Time) (Rank, error) {
	other, err := RankPeer(state)
	if err != nil {
		return other, err
	}
	cert := state.PeerCertificates[0]
	if err := NewVerifier(c.CA, nil).chain(cert); err != nil {
		return other, err
	}
	switch {
	case now.After(cert.NotAfter):
		return other, fault.New(fault.Denied, "the certificate of rank %s ran out", other)
	case other.Attempt != c.Rank.Attempt || other.Step != c.Rank.Step:
		return other, fault.New(fault.Denied, "what answers there is rank %s, of another step", other)
	}
	return other, nil
}
