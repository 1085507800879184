package trust

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"bramble/fault"
)

const (
	// Validity is how long a certificate lasts from its issue.
	Validity = 90 * 24 * time.Hour
	// RenewBefore is how long before its end a certificate is due for renewal.
	RenewBefore = Validity / 3

	// backdate makes certificates good for verifiers on boards without a clock, whose
	// time is that of their image. Our own verification ignores not-before altogether.
	backdate = 365 * 24 * time.Hour
	// caValidity outlasts the boards: a CA that ran out would end its cluster.
	caValidity = 100 * 365 * 24 * time.Hour

	caKeyFile  = "ca.key"
	caCertFile = "ca.crt"
)

// CA is a cluster's certificate authority: the key that every certificate hangs on.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  func() time.Time
}

// CreateCA makes a CA for the named cluster in dir (0700): ca.key and ca.crt. Where a CA is, it refuses with fault.Conflict.
func CreateCA(dir, cluster string, now func() time.Time) (*CA, error) {
	if err := ValidName(cluster); err != nil {
		return nil, err
	}
	if exists(filepath.Join(dir, caCertFile)) {
		return nil, fault.New(fault.Conflict, "%s holds a certificate authority already", dir)
	}
	key, err := NewKey()
	if err != nil {
		return nil, fault.New(fault.Failed, "make the CA's key: %w", err)
	}
	cert, err := selfSign(cluster, key, now())
	if err != nil {
		return nil, err
	}
	ca := &CA{cert: cert, key: key, now: now}
	return ca, ca.save(dir)
}

// OpenCA opens the CA in dir; none there is fault.NotFound.
func OpenCA(dir string, now func() time.Time) (*CA, error) {
	certText, err := readFile(filepath.Join(dir, caCertFile), "bramble up")
	if err != nil {
		return nil, err
	}
	keyText, err := readFile(filepath.Join(dir, caKeyFile), "bramble restore, from a backup of the head")
	if err != nil {
		return nil, err
	}
	certs, err := ParseCertificates(certText)
	if err != nil {
		return nil, fault.New(fault.Failed, "open the CA in %s: %w", dir, err)
	}
	key, err := parseKey(keyText)
	if err != nil {
		return nil, fault.New(fault.Failed, "open the CA in %s: %w", dir, err)
	}
	if !key.PublicKey.Equal(certs[0].PublicKey) {
		return nil, fault.New(fault.Failed, "%s and %s in %s do not belong together", caKeyFile, caCertFile, dir).
			Hint("bramble restore, from a backup of the head")
	}
	return &CA{cert: certs[0], key: key, now: now}, nil
}

// save writes the certificate last: a key without one has signed nothing and may be replaced.
func (ca *CA) save(dir string) error {
	if err := os.MkdirAll(dir, folderMode); err != nil {
		return fault.New(fault.Failed, "make the CA's folder: %w", err)
	}
	if err := os.Chmod(dir, folderMode); err != nil {
		return fault.New(fault.Failed, "close the CA's folder to others: %w", err)
	}
	key, err := encodeKey(ca.key)
	if err != nil {
		return err
	}
	if err := WriteFile(filepath.Join(dir, caKeyFile), key); err != nil {
		return err
	}
	return WriteFile(filepath.Join(dir, caCertFile), EncodeCertificates(ca.cert))
}

// Cert is the CA's own certificate.
func (ca *CA) Cert() *x509.Certificate { return ca.cert }

// Cluster is the name the CA was made for.
func (ca *CA) Cluster() string { return ca.cert.Subject.CommonName }

// IssueServer makes a head's certificate. Hosts are the DNS names and IP addresses that browsers reach its dashboard by.
func (ca *CA) IssueServer(name string, key *ecdsa.PublicKey, hosts []string) (*x509.Certificate, error) {
	return ca.issue(Identity{Kind: KindHead, Name: name}, key, hosts)
}

// IssueNode makes a node's certificate.
func (ca *CA) IssueNode(name string, key *ecdsa.PublicKey) (*x509.Certificate, error) {
	return ca.issue(Identity{Kind: KindNode, Name: name}, key, nil)
}

// IssueClient makes a client's certificate.
func (ca *CA) IssueClient(user string, role Role, key *ecdsa.PublicKey) (*x509.Certificate, error) {
	return ca.issue(Identity{Kind: KindClient, Name: user, Role: role}, key, nil)
}

func (ca *CA) issue(id Identity, key *ecdsa.PublicKey, hosts []string) (*x509.Certificate, error) {
	if err := id.Check(); err != nil {
		return nil, err
	}
	uri, err := url.Parse(id.URI())
	if err != nil {
		return nil, fault.New(fault.Misused, "name %s in a certificate: %w", id, err)
	}
	template := template(id.Name, ca.now(), Validity)
	template.URIs = []*url.URL{uri}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = usages(id.Kind)
	template.DNSNames, template.IPAddresses = splitHosts(hosts)
	return sign(template, ca.cert, key, ca.key)
}

func selfSign(cluster string, key *ecdsa.PrivateKey, now time.Time) (*x509.Certificate, error) {
	template := template(cluster, now, caValidity)
	template.IsCA = true
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign
	return sign(template, template, &key.PublicKey, key)
}

func template(name string, now time.Time, validity time.Duration) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{scheme}, CommonName: name},
		SerialNumber:          newSerial(),
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(validity),
		BasicConstraintsValid: true,
	}
}

func sign(template, parent *x509.Certificate, key *ecdsa.PublicKey, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, signer)
	if err != nil {
		return nil, fault.New(fault.Failed, "sign a certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// newSerial is 128 random bits, so that serials neither repeat nor tell how many there are.
func newSerial() *big.Int {
	var bits [16]byte
	rand.Read(bits[:])
	return new(big.Int).SetBytes(bits[:])
}

// usages are for verifiers other than ours: nodes serve each other, clients serve nobody.
func usages(kind Kind) []x509.ExtKeyUsage {
	if kind == KindClient {
		return []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	return []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
}

func splitHosts(hosts []string) (names []string, addresses []net.IP) {
	for _, host := range slices.Compact(slices.Sorted(slices.Values(hosts))) {
		if ip := net.ParseIP(host); ip != nil {
			addresses = append(addresses, ip)
		} else {
			names = append(names, host)
		}
	}
	return names, addresses
}

// hostsOf are the hosts that a certificate was issued with.
func hostsOf(cert *x509.Certificate) []string {
	hosts := slices.Clone(cert.DNSNames)
	for _, ip := range cert.IPAddresses {
		hosts = append(hosts, ip.String())
	}
	return hosts
}
