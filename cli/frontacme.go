package cli

import (
	"cmp"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"bramble/cluster"
	"bramble/fault"
	"bramble/front"
)

// acmeFlags say for which names a front gets certificates, and from whom.
type acmeFlags struct {
	ACMEHost      []string `name:"acme-host" help:"Get a certificate for this name, and a new one before it ends, from a CA to whose terms of service you agree by that. The CA asks at port 80 of the name, which is to be a --listen of this front. Can be repeated." placeholder:"NAME"`
	ACMEEmail     string   `name:"acme-email" help:"Where the CA may write to you." placeholder:"ADDRESS"`
	ACMEDirectory string   `name:"acme-directory" help:"Whose certificates: any CA that speaks ACME; Let's Encrypt where nothing is said." placeholder:"URL"`
	ACMECA        string   `name:"acme-ca" help:"Who has certified that address, in PEM: for a company's CA, or a test." type:"path" placeholder:"FILE"`
	ACMECache     string   `name:"acme-cache" help:"Where certificates and the account's key are kept; acme in the state folder where nothing is said." type:"path" placeholder:"DIR"`
}

// open is what gets certificates, nil where no names are given.
func (c *acmeFlags) open(log *slog.Logger) (*front.ACME, error) {
	if len(c.ACMEHost) == 0 {
		if c.ACMEEmail+c.ACMEDirectory+c.ACMECA+c.ACMECache != "" {
			return nil, fault.New(fault.Misused, "there is no name to get a certificate for").Hint("--acme-host shop.example")
		}
		return nil, nil
	}
	a := &front.ACME{Hosts: c.ACMEHost, Email: c.ACMEEmail, Directory: c.ACMEDirectory, Log: log,
		Folder: cmp.Or(c.ACMECache, filepath.Join(cluster.DefaultState(), "acme"))}
	if c.ACMECA != "" {
		text, err := os.ReadFile(c.ACMECA)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New(fault.NotFound, "there is no file %s", c.ACMECA).Hint("--acme-ca FILE")
		} else if err != nil {
			return nil, fault.New(fault.Failed, "cannot read %s: %w", c.ACMECA, err)
		}
		if a.Roots = x509.NewCertPool(); !a.Roots.AppendCertsFromPEM(text) {
			return nil, fault.New(fault.Misused, "%s is no certificate in PEM", c.ACMECA).Hint("--acme-ca FILE")
		}
	}
	return a, a.Open()
}
