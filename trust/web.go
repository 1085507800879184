package trust

import "crypto/x509"

// IssueWeb makes a key and a certificate by which browsers that trust the cluster's CA know a web site, for its names and addresses;
// both in PEM form. It carries no identity, so nobody is let into the cluster by it.
func (ca *CA) IssueWeb(hosts []string) (cert, key []byte, err error) {
	own, err := NewKey()
	if err != nil {
		return nil, nil, err
	}
	template := template(hosts[0], ca.now(), Validity)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames, template.IPAddresses = splitHosts(hosts)
	signed, err := sign(template, ca.cert, &own.PublicKey, ca.key)
	if err != nil {
		return nil, nil, err
	}
	key, err = encodeKey(own)
	return EncodeCertificates(signed), key, err
}
