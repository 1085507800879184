package cli

import (
	"cmp"
	"log/slog"
	"path/filepath"

	"bramble/cluster"
	"bramble/fault"
	"bramble/front"
)

// acmeFlags say for which names a front gets certificates, from whom, and where it keeps them.
type acmeFlags struct {
	acmeNames `embed:""`
	ACMECache string `name:"acme-cache" help:"Where certificates and the account's key are kept; acme in the state folder where nothing is said." type:"path" placeholder:"DIR"`
}

// acmeNames say for which names a front gets certificates, and from whom.
type acmeNames struct {
	ACMEHost      []string `name:"acme-host" help:"Get a certificate for this name, and a new one before it ends, from a CA to whose terms of service you agree by that. The CA asks at port 80 of the name, which is to be a --listen of this front. Can be repeated." placeholder:"NAME"`
	ACMEEmail     string   `name:"acme-email" help:"Where the CA may write to you." placeholder:"ADDRESS"`
	ACMEDirectory string   `name:"acme-directory" help:"Whose certificates: any CA that speaks ACME; Let's Encrypt where nothing is said." placeholder:"URL"`
	ACMEEABKID    string   `name:"acme-eab-kid" help:"The name of a key by which the CA knows an account of yours: some CAs want that (External Account Binding)." placeholder:"NAME"`
	ACMEEABKey    string   `name:"acme-eab-key" help:"That key, as the CA gave it, in base64url." type:"path" placeholder:"FILE"`
	ACMECA        string   `name:"acme-ca" help:"Who has certified that address, in PEM: for a company's CA, or a test." type:"path" placeholder:"FILE"`
}

// open is what gets certificates, nil where no names are given.
func (c *acmeFlags) open(log *slog.Logger) (*front.ACME, error) {
	i, err := c.issuer()
	if i == nil && err == nil && c.ACMECache != "" {
		err = errNoName
	}
	if err != nil {
		return nil, err
	}
	if i == nil {
		return nil, nil
	}
	return i.ACMEIn(cmp.Or(c.ACMECache, filepath.Join(cluster.DefaultState(), "acme")), log)
}

var errNoName = fault.New(fault.Misused, "there is no name to get a certificate for").Hint("--acme-host shop.example")

// issuer is who certifies names, nil where none are given.
func (c *acmeNames) issuer() (*front.Issuer, error) {
	if len(c.ACMEHost) == 0 {
		if c.ACMEEmail+c.ACMEDirectory+c.ACMECA+c.ACMEEABKID+c.ACMEEABKey != "" {
			return nil, errNoName
		}
		return nil, nil
	}
	i := &front.Issuer{Hosts: c.ACMEHost, Email: c.ACMEEmail, Directory: c.ACMEDirectory, Binding: front.Binding{KID: c.ACMEEABKID}}
	var err error
	if c.ACMEEABKey != "" {
		if i.Binding.Key, err = front.ReadFile(c.ACMEEABKey, "--acme-eab-key FILE"); err != nil {
			return nil, err
		}
	}
	if c.ACMECA != "" {
		if i.Roots, err = front.ReadFile(c.ACMECA, "--acme-ca FILE"); err != nil {
			return nil, err
		}
	}
	return i, nil
}
