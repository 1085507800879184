package cli

import (
	"fmt"
	"io"
	"os"

	"bramble/job"
)

type rankCmd struct {
	Put   rankPutCmd   `cmd:"" help:"Give the other ranks a value to get."`
	Get   rankGetCmd   `cmd:"" help:"Print a value, waiting until some rank has put it."`
	Fence rankFenceCmd `cmd:"" help:"Wait until all ranks of the step are here."`
	Cert  rankCertCmd  `cmd:"" help:"Get a certificate, by which the other ranks know this one over TLS."`
}

// rankSelf is which rank of a step this process is, and whom it asks.
func rankSelf() (in job.Inside, r job.Rank, err error) {
	if in, err = job.Enter(os.Getenv); err == nil {
		r, err = job.Self(os.Getenv)
	}
	return in, r, err
}

type rankPutCmd struct {
	Name  string `arg:"" help:"What the others get it by."`
	Value string `arg:"" help:"The value, or - to read it from standard input."`
}

func (rankPutCmd) Examples() string {
	return `bramble rank put address "$BRAMBLE_NODE:4000"   # in a program that step has started
bramble rank put key -   # reads the value from standard input
`
}

func (c *rankPutCmd) Run(e *env) error {
	in, r, err := rankSelf()
	if err != nil {
		return err
	}
	value := []byte(c.Value)
	if c.Value == "-" {
		if value, err = io.ReadAll(io.LimitReader(os.Stdin, job.MaxValue+1)); err != nil {
			return fmt.Errorf("read the value: %w", err)
		}
	}
	return in.Put(e.ctx, r, c.Name, value)
}

type rankGetCmd struct {
	Name string `arg:"" help:"What it was put by."`
}

func (rankGetCmd) Examples() string {
	return "bramble rank get address   # in a program that step has started\n"
}

func (c *rankGetCmd) Run(e *env) error {
	in, r, err := rankSelf()
	if err != nil {
		return err
	}
	value, err := in.Get(e.ctx, r, c.Name)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(value)
	return err
}

type rankFenceCmd struct {
	Name string `arg:"" optional:"" default:"fence" help:"Which fence, where there are several."`
}

func (rankFenceCmd) Examples() string {
	return "bramble rank fence ready   # in a program that step has started\n"
}

func (c *rankFenceCmd) Run(e *env) error {
	in, r, err := rankSelf()
	if err != nil {
		return err
	}
	return in.Fence(e.ctx, r, c.Name)
}

type rankCertCmd struct {
	Dir string `arg:"" help:"A folder for each rank, where key.pem, cert.pem and ca.pem are put; only its owner can read them."`
}

func (rankCertCmd) Examples() string {
	return `bramble rank cert "tls.$BRAMBLE_RANK"   # in a program that step has started; prints the host name in the certificate
bramble rank cert "tls.$BRAMBLE_RANK"   # a new one, before the hour is over
`
}

func (c *rankCertCmd) Run(e *env) error {
	in, r, err := rankSelf()
	if err != nil {
		return err
	}
	cred, _, err := in.Certify(e.ctx, r)
	if err != nil {
		return err
	}
	if err := cred.Save(c.Dir); err != nil {
		return err
	}
	_, err = fmt.Fprintln(e.out.Stdout, cred.Rank.Host())
	return err
}
