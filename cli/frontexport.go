package cli

import (
	"io"

	"bramble/fault"
	"bramble/front"
)

type frontExportCmd struct {
	Program    string `arg:"" help:"Whose configuration to write: ${enum}." enum:"nginx,haproxy"`
	frontFlags `embed:""`
}

func (frontExportCmd) Examples() string {
	return "bramble front export nginx --listen :80 --backend http://10.0.0.11,weight=2 --backend http://10.0.0.12,standby > bramble.conf\n" +
		"bramble front export haproxy --backend http://10.0.0.11,route=a --backend http://10.0.0.12,route=b --sticky ROUTE --check /\n"
}

func (c *frontExportCmd) Run(e *env) error {
	s := front.Setup{Listen: c.Listen, ListenTLS: c.ListenTLS, Cert: c.Cert, Key: c.Key, HTTPSOnly: c.HTTPSOnly, AccessLog: c.AccessLog,
		LogJSON: c.LogJSON, Metrics: c.Metrics, Rate: c.Rate, Burst: c.Burst, Conns: c.Conns, ACME: c.ACMEHost}
	var err error
	if s.Common, err = c.common(); err != nil {
		return err
	}
	if s.Backends, err = backends(c.Backend); err != nil {
		return err
	}
	if s.Trusted, err = networks("--trust", c.Trust); err != nil {
		return err
	}
	if s.Proxied, err = networks("--proxy-protocol", c.Proxied); err != nil {
		return err
	}
	text, cannot, err := front.Export(c.Program, s)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(e.out.Stdout, text); err != nil {
		return err
	}
	tellUntaken(e.out.Stderr, cannot)
	for _, u := range cannot {
		if u.Matters {
			return fault.New(fault.Partial, "%s does not do all of that", c.Program).Hint("the lines above say what it does instead, and so does the file")
		}
	}
	return nil
}
